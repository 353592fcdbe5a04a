# An interactive bash on a pseudo-terminal of its parent: a job in the background, a job stopped by Ctrl-Z, a job taken up again.
# alone: its terminal number must be free at the restore
import os, pty, select, sys, time

scratch = sys.argv[1]


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def expect(master, wanted, seconds=10):
    """Reads from the terminal until `wanted` appears, and returns all that was read."""
    seen, end = "", time.monotonic() + seconds
    while wanted not in seen:
        left = end - time.monotonic()
        assert left > 0 and select.select([master], [], [], left)[0], f"no {wanted!r} after {seen!r}"
        seen += os.read(master, 4096).decode()
    return seen


def main():
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(PS1="ask> ", TERM="dumb", PATH="/usr/bin:/bin")
        os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
    expect(master, "ask> ")
    os.write(master, b"sleep 1000 &\n")
    expect(master, "ask> ")
    os.write(master, b"cat\n")
    expect(master, "cat\r\n")
    os.write(master, b"before\n")
    expect(master, "before\r\nbefore\r\n")
    os.write(master, b"\x1a")
    expect(master, "ask> ")
    publish("ready", "ready\n")
    while not os.path.exists(f"{scratch}/go"):
        time.sleep(0.005)
    os.write(master, b"jobs\n")
    seen = expect(master, "ask> ")
    assert "Running" in seen and "Stopped" in seen, f"jobs gave {seen!r}"
    os.write(master, b"fg %2\n")
    expect(master, "cat\r\n")
    os.write(master, b"after\n")
    expect(master, "after\r\nafter\r\n")
    os.write(master, b"\x04")
    expect(master, "ask> ")
    os.write(master, b"kill %1; wait %1; echo ended $?\n")
    expect(master, "ended 143\r\n")
    os.write(master, b"exit 5\n")
    status = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 5, f"bash ended with {status}"


try:
    main()
    publish("verdict", "PASS\n")
except BaseException as error:
    publish("verdict", f"FAIL {error!r}\n")
