// The injection layer on real processes: batches run inside them, and leave no trace.
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { Batch } from "../../src/task/batch";
import { Bridge } from "../../src/task/bridge";
import { signals, syscalls } from "../../src/task/constants";
import { AgentThread, chooseStopSignal, closeAgent, openAgent } from "../../src/task/injector";
import { Tracee } from "../../src/task/tracee";

/** A program that answers each line with the same line and otherwise sleeps in read(2). */
class Echo {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    this.child = spawn("cat", { detached: true });
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.child.pid as number;
  }

  async ask(line: string): Promise<string> {
    this.child.stdin.write(`${line}\n`);
    return (await this.#lines.next()).value as string;
  }

  async end(): Promise<void> {
    this.child.kill("SIGKILL");
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, "exit");
  }
}

const maps = (pid: number): string => readFileSync(`/proc/${pid}/maps`, "latin1");
const statusField = (pid: number, name: string): string =>
  (readFileSync(`/proc/${pid}/status`, "latin1").match(new RegExp(`^${name}:\\s*(.*)$`, "m")) as string[])[1] as string;

test("a batch runs inside a process, its results come back, and the process goes on unchanged", async () => {
  const echo = new Echo();
  try {
    assert.equal(await echo.ask("before"), "before");
    const mapsBefore = maps(echo.pid);
    const tracee = Tracee.seize(echo.pid, echo.pid);
    assert.deepEqual(tracee.interrupt(), { kind: "event-stop", signal: signals.SIGTRAP });
    const bridge = Bridge.find(echo.pid);
    const thread = new AgentThread(tracee, { stopSignal: signals.SIGURG, rescue: true });
    const space = openAgent(thread, bridge, 64 * 1024);
    thread.useSpace(space);

    const batch = new Batch();
    const pid = batch.call(syscalls.getpid);
    const bad = batch.call(syscalls.close, [-1], { tolerate: true });
    const accepted = batch.call(syscalls.close, [-2], { accept: 9 });
    const umask = batch.call(syscalls.umask, [0o27]);
    const old = batch.reserve(32);
    batch.call(syscalls.rt_sigaction, [signals.SIGTERM, 0, old, 8]);
    const result = thread.run(batch);
    assert.equal(result.value(pid), echo.pid);
    assert.equal(result.value(bad), -9);
    assert.equal(result.value(accepted), -9);
    assert.equal(result.data(old).getBigUint64(0, true), 0n);

    const second = new Batch();
    const back = second.call(syscalls.umask, [result.value(umask)]);
    assert.equal(thread.run(second).value(back), 0o27);

    closeAgent(thread, bridge, space);
    tracee.detach();
    assert.equal(maps(echo.pid), mapsBefore);
    assert.equal(statusField(echo.pid, "SigBlk"), "0000000000000000");
    assert.equal(await echo.ask("after"), "after");
  } finally {
    await echo.end();
  }
});

test("a failing call ends the batch and is named, and the calls after it are not made", async () => {
  const echo = new Echo();
  try {
    await echo.ask("ready");
    using tracee = Tracee.seize(echo.pid, echo.pid);
    tracee.interrupt();
    const bridge = Bridge.find(echo.pid);
    const thread = new AgentThread(tracee, { stopSignal: signals.SIGSTOP, rescue: true });
    const space = openAgent(thread, bridge, 64 * 1024);
    thread.useSpace(space);
    const batch = new Batch();
    batch.call(syscalls.close, [77], { purpose: "closing the descriptor" });
    batch.call(syscalls.exit_group, [3]);
    const isRefusedClose = (error: unknown): boolean =>
      error instanceof FaultlineError && error.details.syscall === "close" && error.details.errno === 9;
    assert.throws(() => thread.run(batch), isRefusedClose);
    const another = new Batch();
    another.call(syscalls.getpid);
    another.call(syscalls.close, [77], { accept: 12 });
    assert.throws(() => thread.run(another), isRefusedClose);
    closeAgent(thread, bridge, space);
    tracee.detach();
    assert.equal(await echo.ask("still here"), "still here");
  } finally {
    await echo.end();
  }
});

test("a process whose tracer is killed in the middle of a batch goes on where it was", async () => {
  const echo = new Echo();
  try {
    await echo.ask("ready");
    const tracer = spawn(process.execPath, [join(__dirname, "abandon.js"), String(echo.pid)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said] = (await once(tracer.stdout, "data")) as [Buffer];
    assert.equal(String(said), "in the batch\n");
    assert.match(statusField(echo.pid, "TracerPid"), /^[1-9]/);
    tracer.kill("SIGKILL");
    await once(tracer, "exit");
    assert.equal(await echo.ask("alone"), "alone");
    assert.equal(statusField(echo.pid, "SigBlk"), "0000000000000000");
  } finally {
    await echo.end();
  }
});

test("the signal that ends a batch is one that the program ignores and has not pending", () => {
  const bit = (signal: number): bigint => 1n << BigInt(signal - 1);
  assert.equal(chooseStopSignal(0n, 0n, 0n), signals.SIGURG);
  assert.equal(chooseStopSignal(bit(signals.SIGURG), 0n, 0n), signals.SIGWINCH);
  assert.equal(chooseStopSignal(bit(signals.SIGURG), 0n, bit(signals.SIGWINCH)), signals.SIGCHLD);
  const three = bit(signals.SIGURG) | bit(signals.SIGWINCH) | bit(signals.SIGCHLD);
  assert.equal(chooseStopSignal(three, bit(13), 0n), 13);
  assert.equal(chooseStopSignal(three, 0n, bit(signals.SIGURG)), signals.SIGWINCH);
  assert.equal(chooseStopSignal(0n, 0n, three), signals.SIGSTOP);
});
