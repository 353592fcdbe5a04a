// Runs batches of system calls inside a stopped process: maps the agent's data there, redirects threads to it, waits for
// the end, and puts everything back. What the calls are for is the caller's business; see batch.ts for composing them.
//
// With `rescue`, a thread is never without a way back: whatever the instant at which the tracer dies, the thread gets to
// where it was, with its registers and its signal mask. Each step below is in the order that keeps it so: the way back is
// laid first, then the registers lead to it, and only then signals are blocked; in the end the other way round.
import { checked, FaultlineError } from "../errors";
import { native } from "../native";
import { type Batch, type BatchResult, recordBytes } from "./batch";
import type { Bridge } from "./bridge";
import { mapFlag, protection, signalCount, signals, syscalls } from "./constants";
import { undoInterruption } from "./interruption";
import { agentCode } from "./machineCode";
import { notInSyscall, type Registers } from "./registers";
import { rescueFrame, rescueFrameBytes } from "./rescue";
import { type Stop, stopTimeoutMs, type Tracee } from "./tracee";

const allSignals = (1n << 64n) - 1n;
const sentByTgkill = -6; // SI_TKILL

/** Where the agent is in one process: its code, and a data area of its own. Bytes. */
export interface AgentSpace {
  readonly code: number;
  readonly data: number;
  readonly dataBytes: number;
}

/**
 * The signal by which a batch ends in this process: one that the program neither handles nor has pending, and that does
 * nothing when delivered, so that a dead tracer leaves no trace. `caught`, `ignored` and `pending` are masks as
 * /proc/PID/status has them. Where a program handles all of them (Go's do), one that it handles: a dead tracer leaves it
 * one such signal too many. SIGSTOP, which would leave it stopped, only where all these are pending.
 */
export function chooseStopSignal(caught: bigint, ignored: bigint, pending: bigint): number {
  const bit = (signal: number): bigint => 1n << BigInt(signal - 1);
  const harmless: number[] = [signals.SIGURG, signals.SIGWINCH, signals.SIGCHLD];
  const handled = harmless.slice();
  for (let signal = signalCount; signal > 0; signal--) {
    const unblockable = signal === signals.SIGKILL || signal === signals.SIGSTOP || signal === signals.SIGCONT;
    if (!unblockable && signal !== signals.SIGTRAP && (ignored & bit(signal)) !== 0n) harmless.push(signal);
  }
  return (
    harmless.find((signal) => ((caught | pending) & bit(signal)) === 0n) ??
    handled.find((signal) => (pending & bit(signal)) === 0n) ??
    signals.SIGSTOP
  );
}

function sendAgain(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it has ended
  }
}

/** Takes a process's first thread to the bridge and makes it map the agent's data area. closeAgent() undoes it. */
export function openAgent(leader: AgentThread, bridge: Bridge, dataBytes: number): AgentSpace {
  leader.standOn(bridge);
  const flags = mapFlag.private | mapFlag.anonymous;
  const prot = protection.read | protection.write;
  const got = Number(leader.tracee.runSyscall(bridge.call, syscalls.mmap, [0, dataBytes, prot, flags, -1, 0]));
  checked(got, "mmap", "cannot map the agent's data area into the task", { pid: bridge.pid });
  return { code: bridge.agent, data: got, dataBytes };
}

/**
 * Takes the agent out again and puts the first thread back where it was; the others must be back already. Without `space`
 * (openAgent() failed) there is nothing to unmap.
 */
export function closeAgent(leader: AgentThread, bridge: Bridge, space: AgentSpace | undefined): void {
  if (space !== undefined) {
    leader.standOn(bridge);
    const done = leader.tracee.runSyscall(bridge.call, syscalls.munmap, [space.data, space.dataBytes]);
    checked(Number(done), "munmap", "cannot unmap the agent from the task", { pid: bridge.pid, address: space.data });
  }
  leader.giveBack();
  bridge.erase();
}

export interface AgentThreadOptions {
  /** From chooseStopSignal(); SIGSTOP where the state of the program's signals does not matter. */
  readonly stopSignal: number;
  /** Where the thread's records and data go, where that is known already: useSpace(). */
  readonly space?: AgentSpace;
  /** Lets the thread find its way back by itself when the tracer dies. For dump; a restore kills its tasks instead. */
  readonly rescue?: boolean;
}

/**
 * One stopped thread that is borrowed for the agent. Its registers and mask are saved on construction; giveBack() restores
 * them. Between the two, once it has a space, batches run.
 */
export class AgentThread {
  readonly tracee: Tracee;
  /** As they were when the thread was borrowed. */
  readonly registers: Registers;
  readonly signalMask: bigint;
  readonly #stopSignal: number;
  readonly #rescue: boolean;
  #isBlocked = false;
  #space: AgentSpace = { code: 0, data: 0, dataBytes: 0 };
  #frame = 0;
  #running: Batch | undefined;

  constructor(tracee: Tracee, options: AgentThreadOptions) {
    this.tracee = tracee;
    this.#stopSignal = options.stopSignal;
    this.#rescue = options.rescue ?? false;
    this.registers = tracee.getRegisters();
    this.signalMask = tracee.getSignalMask();
    if (options.space !== undefined) this.useSpace(options.space);
    if (!this.#rescue) this.#blockSignals();
  }

  /** Leads the thread to the bridge, in a stop, with its signals blocked: runSyscall(bridge.call, ...) may follow. */
  standOn(bridge: Bridge): void {
    this.#settle();
    const back = this.#rerun();
    bridge.lay(back, this.signalMask);
    this.tracee.setRegisters(bridge.backTo(back));
    this.#blockSignals();
  }

  /** Tells where the agent is and which part of its data area is this thread's own. */
  useSpace(space: AgentSpace): void {
    this.#space = space;
    if (!this.#rescue) return;
    this.#placeRescueFrame();
    const leave = this.#agentRegisters().set("ip", space.code + agentCode().leave);
    this.tracee.setRegisters(leave);
    this.#blockSignals();
  }

  /** Bytes that a batch of this thread may take. */
  get room(): number {
    return this.#space.dataBytes;
  }

  run(batch: Batch, timeoutMs = stopTimeoutMs): BatchResult {
    this.start(batch);
    return this.finish(timeoutMs);
  }

  /** Sets the thread going; finish() must follow. Batches of several threads may run at once. */
  start(batch: Batch): void {
    if (this.#running !== undefined) throw new Error("the thread runs a batch already");
    const { code, data, dataBytes } = this.#space;
    if (batch.byteLength > dataBytes) throw new RangeError("the batch does not fit the agent's data area");
    this.#write(data, batch.encode(data));
    const registers = this.#agentRegisters().set("ip", code);
    registers.set("r12", data).set("r13", data + batch.callCount * recordBytes);
    this.tracee.setRegisters(registers);
    this.tracee.resume();
    this.#running = batch;
  }

  /** Waits for the end of the batch; throws an error naming the call that failed in it. */
  finish(timeoutMs = stopTimeoutMs): BatchResult {
    const batch = this.#running;
    if (batch === undefined) throw new Error("the thread runs no batch");
    this.#settle(timeoutMs);
    const { data } = this.#space;
    const made = (Number(this.tracee.getRegisters().get("r12")) - data) / recordBytes;
    const image = new Uint8Array(batch.byteLength);
    const got = native.vmRead(this.tracee.pid, data, image);
    checked(got, "process_vm_readv", "cannot read the agent's results", { pid: this.tracee.pid });
    return batch.decode(image, made, this.tracee.tid);
  }

  /**
   * Puts mask and registers back, in the stop that the thread is in. Detaching (or our death) lets the kernel itself restart
   * what was interrupted: it does so on its way out of signal handling, through which the requested stop leads it.
   */
  giveBack(): void {
    const { tracee } = this;
    this.#settle();
    tracee.setSignalMask(this.signalMask); // the way back is still in force: it sets the same
    tracee.requestStop();
    tracee.setRegisters(this.registers);
    for (const signal of tracee.takeSuppressed()) sendAgain(tracee.pid, signal);
  }

  /** Waits until the thread has ended the batch that it runs, if any. */
  #settle(timeoutMs = stopTimeoutMs): void {
    if (this.#running === undefined) return;
    while (!this.#isEnd(this.tracee.waitStop(timeoutMs))) this.tracee.resume();
    this.#running = undefined;
  }

  #isEnd(stop: Stop): boolean {
    const { tracee } = this;
    if (stop.kind === "exited" || stop.kind === "killed") throw tracee.ended("a batch of system calls");
    if (stop.kind !== "signal") return false;
    const siginfo = new DataView(tracee.getSiginfo().buffer);
    const ours = stop.signal === this.#stopSignal && siginfo.getInt32(8, true) === sentByTgkill && this.#atEnd(tracee);
    if (ours) return true;
    if (stop.signal === signals.SIGSTOP || stop.signal === this.#stopSignal) {
      tracee.suppressed(stop.signal);
      return false;
    }
    throw new FaultlineError("SYSTEM", `the agent was stopped by signal ${stop.signal}`, {
      pid: tracee.tid,
      address: tracee.getRegisters().get("ip"),
    });
  }

  #atEnd(tracee: Tracee): boolean {
    const offset = Number(tracee.getRegisters().get("ip")) - this.#space.code;
    return offset > 0 && offset < agentCode().bytes.length;
  }

  /** Those with which an interrupted system call is made again from its start. An EINTR is the program's own (freeze.ts). */
  #rerun(): Registers {
    return undoInterruption(this.registers, "rerun", true);
  }

  /** What the agent wants of a thread, but for the place to start at and the records. The stack pointer stays. */
  #agentRegisters(): Registers {
    const { pid, tid } = this.tracee;
    const registers = this.registers.copy().set("orig_ax", notInSyscall).set("ax", 0);
    return registers.set("r14", pid).set("bp", tid).set("bx", this.#stopSignal).set("r15", this.#frame);
  }

  #blockSignals(): void {
    if (this.#isBlocked) return;
    this.tracee.setSignalMask(allSignals & ~(1n << BigInt(this.#stopSignal - 1)));
    this.#isBlocked = true;
  }

  #placeRescueFrame(): void {
    const xstate = this.tracee.getXstate();
    const { data, dataBytes } = this.#space;
    const length = Math.ceil(rescueFrameBytes(xstate) / 64) * 64;
    if (dataBytes < length) throw new RangeError("the agent's data area is too small for a rescue frame");
    const address = Math.floor((data + dataBytes - length) / 64) * 64;
    this.#write(address, rescueFrame(address, { registers: this.#rerun(), signalMask: this.signalMask, xstate }));
    this.#frame = address;
    this.#space = { ...this.#space, dataBytes: address - data };
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
