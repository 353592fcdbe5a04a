// Runs batches of system calls inside a stopped process: maps the agent there, redirects threads to it, waits for the
// end, and puts everything back. What the calls are for is the caller's business; see batch.ts for composing them.
import { closeSync, openSync } from "node:fs";
import { checked, FaultlineError } from "../errors";
import { native } from "../native";
import { type Batch, type BatchResult, recordBytes } from "./batch";
import { mapFlag, pageSize, protection, signalCount, signals, syscalls } from "./constants";
import { undoInterruption } from "./interruption";
import { notInSyscall, type Registers } from "./registers";
import { rescueFrame, rescueFrameBytes } from "./rescue";
import { type Stop, stopTimeoutMs, type Tracee } from "./tracee";

const allSignals = (1n << 64n) - 1n;
const sentByTgkill = -6; // SI_TKILL

/** The agent's two mappings in one process, addresses in bytes. */
export interface AgentSpace {
  readonly code: number;
  readonly data: number;
  readonly dataBytes: number;
}

let agentCode: Uint8Array | undefined;

/** The agent's machine code; it fits into one page. */
export function agentBytes(): Uint8Array {
  if (agentCode === undefined) {
    const buffer = new Uint8Array(pageSize);
    agentCode = buffer.subarray(0, checked(native.agentCode(buffer), "agentCode", "the agent does not fit a page"));
  }
  return agentCode;
}

/** Writes `bytes` into the memory of a process whatever the protection there (/proc/PID/mem, proc_pid_mem(5)). */
export function pokeMemory(pid: number, address: number, bytes: Uint8Array): void {
  const fd = openSync(`/proc/${pid}/mem`, "r+");
  try {
    const done = checked(native.writeAt(fd, address, bytes), "pwrite", "cannot write the task's memory", {
      pid,
      address,
    });
    if (done !== bytes.length) throw new FaultlineError("SYSTEM", "short write to the task's memory", { pid, address });
  } finally {
    closeSync(fd);
  }
}

/**
 * The signal by which a batch ends in this process: one that the program neither handles nor has pending, and that does
 * nothing when delivered, so that a dead tracer leaves no trace. `caught`, `ignored` and `pending` are masks as
 * /proc/PID/status has them. Falls back to SIGSTOP, which takes a pending SIGCONT away.
 */
export function chooseStopSignal(caught: bigint, ignored: bigint, pending: bigint): number {
  const bit = (signal: number): bigint => 1n << BigInt(signal - 1);
  const harmless: number[] = [signals.SIGURG, signals.SIGWINCH, signals.SIGCHLD];
  for (let signal = signalCount; signal > 0; signal--) {
    const unblockable = signal === signals.SIGKILL || signal === signals.SIGSTOP || signal === signals.SIGCONT;
    if (!unblockable && signal !== signals.SIGTRAP && (ignored & bit(signal)) !== 0n) harmless.push(signal);
  }
  return harmless.find((signal) => ((caught | pending) & bit(signal)) === 0n) ?? signals.SIGSTOP;
}

/**
 * Maps the agent into the process of a stopped thread by two system calls at `instruction` (an address of a `syscall`
 * instruction there). The thread's signals must be blocked and its registers saved: AgentThread does both.
 */
export function mapAgent(tracee: Tracee, instruction: bigint, dataBytes: number): AgentSpace {
  const map = (length: number, prot: number): number => {
    const flags = mapFlag.private | mapFlag.anonymous;
    const got = tracee.runSyscall(instruction, syscalls.mmap, [0, length, prot, flags, -1, 0]);
    checked(Number(got), "mmap", "cannot map the agent into the task", { pid: tracee.pid });
    return Number(got);
  };
  const code = map(pageSize, protection.read | protection.execute);
  const data = map(dataBytes, protection.read | protection.write);
  pokeMemory(tracee.pid, code, agentBytes());
  return { code, data, dataBytes };
}

/** Takes the agent's mappings away again; the thread is left in a syscall-exit-stop. */
export function unmapAgent(tracee: Tracee, instruction: bigint, space: AgentSpace): void {
  for (const [address, length] of [
    [space.data, space.dataBytes],
    [space.code, pageSize],
  ] as const) {
    const done = tracee.runSyscall(instruction, syscalls.munmap, [address, length]);
    checked(Number(done), "munmap", "cannot unmap the agent from the task", { pid: tracee.pid, address });
  }
}

export interface AgentThreadOptions {
  /** From chooseStopSignal(); SIGSTOP where the state of the program's signals does not matter. */
  readonly stopSignal: number;
  /** Where the thread's records and data go: a part of an AgentSpace that no other thread uses. Bytes. */
  readonly code?: number;
  readonly data?: number;
  readonly dataBytes?: number;
  /** Lets the thread find its way back by itself when the tracer dies. For dump; a restore kills its tasks instead. */
  readonly rescue?: boolean;
  /** A signal that is not blocked is pending: an EINTR in the registers is the program's to see. */
  readonly signalDue?: boolean;
}

/**
 * One stopped thread that is borrowed for the agent: on construction its registers and mask are saved and its signals
 * blocked; giveBack() restores them. Between the two, batches run.
 */
export class AgentThread {
  readonly tracee: Tracee;
  /** As they were when the thread was borrowed. */
  readonly registers: Registers;
  readonly signalMask: bigint;
  readonly #stopSignal: number;
  readonly #rescue: boolean;
  readonly #signalDue: boolean;
  /** Signals other than the agent's own that arrived meanwhile and cannot be blocked. */
  readonly #deferred: number[] = [];
  #code = 0;
  #data = 0;
  #dataBytes = 0;
  #frame = 0;
  #running: Batch | undefined;

  constructor(tracee: Tracee, options: AgentThreadOptions) {
    this.tracee = tracee;
    this.#stopSignal = options.stopSignal;
    this.#rescue = options.rescue ?? false;
    this.#signalDue = options.signalDue ?? false;
    this.registers = tracee.getRegisters();
    this.signalMask = tracee.getSignalMask();
    if (options.code !== undefined) this.useSpace(options.code, options.data ?? 0, options.dataBytes ?? 0);
    tracee.setSignalMask(allSignals & ~(1n << BigInt(this.#stopSignal - 1)));
  }

  /** Tells where the agent is and which part of its data area is this thread's own. */
  useSpace(code: number, data: number, dataBytes: number): void {
    this.#code = code;
    this.#data = data;
    this.#dataBytes = dataBytes;
    this.#frame = 0;
    if (this.#rescue) this.#placeRescueFrame();
  }

  /** Bytes that a batch of this thread may take. */
  get room(): number {
    return this.#dataBytes;
  }

  run(batch: Batch, timeoutMs = stopTimeoutMs): BatchResult {
    this.start(batch);
    return this.finish(timeoutMs);
  }

  /** Sets the thread going; finish() must follow. Batches of several threads may run at once. */
  start(batch: Batch): void {
    if (this.#running !== undefined) throw new Error("the thread runs a batch already");
    if (batch.byteLength > this.#dataBytes) throw new RangeError("the batch does not fit the agent's data area");
    const { pid, tid } = this.tracee;
    this.#write(this.#data, batch.encode(this.#data));
    const registers = this.registers.copy();
    registers.set("ip", this.#code).set("orig_ax", notInSyscall).set("ax", 0);
    registers.set("r12", this.#data).set("r13", this.#data + batch.callCount * recordBytes);
    registers.set("r14", pid).set("bp", tid).set("bx", this.#stopSignal).set("r15", this.#frame);
    this.tracee.setRegisters(registers);
    this.tracee.resume();
    this.#running = batch;
  }

  /** Waits for the end of the batch; throws an error naming the call that failed in it. */
  finish(timeoutMs = stopTimeoutMs): BatchResult {
    const batch = this.#running;
    if (batch === undefined) throw new Error("the thread runs no batch");
    while (!this.#isEnd(this.tracee.waitStop(timeoutMs))) this.tracee.resume();
    this.#running = undefined;
    const made = (Number(this.tracee.getRegisters().get("r12")) - this.#data) / recordBytes;
    const image = new Uint8Array(batch.byteLength);
    const got = native.vmRead(this.tracee.pid, this.#data, image);
    checked(got, "process_vm_readv", "cannot read the agent's results", { pid: this.tracee.pid });
    return batch.decode(image, made, this.tracee.tid);
  }

  /** Runs one call through the `syscall` instruction at `instruction`: for when there is no agent yet. */
  runSyscall(instruction: bigint, number: number, args: readonly (number | bigint)[]): bigint {
    return this.tracee.runSyscall(instruction, number, args);
  }

  /**
   * Puts registers and mask back and leaves the thread in an event stop inside the kernel's signal handling, so that
   * detaching lets the kernel itself restart what was interrupted. Returns the signal to detach with.
   */
  giveBack(): number {
    const { tracee } = this;
    tracee.requestStop();
    tracee.setRegisters(undoInterruption(this.registers, "resume", this.#signalDue));
    tracee.resume();
    for (;;) {
      const stop = tracee.waitStop();
      if (stop.kind === "event-stop") break;
      if (stop.kind === "exited" || stop.kind === "killed") return 0;
      if (stop.kind === "signal" && stop.signal !== this.#stopSignal) this.#deferred.push(stop.signal);
      tracee.resume();
    }
    tracee.setSignalMask(this.signalMask);
    return this.#deferred[0] ?? 0;
  }

  #isEnd(stop: Stop): boolean {
    const { tracee } = this;
    if (stop.kind === "exited" || stop.kind === "killed") throw tracee.ended("a batch of system calls");
    if (stop.kind !== "signal") return false;
    const siginfo = new DataView(tracee.getSiginfo().buffer);
    const ours = stop.signal === this.#stopSignal && siginfo.getInt32(8, true) === sentByTgkill && this.#atEnd(tracee);
    if (ours) return true;
    if (stop.signal === signals.SIGSTOP) {
      this.#deferred.push(stop.signal);
      return false;
    }
    if (stop.signal === this.#stopSignal) return false; // the program ignores it anyway
    throw new FaultlineError("SYSTEM", `the agent was stopped by signal ${stop.signal}`, {
      pid: tracee.tid,
      address: tracee.getRegisters().get("ip"),
    });
  }

  #atEnd(tracee: Tracee): boolean {
    const offset = Number(tracee.getRegisters().get("ip")) - this.#code;
    return offset > 0 && offset < pageSize;
  }

  #placeRescueFrame(): void {
    const xstate = this.tracee.getXstate();
    const length = Math.ceil(rescueFrameBytes(xstate) / 64) * 64;
    if (this.#dataBytes < length) throw new RangeError("the agent's data area is too small for a rescue frame");
    const address = Math.floor((this.#data + this.#dataBytes - length) / 64) * 64;
    const { registers, signalMask } = this;
    const back = undoInterruption(registers, "rerun", this.#signalDue);
    this.#write(address, rescueFrame(address, { registers: back, signalMask, xstate }));
    this.#frame = address;
    this.#dataBytes = address - this.#data;
  }

  #write(address: number, bytes: Uint8Array): void {
    const { pid } = this.tracee;
    const done = checked(native.vmWrite(pid, address, bytes), "process_vm_writev", "cannot write the agent's data", {
      pid,
      address,
    });
    if (done !== bytes.length) throw new FaultlineError("SYSTEM", "short write of the agent's data", { pid, address });
  }
}
