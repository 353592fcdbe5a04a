// What goes wrong during a restore, on purpose: nothing half restored is left, the message says why, and a program never
// reads zeros where it had data.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, cpSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { ImageDirectory } from "../../src/images/directory";
import { writeImage } from "../../src/images/framing";
import { parsePortHolders } from "../../src/task/restore/files/portHolders";
import { awaitFreePids } from "../../src/task/restore/freePids";
import { Restorer, restore } from "../../src/task/restore/restore";
import { criuDump, runCommand } from "../support/criu";
import { isGone, processStat } from "../support/processes";
import { type Program, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";

/** For each test, milliseconds: a restore that hangs fails here, and not when the whole run is given up. */
const limit = { timeout: 300_000 };
const commandLine = join(__dirname, "..", "..", "..", "bin", "faultline");

/** A program dumped and gone, its images in `dir`. */
async function withDump(name: string, body: (program: Program, dir: TempDir) => Promise<void>): Promise<void> {
  await withProgram(name, async (program) => {
    await withTempDir("failure", async (dir) => {
      await criuDump(program.pid, dir.path, program.facts.options);
      await program.gone();
      await body(program, dir);
    });
  });
}

function isError(code: string, ...words: string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof FaultlineError, String(error));
    assert.equal(error.code, code, error.line());
    for (const word of words) assert.ok(error.line().includes(word), `${error.line()} does not name ${word}`);
    return true;
  };
}

test("a pid that is taken is named, and nothing is made", limit, async () => {
  await withDump("tree", async (program, dir) => {
    const restorer = new Restorer();
    const other = program.tree().at(-1)!.pid;
    const first = await restorer.restore({ imagesDir: dir.path, eager: true });
    try {
      await assert.rejects(restore({ imagesDir: dir.path }), isError("BUSY", String(program.pid), String(other)));
      assert.ok(!isGone(program.pid));
    } finally {
      for (const pid of first.pids) process.kill(pid, "SIGKILL");
      await first.waitExit();
      await restorer.close();
    }
  });
});

test("a port that another socket has is named, with what to do, and nothing is made", limit, async () => {
  await withDump("tcp_listening", async (program, dir) => {
    const sockets = ImageDirectory.open(dir.path)
      .descriptors(program.pid)
      .flatMap(({ file }) => file?.isk ?? []);
    const port = sockets.find((socket) => socket.src_port !== 0)!.src_port;
    const holder = createServer().listen(port, "::");
    await once(holder, "listening");
    try {
      const inUse = isError("BUSY", `binding port ${port}`, "EADDRINUSE", `[::]:${port} LISTEN, of pid ${process.pid}`);
      await assert.rejects(restore({ imagesDir: dir.path }), inUse);
      assert.ok(isGone(program.pid));
    } finally {
      holder.close();
    }
    const restored = await restore({ imagesDir: dir.path });
    program.go();
    assert.equal(await program.verdict(), "PASS");
    await restored.waitExit();
  });
});

test("a pidfile that cannot be written is refused before the tree runs", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const pidfile = dir.join("no-such-folder/pid");
    for (const more of [[], ["-d"]]) {
      const { status, output } = await runCommand(commandLine, [
        "restore",
        "-D",
        dir.path,
        "--pidfile",
        pidfile,
        ...more,
      ]);
      assert.equal(status, 1, output);
      assert.match(output, /^faultline: the pidfile cannot be written; nothing was restored \(.*no-such-folder.*\)\n$/);
      assert.ok(isGone(program.pid));
    }
  });
});

test("Ctrl-C at any moment of restore -d leaves the whole tree running or nothing of it", limit, async () => {
  await withDump("tree", async (program, dir) => {
    const pids = program.tree().map(({ pid }) => pid);
    for (let round = 0; round < 8; round++) {
      const args = ["restore", "-D", dir.path, "-d"];
      const restorer = spawn(commandLine, args, { stdio: "ignore", detached: true });
      const ended = once(restorer, "exit");
      await sleep(20 + round * 12);
      if (restorer.exitCode === null) process.kill(-(restorer.pid as number), "SIGINT"); // as a terminal does
      const [code] = (await ended) as [number | null];
      // The command may be gone before the process that it started in the background is.
      await waitFor(`round ${round}, code ${code}: the whole tree or nothing`, () => {
        const living = pids.filter((pid) => !isGone(pid)).length;
        return living === (code === 0 ? pids.length : 0);
      });
      for (const pid of code === 0 ? pids : []) process.kill(pid, "SIGKILL");
      await waitFor("the end of the tree", () => pids.every(isGone));
    }
  });
});

/** A process whose child, the first pid it prints, stays a zombie until its standard input says something or closes. */
const unreaped = `
import os, sys
child = os.fork()
if child == 0: os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print(child, flush=True)
sys.stdin.readline()
os.waitpid(child, 0)
print("reaped", flush=True)
sys.stdin.readline()
`;

test("pids of tasks that have ended are waited for until they are reaped", limit, async () => {
  const parent = spawn("python3", ["-c", unreaped], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const child = Number(String((await once(parent.stdout, "data"))[0]));
    await assert.rejects(awaitFreePids([child], undefined, 20), isError("BUSY", String(child), `parent ${parent.pid}`));
    await assert.rejects(awaitFreePids([child, parent.pid!]), isError("BUSY", `${child}, ${parent.pid}`, "ps -fLp"));
    const given = new FaultlineError("ABORTED", "given up");
    await assert.rejects(
      awaitFreePids([child], () => {
        throw given;
      }),
      given,
    );
    let free = false;
    const waiting = awaitFreePids([child]).then(() => {
      free = true;
    });
    await sleep(50);
    assert.ok(!free);
    parent.stdin.write("go\n");
    await waiting;
  } finally {
    parent.stdin.end();
    parent.kill("SIGKILL");
    await once(parent, "exit");
  }
});

test("every way of cutting an image short ends in a typed error and no process", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const names = readdirSync(dir.path).filter((name) => /^(core|mm|files|pagemap|pstree|fdinfo|pages)/.test(name));
    assert.ok(names.length >= 7);
    for (const name of names) {
      await withTempDir("cut", async (cut) => {
        cpSync(dir.path, cut.path, { recursive: true });
        truncateSync(cut.join(name), Math.floor(readFileSync(cut.join(name)).length / 2));
        await assert.rejects(restore({ imagesDir: cut.path, eager: true }), (error) => {
          assert.ok(error instanceof FaultlineError, `${name}: ${error}`);
          return true;
        });
        assert.ok(isGone(program.pid), `${name}: a process is left`);
      });
    }
  });
});

test("what the image holds and cannot be restored is named before anything is made", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const name = `mm-${program.pid}.img`;
    const mm = ImageDirectory.open(dir.path).mm(program.pid);
    const rings = { ...mm, aios: [{ id: 4096n, nr_req: 8, ring_len: 4096 }] };
    const vmas = mm.vmas.map((vma, index) => (index === 0 ? { ...vma, status: vma.status | (1 << 15) } : vma));
    writeImage(dir.path, name, "MM", [{ ...rings, vmas }]);
    await assert.rejects(restore({ imagesDir: dir.path }), isError("IMAGE_UNSUPPORTED", "AIO", "shadow stack"));
    assert.ok(isGone(program.pid));
  });
});

test("a call that fails in a process which has threads by then ends all of them", limit, async () => {
  await withDump("membarrier", async (program, dir) => {
    const { tc, ...core } = ImageDirectory.open(dir.path).core(program.pid);
    const strange = { it_id: 0, clock_id: 999, si_signo: 14, it_sigev_notify: 0, sival_ptr: 0n, overrun: 0 };
    const posix = [{ ...strange, isec: 0n, insec: 0n, vsec: 1n, vnsec: 0n }];
    assert.ok(tc?.timers !== undefined);
    const timers = { ...tc.timers, posix };
    writeImage(dir.path, `core-${program.pid}.img`, "CORE", [{ ...core, tc: { ...tc, timers } }]);
    await assert.rejects(restore({ imagesDir: dir.path, eager: true }), isError("SYSTEM", "timer_create"));
    assert.ok(isGone(program.pid));
  });
});

test("a mapped file that changed since the dump is refused, unless forced", limit, async () => {
  await withDump("file_mapping_private", async (program, dir) => {
    const mapped = "data";
    appendFileSync(program.scratch.join(mapped), "x");
    await assert.rejects(restore({ imagesDir: dir.path }), isError("CHANGED", mapped, "--force"));
    assert.ok(isGone(program.pid));
  });
});

test("a mapped file is looked at anew by a restorer that has passed it before", limit, async () => {
  await withDump("file_mapping_private", async (program, dir) => {
    const restorer = new Restorer();
    try {
      for (let round = 0; round < 3; round++) {
        const result = await restorer.restore({ imagesDir: dir.path });
        process.kill(result.pid, "SIGKILL");
        await Promise.all([result.waitExit(), result.pages]);
      }
      appendFileSync(program.scratch.join("data"), "x");
      await assert.rejects(restorer.restore({ imagesDir: dir.path }), isError("CHANGED", "data", "--force"));
    } finally {
      await restorer.close();
    }
  });
});

/** Takes the port of 127.0.0.1 that it is told: as a listener, as the near end of a connection, or by UDP. */
const portHolder = `
import socket, sys
kind, port = sys.argv[1], int(sys.argv[2])
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
taken.bind(("127.0.0.1", port))
other = socket.socket()
other.listen()
if kind == "listener": taken.listen()
if kind == "client": taken.connect(("127.0.0.1", other.getsockname()[1]))
print(other.getsockname()[1], flush=True)
sys.stdin.readline()
`;

/** Runs `body` while another process has the port, with its pid and a port that it listens on for itself. */
async function withPortTaken(kind: string, port: number, body: (pid: number, peer: number) => Promise<void>) {
  const holder = spawn("python3", ["-c", portHolder, kind, String(port)], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(holder, "exit");
  try {
    await body(holder.pid as number, Number(String((await once(holder.stdout, "data"))[0])));
  } finally {
    holder.kill("SIGKILL");
    await ended;
  }
}

test("a port that is taken is named with its state, its holder and what to do", limit, async () => {
  const portOf = (images: string, type: number): number => {
    const tree = ImageDirectory.open(images);
    const sockets = tree.descriptors(tree.tasks[0]!.pid).flatMap(({ file }) => file?.isk ?? []);
    return sockets.find((socket) => socket.type === type && socket.family === 2 && socket.src_port !== 0)!.src_port;
  };
  await withDump("tcp_listening", async (program, dir) => {
    const port = portOf(dir.path, 1);
    await withPortTaken("listener", port, async (pid) => {
      const words = [`127.0.0.1:${port} LISTEN, of pid ${pid} (python3): end what holds it, then restore again`];
      await assert.rejects(restore({ imagesDir: dir.path }), isError("BUSY", `binding port ${port}`, ...words));
    });
    await withPortTaken("client", port, async (pid, peer) => {
      const words = [`127.0.0.1:${port} ESTABLISHED with 127.0.0.1:${peer}, of pid ${pid} (python3)`];
      await assert.rejects(restore({ imagesDir: dir.path }), isError("BUSY", ...words));
    });
    assert.ok(isGone(program.pid));
  });
  await withDump("udp_loopback", async (program, dir) => {
    const port = portOf(dir.path, 2);
    await withPortTaken("udp", port, async (pid) => {
      const words = [`UDP 127.0.0.1:${port}, of pid ${pid} (python3)`];
      await assert.rejects(restore({ imagesDir: dir.path }), isError("BUSY", ...words));
    });
    assert.ok(isGone(program.pid));
  });
});

test("the lists of sockets are read as proc_net(5) has them", () => {
  const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
  const tcp = `${head}   0: 0100007F:1F90 0200007F:D431 06 00000000:00000000 03:00000F3B 00000000     0        0 0 3 0000000000000000\n`;
  const there = { address: "127.0.0.2", port: 54321 };
  assert.deepEqual(parsePortHolders(tcp, "TCP", 8080), [
    { protocol: "TCP", address: "127.0.0.1", port: 8080, peer: there, state: "TIME_WAIT", inode: 0 },
  ]);
  assert.deepEqual(parsePortHolders(tcp, "TCP", 54321), []); // the other end's port is no obstacle
  const six = (words: string): string =>
    `${head}   0: ${words}:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1 0\n`;
  const told = (words: string): string | undefined => parsePortHolders(six(words), "TCP", 80)[0]?.address;
  assert.equal(told("00000000000000000000000001000000"), "::1");
  assert.equal(told("0000000000000000FFFF00000100007F"), "127.0.0.1");
  assert.equal(told("B80D0120000000000000000001000000"), "2001:db8::1");
});

test("an aborted restore ends what it made", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const abort = new AbortController();
    const onProgress = (progress: { phase: string }): void => {
      if (progress.phase === "built") abort.abort();
    };
    await assert.rejects(restore({ imagesDir: dir.path, signal: abort.signal, onProgress }), isError("ABORTED"));
    assert.ok(isGone(program.pid));
  });
});

test("without the privilege to choose a pid the error says which one is needed", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const drop = "--drop=cap_sys_admin,cap_checkpoint_restore";
    const { status, output } = await runCommand("capsh", [drop, "--", "-c", `${commandLine} restore -D ${dir.path}`]);
    assert.equal(status, 1, output);
    assert.match(output, /CAP_CHECKPOINT_RESTORE/);
    assert.ok(isGone(program.pid));
  });
});

/** Restores in the foreground; resolves when the program runs. */
async function startForeground(dir: TempDir, ...options: string[]): Promise<{ pid: number; exit: Promise<unknown[]> }> {
  const args = ["restore", "-v", "-D", dir.path, ...options];
  const child = spawn(commandLine, args, { stdio: ["ignore", "ignore", "pipe"] });
  const exit = once(child, "exit");
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  await waitFor("the restored program to run", () => {
    if (child.exitCode !== null) throw new Error(said);
    return said.includes("running as");
  });
  return { pid: child.pid as number, exit };
}

test("when the pager is killed with pages missing, the tree is ended and never reads zeros", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const pager = await startForeground(dir, "--stay-lazy");
    process.kill(pager.pid, "SIGKILL");
    await pager.exit;
    await waitFor(
      "the watchdog to end the program",
      () => isGone(program.pid) || processStat(program.pid)?.state === "Z",
    );
    assert.ok(!existsSync(program.scratch.join("verdict")), "the program went on");
  });
});

test("with --on-error wait a killed pager leaves the program parked, not with zeros", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const pager = await startForeground(dir, "--stay-lazy", "--on-error", "wait");
    process.kill(pager.pid, "SIGKILL");
    await pager.exit;
    program.go();
    assert.match(await program.verdict(1_000), /no verdict/);
    process.kill(program.pid, "SIGKILL");
  });
});

test("signals to a restore in the foreground go on to the program, whose end is its exit code", limit, async () => {
  await withDump("heap", async (program, dir) => {
    const foreground = await startForeground(dir);
    process.kill(foreground.pid, "SIGINT");
    assert.deepEqual(await foreground.exit, [130, null]);
    assert.ok(isGone(program.pid));
  });
});

test("a signal at any moment of a restore in the foreground ends it or the program", limit, async () => {
  await withDump("heap", async (program, dir) => {
    for (const [round, signal] of (
      ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGINT"] as const
    ).entries()) {
      const child = spawn(commandLine, ["restore", "-v", "-D", dir.path], { stdio: ["ignore", "ignore", "pipe"] });
      const exit = once(child, "exit");
      // From the plan on its handlers are there; the tree is made and let go within the next milliseconds.
      await once(child.stderr, "data");
      await new Promise((done) => setTimeout(done, round * 3));
      child.kill(signal);
      const [code, killedBy] = await exit;
      assert.equal(killedBy, null, signal);
      assert.ok(code === 1 || code > 128, `${signal}: exit code ${code}`);
      assert.ok(isGone(program.pid), `${signal}: the program is left`);
    }
  });
});

test("a file in the way of a pid file or an image directory that is none is told plainly", limit, async () => {
  await withTempDir("empty", async (dir) => {
    await assert.rejects(restore({ imagesDir: dir.path }), isError("IMAGE_MISSING", "inventory.img"));
    writeFileSync(dir.join("inventory.img"), "nonsense");
    await assert.rejects(restore({ imagesDir: dir.path }), isError("IMAGE_CORRUPT", "inventory.img"));
  });
});
