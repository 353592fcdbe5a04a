# tmux with two windows and an attached client: a shell that waits, one that counts; all of it on terminals of the tree.
# alone: its terminal numbers must be free at the restore
import os, pty, select, signal, subprocess, sys, time

scratch = sys.argv[1]
environment = {"PATH": "/usr/bin:/bin", "TERM": "screen", "HOME": scratch, "LANG": "C.UTF-8"}


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def tmux(*command):
    whole = ["tmux", "-S", f"{scratch}/socket", "-f", "/dev/null", *command]
    return subprocess.run(whole, env=environment, check=True, stdout=subprocess.PIPE, timeout=10, text=True).stdout


def expect(window, wanted, seconds=10):
    """Waits until the text of a window holds `wanted`."""
    end = time.monotonic() + seconds
    while wanted not in (seen := tmux("capture-pane", "-p", "-S", "-", "-t", window)):
        assert time.monotonic() < end, f"no {wanted!r} in {seen!r}"
        time.sleep(0.02)
    return seen


def drain(master, seconds):
    """Reads what the attached client draws, so that it never waits for us."""
    seen, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not select.select([master], [], [], left)[0]:
            break
        try:
            seen += os.read(master, 65536)
        except OSError:
            break  # the client has ended
    return seen


def main():
    shell = "/bin/bash --norc --noprofile"
    server = subprocess.Popen(["tmux", "-D", "-S", f"{scratch}/socket", "-f", "/dev/null"], env=environment, stdin=subprocess.DEVNULL)
    while not os.path.exists(f"{scratch}/socket"):
        time.sleep(0.005)
    tmux("new-session", "-d", "-x", "80", "-y", "24", "-s", "work", shell)
    tmux("new-window", "-t", "work:1", "n=0; while read -t 0.05 line; [ $? -gt 128 ] || [ \"$line\" != stop ]; do n=$((n+1)); done; echo counted to $n; sleep 1000")
    tmux("select-window", "-t", "work:0")
    expect("work:0", "bash-")
    tmux("send-keys", "-t", "work:0", "word=befo", "re", "Enter")
    tmux("send-keys", "-t", "work:0", "echo half of a li")  # typed, not entered
    expect("work:0", "half of a li")
    client, master = pty.fork()
    if client == 0:
        os.execvpe("tmux", ["tmux", "-S", f"{scratch}/socket", "attach", "-t", "work"], environment)
    assert b"half of a li" in drain(master, 0.5), "the client draws nothing"
    publish("ready", "ready\n")
    while not os.path.exists(f"{scratch}/go"):
        drain(master, 0.01)
    os.write(master, b"ne $word\r")  # through the client
    drain(master, 0.2)
    expect("work:0", "half of a line before")
    tmux("send-keys", "-t", "work:1", "stop", "Enter")
    count = int(expect("work:1", "counted to ").split("counted to ")[1].split()[0])
    assert count > 3, f"the second window counted to {count}"
    os.write(master, b"\x02d")  # detaches
    drain(master, 0.2)
    assert os.waitstatus_to_exitcode(os.waitpid(client, 0)[1]) == 0, "the client"
    assert tmux("list-windows", "-t", "work", "-F", "#I").split() == ["0", "1"], "its windows"
    tmux("kill-server")
    assert server.wait(10) == 0, f"the server ended with {server.returncode}"


try:
    main()
    publish("verdict", "PASS\n")
except BaseException as error:
    publish("verdict", f"FAIL {error!r}\n")
os._exit(0)
