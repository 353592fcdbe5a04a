// Many restores on one daemon (--keep), one after another and at once, and restoring sides that hang up in the middle: what
// one of them does wrong is one line, ends in time, and leaves nothing behind.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { native } from "../../src/native";
import { criuBinary, criuDump, criuErrors, criuRestore } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { endProcesses, isGone, processTree, sessionMembers } from "../support/processes";
import { type Program, withProgram } from "../support/program";
import { TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

async function withDump(name: string, body: (program: Program, images: TempDir) => Promise<void>): Promise<void> {
  await withTempDir("lazy", (images) =>
    withProgram(name, async (program) => {
      await criuDump(program.pid, images.path);
      await program.gone();
      await body(program, images);
    }),
  );
}

const FIN = 0x52535446;
/** What CRIU asks of its userfaultfds: FORK, REMAP, REMOVE, UNMAP events (linux/userfaultfd.h). */
const EVENTS = 0x2 | 0x4 | 0x8 | 0x40;

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}

/** A userfaultfd of this process with nothing registered. */
function userfaultfd(): number {
  const fd = native.uffdCreate(0o2000000 | 0o4000);
  assert.ok(fd >= 0, `userfaultfd: ${fd}`);
  assert.equal(native.uffdApi(fd, EVENTS, new Float64Array(8)), 0);
  return fd;
}

/** Connects as a restore would, sends `parts` ("fd": a userfaultfd), and hangs up. */
function hangUpAfter(images: TempDir, parts: readonly (Uint8Array | "fd")[]): void {
  const socket = native.unixConnect(images.join("lazy-pages.socket"));
  assert.ok(socket >= 0, `connect: ${socket}`);
  for (const part of parts) {
    if (part === "fd") {
      const fd = userfaultfd();
      assert.equal(native.sendDescriptors(socket, new Uint8Array(1), Int32Array.of(fd)), 1);
      native.closeDescriptor(fd);
    } else {
      assert.equal(native.socketSend(socket, part, 0, part.length), part.length);
    }
  }
  native.closeDescriptor(socket);
}

type Stage = readonly [string, (pid: number) => readonly (Uint8Array | "fd")[]];

const stages: readonly Stage[] = [
  ["after it connected", () => []],
  ["inside a pid", (pid) => [word(pid).subarray(0, 2)]],
  ["after a pid", (pid) => [word(pid)]],
  ["after a record", (pid) => [word(pid), "fd"]],
  ["inside FIN", (pid) => [word(pid), "fd", word(FIN).subarray(0, 3)]],
];

/** The lines on stderr that are errors, without what -v says. */
function errorLines(daemon: FaultlineLazyPages): string[] {
  return daemon.messages.split("\n").filter((line) => /hung up/.test(line));
}

test("a restoring side that hangs up at any stage before FIN: exit status 1, the reason named, nothing left", async () => {
  await withDump("heap", async (program, images) => {
    for (const [when, parts] of stages) {
      const daemon = await FaultlineLazyPages.start(images.path);
      try {
        hangUpAfter(images, parts(program.pid));
        assert.equal(await daemon.exited, 1, when);
        assert.match(errorLines(daemon)[0] ?? "", /the restoring side hung up before it had finished/, when);
        assert.equal(errorLines(daemon).length, 1, `${when}: told once, also with -v: ${daemon.messages}`);
        assert.doesNotMatch(daemon.messages, /\n\s+at /, `${when}: a stack`);
        assert.ok(!existsSync(images.join("lazy-pages.socket")), when);
        assert.deepEqual(sessionMembers(daemon.pid), [], when);
      } finally {
        await daemon.stop();
      }
    }
  });
});

test("restoring sides that hang up are failed sessions of a --keep daemon, which goes on with the next restore", async () => {
  await withDump("heap", async (program, images) => {
    const daemon = await FaultlineLazyPages.start(images.path, ["--keep"]);
    try {
      for (const [, parts] of stages) hangUpAfter(images, parts(program.pid));
      await waitFor("the broken sessions to end", () =>
        stages.every((_, n) => daemon.messages.includes(`session ${n + 1} failed`)),
      );
      await criuRestore(images.path, [], true);
      program.go();
      assert.equal(await program.verdict(), "PASS", daemon.messages);
      await waitFor("the session to end", () => /session 6 done/.test(daemon.messages));
      daemon.signal("SIGTERM");
      assert.equal(await daemon.exited, 1);
    } finally {
      await daemon.stop();
    }
  });
});

/** What a daemon has open, by kind; watching it is no part of it. */
function descriptors(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  const links = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`).replace(/\[\d+\]/, "");
    } catch {
      return "closed meanwhile";
    }
  });
  return links.sort();
}

function statusNumber(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]);
}

async function oneRestore(program: Program, images: TempDir, daemon: FaultlineLazyPages, round: number) {
  program.again();
  await criuRestore(images.path, [], true);
  program.go();
  assert.equal(await program.verdict(), "PASS", daemon.messages);
  await waitFor("the task to be gone", () => isGone(program.pid));
  await waitFor("the session to end", () => daemon.messages.includes(`session ${round} done`));
}

test("twelve restores one after another leave no descriptor, no thread and no memory in the daemon", async () => {
  await withDump("heap", async (program, images) => {
    const daemon = await FaultlineLazyPages.start(images.path, ["--keep"]);
    try {
      const before = descriptors(daemon.pid);
      // What V8 compiles and what its heap grows to at first is no leak.
      for (let round = 1; round <= 6; round++) await oneRestore(program, images, daemon, round);
      const [threads, residentKib] = [statusNumber(daemon.pid, "Threads"), statusNumber(daemon.pid, "VmRSS")];
      for (let round = 7; round <= 12; round++) await oneRestore(program, images, daemon, round);
      await waitFor("the descriptors of before", () => descriptors(daemon.pid).join() === before.join()).catch(() =>
        assert.deepEqual(descriptors(daemon.pid), before),
      );
      assert.equal(statusNumber(daemon.pid, "Threads"), threads);
      const growthKib = statusNumber(daemon.pid, "VmRSS") - residentKib;
      // Six restores of some MiB each: one that stayed would show.
      assert.ok(growthKib < 20 * 1024, `the daemon grew by ${growthKib} KiB in 6 restores`);
      daemon.signal("SIGTERM");
      const report = await daemon.finished();
      assert.ok(report.sessions.every((session) => session.state === "done" && session.missingPages === 0));
    } finally {
      await daemon.stop();
    }
  });
});

/** Restores in a pid namespace of its own, where the dumped pids are free, with `scratch` in the place of the program's. */
async function restoreApart(
  images: TempDir,
  program: Program,
  scratch: TempDir,
  log: string,
): Promise<() => Promise<void>> {
  const restore = `${criuBinary} restore -D ${images.path} -d --lazy-pages -o ${log} -v4`;
  const script = `mount --bind ${scratch.path} ${program.scratch.path} && ${restore} && echo restored && exec sleep 600`;
  const child = spawn("unshare", ["--pid", "--fork", "--mount-proc", "/bin/sh", "-c", script], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  const stop = async () => {
    const tree = processTree(child.pid!);
    await endProcesses(tree);
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  };
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  try {
    await waitFor("the restore", () => {
      if (child.exitCode !== null) throw new Error(`criu restore failed: ${criuErrors(images.join(log))}`);
      return said.includes("restored");
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

test("one daemon serves restores of one image at the same moment, each in a pid namespace of its own", async () => {
  await withDump("lazy_threads", async (program, images) => {
    const daemon = await FaultlineLazyPages.start(images.path, ["--keep", "--stay-lazy"]);
    const copies = [0, 1, 2].map((number) => {
      const scratch = new TempDir(`copy-${number}`, true);
      cpSync(program.scratch.path, scratch.path, { recursive: true });
      return scratch;
    });
    const stops: (() => Promise<void>)[] = [];
    try {
      const restores = copies.map((scratch, at) => restoreApart(images, program, scratch, `restore-${at}.log`));
      for (const settled of await Promise.allSettled(restores)) {
        if (settled.status === "rejected") throw settled.reason;
        stops.push(settled.value);
      }
      for (const scratch of copies) writeFileSync(scratch.join("go"), "");
      for (const scratch of copies) {
        const verdict = await waitFor("the verdict", () => existsSync(scratch.join("verdict")));
        assert.ok(verdict);
        assert.equal(readFileSync(scratch.join("verdict"), "utf8").trim(), "PASS", daemon.messages);
      }
      await waitFor("the sessions to end", () => [1, 2, 3].every((n) => daemon.messages.includes(`session ${n} done`)));
      daemon.signal("SIGTERM");
      const report = await daemon.finished();
      assert.equal(report.sessions.length, 3);
      for (const session of report.sessions)
        assert.ok(session.contexts[0]!.pid > 0, "the process was found by its pid");
    } finally {
      for (const stop of stops) await stop();
      await daemon.stop();
      for (const scratch of copies) scratch[Symbol.dispose]();
    }
  });
});
