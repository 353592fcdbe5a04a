// Dumps of real programs: the real CRIU restores what Faultline dumped, nothing is lost on failure, refusals are early
// and complete, and a dumper's death leaves the program running.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { ImageDirectory } from "../../src/images/directory";
import { verifyDirectory } from "../../src/images/verify";
import { type DumpOptions, type DumpPhase, type DumpResult, dump } from "../../src/task/dump/dump";
import { restore } from "../../src/task/restore/restore";
import { criuRestore } from "../support/criu";
import { processStat } from "../support/processes";
import { type Program, repositoryRoot, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { withTerminals } from "../support/terminals";
import { hangMs, waitFor } from "../support/wait";

const command = join(repositoryRoot, "bin", "faultline");

function dumpOf(program: Program, directory: string, more: Partial<DumpOptions> = {}) {
  return dump({ pid: program.pid, directory, compress: "none", freezeTimeoutMs: hangMs, ...more });
}

for (const name of [
  "heap",
  "blocked_forever",
  "pipes",
  "signals_pending",
  "tree",
  "memfds",
  "unix_passed",
  "seccomp",
]) {
  test(`CRIU restores ${name} as Faultline dumped it`, async () => {
    await withTempDir("dump", (images) =>
      withProgram(name, async (program) => {
        await dumpOf(program, images.join("img"));
        await program.gone();
        await criuRestore(images.join("img"), program.facts.options);
        program.remember();
        program.go();
        assert.equal(await program.verdict(), "PASS");
      }),
    );
  });
}

test("a dump with lz4-hc takes less room than one with lz4, and verifies and restores like it", async () => {
  await withTempDir("dump", (images) =>
    withProgram("heap", async (program) => {
      const fast = await dumpOf(program, images.join("fast"), { after: "run", compress: "lz4" });
      const small = await dumpOf(program, images.join("small"), { after: "kill", compress: "lz4-hc" });
      // A page: the program ran on in between, and may have touched one more.
      const pageBytes = ({ pageFileBytes, pageCount }: DumpResult) => pageFileBytes / pageCount;
      assert.ok(pageBytes(small) < pageBytes(fast), `${pageBytes(small)} against ${pageBytes(fast)}`);
      assert.deepEqual(verifyDirectory(images.join("small")).findings, []);
      await program.gone();
      const { waitExit } = await restore({ imagesDir: images.join("small") });
      program.go();
      assert.equal(await program.verdict(), "PASS");
      await waitExit();
    }),
  );
});

test("a program that is left running notices nothing, three times over", async () => {
  await withTempDir("dump", (images) =>
    withProgram("blocked_timed", async (program) => {
      for (const round of ["one", "two", "three"]) {
        const result = await dumpOf(program, images.join(round), { after: "run", compress: "lz4" });
        assert.ok(result.frozenUs >= result.freezingUs);
        assert.ok(existsSync(images.join(round, "pagez-1.img")));
      }
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

for (const name of ["tcp_loopback", "tcp_half_closed"]) {
  test(`the connections of ${name} go on when it is left running, and after a dump that was given up`, async () => {
    await withTempDir("dump", (images) =>
      withProgram(name, async (program) => {
        await dumpOf(program, images.join("kept"), { after: "run", tcpEstablished: true });
        assert.ok(readdirSync(images.join("kept")).some((file) => file.startsWith("tcp-stream-")));
        const abort = new AbortController();
        const onProgress = (event: { phase: DumpPhase }) => {
          if (event.phase === "write") abort.abort();
        };
        await assert.rejects(
          dumpOf(program, images.join("given-up"), { tcpEstablished: true, signal: abort.signal, onProgress }),
        );
        program.go();
        assert.equal(await program.verdict(), "PASS");
      }),
    );
  });
}

const spawners: readonly { what: string; rounds: number; program: string; script: string }[] = [
  {
    what: "fifty dumps of a shell that forks all the time",
    rounds: 50,
    program: "bash",
    script: "while :; do for i in 1 2 3; do /bin/true & done; echo x | cat; wait; done",
  },
  {
    what: "twenty dumps of a program that starts others by vfork all the time",
    rounds: 20,
    program: "python3",
    script: "import subprocess\nwhile True: subprocess.run(['/bin/true'])",
  },
];

for (const { what, rounds, program, script } of spawners) {
  test(`${what} succeed, and it runs on`, async () => {
    await withTempDir("dump", async (images) => {
      const child = spawn(program, ["-c", script], { stdio: "ignore", detached: true });
      const pid = child.pid as number;
      try {
        for (let round = 0; round < rounds; round++) {
          await dump({ pid, directory: images.join(String(round)), after: "run", shellJob: true });
        }
        assert.equal(child.exitCode, null);
      } finally {
        process.kill(-pid, "SIGKILL");
        await once(child, "exit");
      }
    });
  });
}

test("a tree of three hundred processes is frozen and listed whole", async () => {
  await withTempDir("dump", async (images) => {
    const script = `for i in $(seq 299); do sleep 1000 & done; echo > ${images.join("ready")}; wait`;
    const child = spawn("bash", ["-c", script], { stdio: "ignore", detached: true });
    const pid = child.pid as number;
    try {
      await waitFor("the processes", () => existsSync(images.join("ready")));
      const result = await dump({ pid, directory: images.join("img"), after: "run", shellJob: true });
      assert.equal(result.taskCount, 300);
      using directory = ImageDirectory.open(images.join("img"));
      assert.equal(directory.tasks.length, 300);
    } finally {
      process.kill(-pid, "SIGKILL");
      await once(child, "exit");
    }
  });
});

test("events that nobody has read, and nobody can put back, are warned of", async () => {
  await withTempDir("dump", async (images) => {
    await withProgram("inotify_unread", async (program) => {
      const result = await dump({ pid: program.pid, directory: images.join("img"), after: "run" });
      assert.deepEqual(
        result.warnings.filter((warning) => warning.includes("inotify")),
        [`pid ${program.pid} fd 3: unread events of inotify are lost`],
      );
      program.go();
      assert.equal(await program.verdict(), "PASS");
    });
  });
});

test("a pipe whose other end is outside of the tree is warned of", async () => {
  await withTempDir("dump", async (images) => {
    const script = `sleep 1000 | { echo $BASHPID > ${images.join("new")}; mv ${images.join("new")} ${images.join("pid")}; exec sleep 999; }`;
    const child = spawn("bash", ["-c", script], { stdio: "ignore", detached: true });
    try {
      await waitFor("the reader", () => existsSync(images.join("pid")));
      const pid = Number(readFileSync(images.join("pid"), "utf8"));
      const result = await dump({ pid, directory: images.join("img"), after: "run", shellJob: true });
      const expected = `pid ${pid} fd 0: the tree has no writing end of pipe`;
      assert.ok(
        result.warnings.some((warning) => warning.startsWith(expected)),
        result.warnings.join("\n"),
      );
    } finally {
      process.kill(-(child.pid as number), "SIGKILL");
      await once(child, "exit");
    }
  });
});

test("nothing is wrong with the images of a program that was started from a memory file", async () => {
  await withTempDir("dump", (images) =>
    withProgram("run_from_memfd", async (program) => {
      await dumpOf(program, images.join("img"), { after: "run" });
      assert.deepEqual(verifyDirectory(images.join("img")).findings, []);
    }),
  );
});

const withTerminalDir = (body: (images: TempDir) => Promise<void>) => withTerminals(() => withTempDir("dump", body));

for (const name of ["pty_input", "pty_input_edges"]) {
  test(`what waits in the terminals of ${name} still waits after dumps that leave it running, and one that was given up`, async () => {
    await withTerminalDir((images) =>
      withProgram(name, async (program) => {
        for (const round of ["one", "two"]) await dumpOf(program, images.join(round), { after: "run" });
        const abort = new AbortController();
        const onProgress = (event: { phase: DumpPhase }) => {
          if (event.phase === "write") abort.abort();
        };
        await assert.rejects(dumpOf(program, images.join("given-up"), { signal: abort.signal, onProgress }));
        program.go();
        assert.equal(await program.verdict(), "PASS");
      }),
    );
  });
}

const stoppedTerminals: readonly { by: string; stop: string; go: string }[] = [
  { by: "its user", stop: "os.write(m, b'\\x13')", go: "os.write(m, b'\\x11')" },
  { by: "its program", stop: "termios.tcflow(s, termios.TCOOFF)", go: "termios.tcflow(s, termios.TCOON)" },
];

for (const { by, stop, go } of stoppedTerminals) {
  test(`a terminal that was stopped by ${by} is stopped after a dump, with the output before it`, async () => {
    await withTerminalDir(async (images) => {
      const script = `
import os, termios, time
m, s = os.openpty()
os.set_blocking(s, False)
os.write(s, b"before")
${stop}
time.sleep(0.1)
open(${JSON.stringify(images.join("ready"))}, "w").close()
while not os.path.exists(${JSON.stringify(images.join("go"))}): time.sleep(0.01)
def is_stopped():
  try: os.write(s, b"x")
  except BlockingIOError: return True
  return False
verdict = [os.read(m, 100).startswith(b"before"), is_stopped()]
${go}
time.sleep(0.1)
verdict.append(not is_stopped())
open(${JSON.stringify(images.join("new"))}, "w").write(str(verdict))
os.rename(${JSON.stringify(images.join("new"))}, ${JSON.stringify(images.join("verdict"))})
`;
      const child = spawn("python3", ["-c", script], { stdio: "ignore", detached: true });
      const pid = child.pid as number;
      try {
        await waitFor("the terminal", () => existsSync(images.join("ready")));
        await dump({ pid, directory: images.join("img"), after: "run", shellJob: true });
        await dump({ pid, directory: images.join("again"), after: "run", shellJob: true });
        writeFileSync(images.join("go"), "");
        await waitFor("the verdict", () => existsSync(images.join("verdict")));
        assert.equal(readFileSync(images.join("verdict"), "utf8"), "[True, True, True]");
      } finally {
        if (child.exitCode === null) {
          process.kill(-pid, "SIGKILL");
          await once(child, "exit");
        }
      }
    });
  });
}

test("a process whose first thread has ended is an obstacle, not a zombie", async () => {
  await withTempDir("dump", async (images) => {
    const script =
      "import threading,time,ctypes\nthreading.Thread(target=time.sleep,args=(1000,)).start()\n" +
      "ctypes.CDLL(None).syscall(60,0)"; // exit(2), of the thread
    const child = spawn("python3", ["-c", script], { stdio: "ignore", detached: true });
    const pid = child.pid as number;
    try {
      await waitFor("the end of the first thread", () => processStat(pid)?.state === "Z");
      const expected = new RegExp(`pid ${pid}: its first thread has ended, and others go on`);
      await assert.rejects(dump({ pid, directory: images.join("img"), shellJob: true }), expected);
    } finally {
      process.kill(-pid, "SIGKILL");
      await once(child, "exit");
    }
  });
});

test("a SIGSTOP that arrives during a dump stops the program when it is over", async () => {
  await withTempDir("dump", (images) =>
    withProgram("blocked_forever", async (program) => {
      for (let round = 0; round < 5; round++) {
        let sent: Promise<unknown> | undefined;
        const onProgress = ({ phase }: { phase: DumpPhase }): void => {
          // Some come before the thread stops, some while it stands or runs the agent.
          const script = `for i in 1 2 3 4 5 6 7 8; do kill -STOP ${program.pid}; done`;
          if (phase === "freeze") sent = once(spawn("sh", ["-c", script]), "exit");
        };
        await dumpOf(program, images.join(String(round)), { after: "run", onProgress });
        await sent;
        await waitFor("the stop", () => processStat(program.pid)?.state === "T");
        process.kill(program.pid, "SIGCONT");
        await waitFor("the program to go on", () => processStat(program.pid)?.state !== "T");
      }
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

test("a program that is left stopped is stopped, and goes on at SIGCONT", async () => {
  await withTempDir("dump", (images) =>
    withProgram("heap", async (program) => {
      await dumpOf(program, images.join("img"), { after: "stop" });
      await waitFor("the stop", () => processStat(program.pid)?.state === "T");
      process.kill(program.pid, "SIGCONT");
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

test("the images name every task of the tree", async () => {
  await withTempDir("dump", (images) =>
    withProgram("tree", async (program) => {
      const result = await dumpOf(program, images.join("img"), { after: "run" });
      using directory = ImageDirectory.open(images.join("img"));
      assert.equal(directory.tasks.length, result.taskCount);
      assert.equal(result.taskCount, program.tree().length);
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

for (const phase of ["check", "prepare", "freeze", "write"] as const) {
  test(`an abort at "${phase}" leaves the program running and no directory behind`, async () => {
    await withTempDir("dump", (images) =>
      withProgram("pipes", async (program) => {
        const abort = new AbortController();
        const onProgress = (event: { phase: DumpPhase }) => {
          if (event.phase === phase) abort.abort();
        };
        await assert.rejects(
          dumpOf(program, images.join("img"), { signal: abort.signal, onProgress }),
          (error: unknown) => error instanceof FaultlineError && error.code === "ABORTED",
        );
        assert.deepEqual(readdirSync(images.path), []);
        program.go();
        assert.equal(await program.verdict(), "PASS");
      }),
    );
  });
}

test("a directory that holds something is refused and left alone", async () => {
  await withTempDir("dump", (images) =>
    withProgram("heap", async (program) => {
      mkdirSync(images.join("img"));
      writeFileSync(images.join("img", "precious"), "mine");
      await assert.rejects(
        dumpOf(program, images.join("img")),
        (error: unknown) => error instanceof FaultlineError && error.code === "BUSY",
      );
      assert.deepEqual(readdirSync(images.join("img")), ["precious"]);
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

test("every obstacle is named in one message, before the program is stopped", async () => {
  await withTempDir("dump", (images) =>
    withProgram("tcp_loopback", async (program) => {
      const phases: DumpPhase[] = [];
      await assert.rejects(
        dumpOf(program, images.join("img"), { onProgress: ({ phase }) => phases.push(phase) }),
        (error: unknown) =>
          error instanceof FaultlineError &&
          error.code === "UNSUPPORTED" &&
          (error.message.match(/pid \d+ fd \d+: a TCP connection/g) ?? []).length >= 2,
      );
      assert.deepEqual(phases, ["check"]);
      assert.ok(!existsSync(images.join("img")));
    }),
  );
});

test("a thread of the kernel is refused in one short line, not with all that descend from it", async () => {
  await withTempDir("dump", async (images) => {
    const expected = "cannot dump: pid 2: a thread of the kernel";
    await assert.rejects(
      dump({ pid: 2, directory: images.join("img") }),
      (error: unknown) => error instanceof FaultlineError && error.message === expected,
    );
  });
});

test("a process that does not exist is an error, not a crash", async () => {
  await withTempDir("dump", async (images) => {
    await assert.rejects(
      dump({ pid: 4194303, directory: images.join("img") }),
      (error: unknown) => error instanceof FaultlineError && error.code === "NOT_FOUND",
    );
  });
});

test("a dumper that is killed at any moment leaves the program running", async () => {
  await withTempDir("dump", (images) =>
    withProgram("blocked_forever", async (program) => {
      for (let round = 0; round < 12; round++) {
        const args = ["dump", "-t", String(program.pid), "-D", images.join(`img-${round}`), "--leave-running"];
        const dumper = spawn(command, args, { stdio: "ignore" });
        const ended = once(dumper, "exit");
        // Rounds spread over the run: from before the freeze to after it.
        await new Promise((resume) => setTimeout(resume, 60 + round * 25));
        dumper.kill("SIGKILL");
        await ended;
        await waitFor("the program to run on", () => {
          const stat = processStat(program.pid);
          assert.ok(stat !== undefined && stat.state !== "Z", `the program died in round ${round}`);
          return /^TracerPid:\t0$/m.test(readFileSync(`/proc/${program.pid}/status`, "latin1"));
        });
      }
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});
