# Python with six threads: hashing, sleeping, waiting on locks, queues, sockets; each proves that it lost no step.
import hashlib, os, queue, socket, sys, threading, time

scratch = sys.argv[1]
stop = threading.Event()
failures = []
steps = {}


def attempt(body):
    def run(*arguments):
        try:
            body(*arguments)
        except BaseException as error:  # any failure is the verdict
            failures.append(f"{body.__name__}: {error!r}")
    return run


@attempt
def hasher(name):
    state, count = b"", 0
    while not stop.is_set():
        state = hashlib.sha256(state + bytes(1000)).digest()
        count += 1
    again = b""
    for _ in range(count):
        again = hashlib.sha256(again + bytes(1000)).digest()
    assert again == state, "the chain of hashes broke"
    steps[name] = count


@attempt
def sleeper():
    while not stop.is_set():
        before = time.monotonic()
        time.sleep(0.05)
        assert time.monotonic() - before >= 0.049, "a sleep was cut short"


@attempt
def producer(q):
    for n in range(10**9):
        if stop.is_set():
            break
        q.put(n)
        time.sleep(0.0005)
    q.put(None)


@attempt
def consumer(q):
    expected = 0
    while (n := q.get()) is not None:
        assert n == expected, f"item {n}, not {expected}"
        expected += 1
    steps["queue"] = expected


@attempt
def echo(peer):
    while data := peer.recv(100):
        peer.sendall(data)


@attempt
def asker(peer):
    count = 0
    while not stop.is_set():
        text = f"message {count}".encode()
        peer.sendall(text)
        assert peer.recv(100) == text, "the echo differs"
        count += 1
        time.sleep(0.001)
    peer.close()
    steps["socket"] = count


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


q = queue.Queue(10)
here, there = socket.socketpair()
threads = [
    threading.Thread(target=target, args=arguments)
    for target, arguments in [(hasher, ("hash",)), (sleeper, ()), (producer, (q,)), (consumer, (q,)), (echo, (there,)), (asker, (here,))]
]
for thread in threads:
    thread.start()
time.sleep(0.3)
publish("ready", "ready\n")
while not os.path.exists(f"{scratch}/go"):
    time.sleep(0.01)
time.sleep(0.2)
stop.set()
for thread in threads:
    thread.join(20)
    if thread.is_alive():
        failures.append(f"{thread} hangs")
if not failures and not all(steps.get(name, 0) > 10 for name in ("hash", "queue", "socket")):
    failures.append(f"too few steps: {steps}")
publish("verdict", f"FAIL {failures[0]}\n" if failures else "PASS\n")
os._exit(0)
