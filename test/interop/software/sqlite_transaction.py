# SQLite in the middle of a transaction, with its locks held and its journal open, beside another process that reads.
# options: --file-locks
import multiprocessing, os, sqlite3, sys, time

scratch = sys.argv[1]
path = f"{scratch}/base.sqlite"


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def reader(go_on):
    base = sqlite3.connect(path, timeout=20)
    seen = []
    while not go_on.is_set():
        seen.append(base.execute("select count(*) from facts").fetchone()[0])
        time.sleep(0.005)
    assert set(seen) == {1000}, f"an uncommitted row was seen: {set(seen)}"


def main():
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("create table facts (id integer primary key, text text)")
    base.execute("begin")
    base.executemany("insert into facts values (?, ?)", ((n, f"fact {n}" * 20) for n in range(1000)))
    base.execute("commit")
    ended = multiprocessing.Event()
    other = multiprocessing.Process(target=reader, args=(ended,))
    other.start()
    base.execute("begin immediate")
    base.executemany("insert into facts values (?, ?)", ((n, f"new {n}" * 20) for n in range(1000, 3000)))
    publish("ready", "ready\n")
    while not os.path.exists(f"{scratch}/go"):
        time.sleep(0.005)
    time.sleep(0.1)
    stranger = sqlite3.connect(path, timeout=0)
    try:
        stranger.execute("begin immediate")
        raise AssertionError("the write lock is lost")
    except sqlite3.OperationalError:
        pass
    stranger.close()
    base.executemany("insert into facts values (?, ?)", ((n, f"later {n}" * 20) for n in range(3000, 4000)))
    ended.set()
    other.join(15)
    assert other.exitcode == 0, f"the reader ended with {other.exitcode}"
    base.execute("commit")
    assert base.execute("pragma integrity_check").fetchone()[0] == "ok"
    assert base.execute("select count(*), sum(id) from facts").fetchone() == (4000, sum(range(4000)))


try:
    main()
    publish("verdict", "PASS\n")
except BaseException as error:
    publish("verdict", f"FAIL {error!r}\n")
