# vim on a pseudo-terminal of its parent, frozen in insert mode with text that is not saved: it goes on, copies and saves it.
# alone: its terminal number must be free at the restore
import fcntl, os, pty, select, struct, sys, termios, time

scratch = sys.argv[1]


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def expect(master, wanted, seconds=10):
    """Reads from the terminal until `wanted` appears; what vim draws besides is of no concern."""
    seen, end = "", time.monotonic() + seconds
    while wanted not in seen:
        left = end - time.monotonic()
        assert left > 0 and select.select([master], [], [], left)[0], f"no {wanted!r} after {seen[-200:]!r}"
        seen += os.read(master, 65536).decode("utf8", "replace")


def main():
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", PATH="/usr/bin:/bin", HOME=scratch)
        os.execv("/usr/bin/vim", ["vim", "-u", "NONE", "-i", "NONE", "-N", f"{scratch}/text"])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    expect(master, "text")
    os.write(master, b"inot yet saved")
    expect(master, "saved")
    # A dump with output that nobody has read is refused: first let vim finish drawing.
    while select.select([master], [], [], 0.5)[0]:
        os.read(master, 65536)
    publish("ready", "ready\n")
    while not os.path.exists(f"{scratch}/go"):
        time.sleep(0.005)
    os.write(master, b", and more\x1b")
    expect(master, "more")
    time.sleep(1.2)  # longer than vim waits for the rest of an escape sequence
    os.write(master, b"yyp:wq\r")
    end = time.monotonic() + 10
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < end, "vim did not end"
        try:
            if select.select([master], [], [], 0.02)[0]:
                os.read(master, 65536)
        except OSError:  # EIO: it has closed the terminal
            time.sleep(0.01)
    with open(f"{scratch}/text") as file:
        text = file.read()
    assert text == "not yet saved, and more\n" * 2, f"vim saved {text!r}"


try:
    main()
    publish("verdict", "PASS\n")
except BaseException as error:
    publish("verdict", f"FAIL {error!r}\n")
