// A dumper that is killed, at every instant one after the other: the program must run on with the registers and the signal
// masks that it had, which it watches itself (test/programs/watched.c).
import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { test } from "node:test";
import { dump } from "../../src/task/dump/dump";
import { criuRestore } from "../support/criu";
import { processStat } from "../support/processes";
import { type Program, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const script = join(__dirname, "killedAt.js");
const beatCount = 4;
/** Which of the program's numbers counts EINTRs that nobody explains. */
const wakeUps = 4;
/** epoll_wait(2), and epoll_pwait(2) where libc makes it of that. */
const pollCalls = ["232", "281"];

interface ThreadFacts {
  readonly tid: number;
  readonly mask: string;
  readonly tracer: string;
  readonly state: string;
}

function threadsOf(pid: number): ThreadFacts[] {
  return readdirSync(`/proc/${pid}/task`).map((tid) => {
    const text = readFileSync(`/proc/${pid}/task/${tid}/status`, "latin1");
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S*)`, "m").exec(text)?.[1] ?? "";
    return { tid: Number(tid), mask: field("SigBlk"), tracer: field("TracerPid"), state: field("State") };
  });
}

const masksOf = (pid: number): string => JSON.stringify(threadsOf(pid).map(({ tid, mask }) => [tid, mask]));

function beatsOf(program: Program): bigint[] {
  const beats = new BigUint64Array(wakeUps + 1);
  const fd = openSync(program.scratch.join("beats"), "r");
  readSync(fd, beats);
  closeSync(fd);
  return [...beats];
}

/** Whether a thread sleeps in epoll_wait: one that was woken says nothing of its EINTR before it has run. */
function polls(pid: number): boolean {
  const calls = readdirSync(`/proc/${pid}/task`).map((tid) =>
    readFileSync(`/proc/${pid}/task/${tid}/syscall`, "latin1"),
  );
  return calls.some((call) => pollCalls.includes(call.split(" ")[0] as string));
}

/** Throws where the program died; waits until it is as it was before and all its threads go round. */
async function runsOn(program: Program, masks: string, when: string): Promise<void> {
  const before = beatsOf(program);
  let last = "";
  const isWell = (): boolean => {
    const stat = processStat(program.pid);
    assert.ok(stat !== undefined && stat.state !== "Z", `${when}: the program ended: ${program.verdictNow()}`);
    const threads = threadsOf(program.pid);
    const now = beatsOf(program);
    const moves = before.slice(0, beatCount).every((beat, index) => beat === 0n || (now[index] as bigint) > beat + 1n);
    last = JSON.stringify({ threads, moves, masks });
    const isFree = threads.every(({ tracer, state }) => tracer === "0" && !["T", "t"].includes(state));
    return isFree && moves && polls(program.pid) && masksOf(program.pid) === masks;
  };
  await waitFor(`${when}: the program to run on`, isWell).catch((error) => {
    throw new Error(`${error.message}: ${last}`);
  });
}

/** A dumper that waits to be told; the next one starts while the last one's doings are looked at. */
function dumper(program: Program, directory: string, count: number): ChildProcessByStdio<Writable, Readable, null> {
  const args = [script, String(program.pid), directory, String(count)];
  return spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
}

/** Tells it; what it said, and whether it lived. */
async function told(
  child: ChildProcessByStdio<Writable, Readable, null>,
): Promise<{ code: number | null; text: string }> {
  let text = "";
  child.stdout.on("data", (part) => {
    text += part;
  });
  child.stdin.end("go\n");
  const [code] = (await once(child, "close")) as [number | null];
  return { code, text };
}

/** Kills a dumper after its call number `first`, the next one after `first + step`, and so on. */
async function killAfterCalls(program: Program, images: TempDir, first: number, step: number): Promise<void> {
  const masks = masksOf(program.pid);
  const start = (count: number) => dumper(program, images.join(`img-${count}`), count);
  const calls = JSON.parse((await told(start(0))).text) as string[];
  // A wake-up shows in epoll_wait until the thread is stopped and put right: it is in the first write of the agent's stage.
  const agentStage = calls.indexOf("writeAt") + 1;
  assert.ok(agentStage > 10 && calls.length > agentStage + 20, calls.join(" "));
  let next = start(first);
  try {
    for (let count = first; count <= calls.length; count += step) {
      const woken = beatsOf(program)[wakeUps];
      const { code } = await told(next);
      next = start(count + step);
      const when = `killed after call ${count}, ${calls[count - 1]}`;
      assert.ok(code === null || code === 0, `${when}: the dumper failed`);
      await runsOn(program, masks, when);
      if (count >= agentStage) assert.equal(beatsOf(program)[wakeUps], woken, `${when}: an EINTR`);
    }
  } finally {
    next.kill("SIGKILL");
  }
}

// Every instant once: every other one with a first thread that computes, the rest with one that waits in a system call.
for (const [index, mode] of (["watch", "block"] as const).entries()) {
  const first = mode === "block" ? "waits" : "computes";
  test(`a dumper killed after any of its calls leaves a program as it was whose first thread ${first}`, async () => {
    await withTempDir("dump-killed", (images) =>
      withProgram(
        "watched",
        async (program) => {
          await killAfterCalls(program, images, index + 1, 2);
          program.go();
          assert.equal(await program.verdict(), "PASS");
        },
        { arguments: [mode] },
      ),
    );
  });
}

test("a program whose dumper was killed inside it is dumped again and restored by CRIU", async () => {
  await withTempDir("dump-killed", (images) =>
    withProgram("watched", async (program) => {
      const masks = masksOf(program.pid);
      await told(dumper(program, images.join("killed"), 60));
      await runsOn(program, masks, "after the dumper");
      assert.equal((await told(dumper(program, images.join("kept"), 0))).code, 0);
      await runsOn(program, masks, "after a second dump");
      await dump({ pid: program.pid, directory: images.join("img"), compress: "none" });
      await program.gone();
      await criuRestore(images.join("img"), []);
      program.remember();
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});
