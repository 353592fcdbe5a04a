# A program in Go (fzf), with its runtime's threads and pre-emption, in the middle of a list that it is fed: it finds every line.
import os, signal, subprocess, sys, time

scratch = sys.argv[1]
count = 60_000


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def lines(numbers):
    return "".join(f"line {number} of the list\n" for number in numbers).encode()


def main():
    with open(f"{scratch}/found", "wb") as found:
        command = ["fzf", "--exact", "--no-sort", "--filter", r"7\ of"]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=found, env={"PATH": "/usr/bin:/bin"})
    program.stdin.write(lines(range(count)))
    program.stdin.flush()
    publish("ready", "ready\n")
    number = count
    while not os.path.exists(f"{scratch}/go"):
        program.stdin.write(lines([number]))
        program.stdin.flush()
        number += 1
        time.sleep(0.001)
    program.stdin.write(lines(range(number, 2 * number)))
    program.stdin.close()
    assert program.wait(20) == 0, f"it ended with {program.returncode}"
    with open(f"{scratch}/found", "rb") as found:
        assert found.read() == lines(n for n in range(2 * number) if n % 10 == 7), "it did not find what it was fed"


try:
    main()
    publish("verdict", "PASS\n")
except BaseException as error:
    publish("verdict", f"FAIL {error!r}\n")
os._exit(0)
