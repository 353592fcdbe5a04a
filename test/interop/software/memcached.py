# memcached with four threads and eight clients, in the middle of requests: every answer is right, and no counter misses a step.
import os, signal, socket, subprocess, sys, threading, time

scratch = sys.argv[1]
clients = 8
stop = threading.Event()
failures = []
counts = [0] * clients


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{scratch}/socket")
    return connection.makefile("rwb")


def ask(connection, text, answer):
    connection.write(text)
    connection.flush()
    got = b"".join(connection.readline() for _ in range(answer.count(b"\n")))
    assert got == answer, f"{text[:40]!r} gave {got[:60]!r}"


def value(number, turn):
    return f"{number} {turn} ".encode() * (turn % 50 + 1)


def client(number):
    try:
        connection = connect()
        ask(connection, f"set count{number} 0 0 1\r\n0\r\n".encode(), b"STORED\r\n")
        while not stop.is_set():
            turn = counts[number] + 1
            key, data = f"key{number}.{turn % 100}", value(number, turn)
            ask(connection, b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(data), data), b"STORED\r\n")
            ask(connection, f"get {key}\r\n".encode(), b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key.encode(), len(data), data))
            ask(connection, f"incr count{number} 1\r\n".encode(), f"{turn}\r\n".encode())
            counts[number] = turn
    except BaseException as error:  # any failure is the verdict
        failures.append(f"client {number}: {error!r}")


def main():
    user = ["-u", "root"] if os.getuid() == 0 else []
    server = subprocess.Popen(["memcached", "-s", f"{scratch}/socket", "-t", "4", "-m", "64", *user])
    while not os.path.exists(f"{scratch}/socket"):
        time.sleep(0.005)
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    publish("ready", "ready\n")
    while not os.path.exists(f"{scratch}/go"):
        time.sleep(0.005)
    before = list(counts)
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not failures, failures[0]
    assert all(now > then > 0 for now, then in zip(counts, before)), f"from {before} to {counts}"
    connection = connect()  # a new one
    for number, count in enumerate(counts):
        for turn in range(max(1, count - 99), count + 1):
            data = value(number, turn)
            key = f"key{number}.{turn % 100}".encode()
            ask(connection, b"get %s\r\n" % key, b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(data), data))
    server.send_signal(signal.SIGTERM)
    assert server.wait(10) == 0, f"memcached ended with {server.returncode}"


try:
    main()
    publish("verdict", "PASS\n")
except BaseException as error:
    publish("verdict", f"FAIL {error!r}\n")
os._exit(0)
