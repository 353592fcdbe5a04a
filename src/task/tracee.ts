// One traced thread: seize, stop, registers, single system calls, detach. Owns the tracing of one thread and nothing
// else; what is done with the thread is decided elsewhere. See ptrace(2).
//
// All Tracees of a process must be used from the same OS thread, as ptrace requires.
import { checked, FaultlineError } from "../errors";
import { native } from "../native";
import { ptraceEvent, ptraceOption, registerSet, signals, syscallName } from "./constants";
import { notInSyscall, Registers } from "./registers";

/** How long a stop that the kernel owes us may take before it is an error, milliseconds. */
export const stopTimeoutMs = 10_000;

const waitAll = 0x40000000; // __WALL
const waitLeave = 0x01000000; // WNOWAIT
const xstateBytesMax = 16 * 1024;
const siginfoBytes = 128;
const eperm = 1;
const esrch = 3;

/** Why a thread stopped or ended, decoded from waitpid(2)'s status. */
export type Stop =
  /** PTRACE_EVENT_STOP: by PTRACE_INTERRUPT (signal is SIGTRAP), at birth, or a group stop (a stop signal). */
  | { readonly kind: "event-stop"; readonly signal: number }
  | { readonly kind: "event"; readonly event: number }
  /** Entry to or exit from a system call, where PTRACE_SYSCALL resumed the thread. */
  | { readonly kind: "syscall" }
  /** A signal is about to be delivered; resume with it or with 0 to suppress it. */
  | { readonly kind: "signal"; readonly signal: number }
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: number };

/** Decodes a waitpid(2) status of a seized task with PTRACE_O_TRACESYSGOOD. */
export function decodeStatus(status: number): Stop {
  if ((status & 0x7f) === 0) return { kind: "exited", code: (status >> 8) & 0xff };
  if ((status & 0xff) !== 0x7f) return { kind: "killed", signal: status & 0x7f };
  const signal = (status >> 8) & 0xff;
  const event = status >> 16;
  if (event === ptraceEvent.stop) return { kind: "event-stop", signal };
  if (event !== 0) return { kind: "event", event };
  if (signal === (signals.SIGTRAP | 0x80)) return { kind: "syscall" };
  return { kind: "signal", signal };
}

/** Waits for any traced thread; undefined when `timeoutMs` is over. */
export function waitAny(timeoutMs: number): { tid: number; stop: Stop } | undefined {
  const status = new Int32Array(1);
  const tid = checked(native.waitTask(-1, waitAll, timeoutMs, status), "waitpid", "cannot wait for traced tasks");
  return tid === 0 ? undefined : { tid, stop: decodeStatus(status[0] as number) };
}

/** What PTRACE_GET_RSEQ_CONFIGURATION says. */
export interface RseqConfiguration {
  readonly pointer: bigint;
  readonly size: number;
  readonly signature: number;
  readonly flags: number;
}

export class Tracee implements Disposable {
  /** The process (thread group) that the thread is in. */
  readonly pid: number;
  readonly tid: number;
  #attached = true;
  #suppressed: number[] = [];

  private constructor(pid: number, tid: number) {
    this.pid = pid;
    this.tid = tid;
  }

  /**
   * Seizes a thread without stopping it. PTRACE_O_TRACESYSGOOD is always set; `options` adds to it.
   * Throws PERMISSION (another tracer, or no right to trace) or NOT_FOUND.
   */
  static seize(pid: number, tid: number, options = 0): Tracee {
    const done = native.ptraceSeize(tid, options | ptraceOption.traceSysgood);
    if (done === -eperm) {
      throw new FaultlineError("PERMISSION", "the task may not be traced", {
        pid: tid,
        syscall: "ptrace",
        errno: eperm,
        advice: "run as root (CAP_SYS_PTRACE) and see that no debugger or tracer is attached to it",
      });
    }
    checked(done, "ptrace", "cannot seize the task", { pid: tid });
    return new Tracee(pid, tid);
  }

  /** A thread that the kernel attached by itself: born with CLONE_PTRACE or under PTRACE_O_TRACECLONE and friends. */
  static adopt(pid: number, tid: number): Tracee {
    return new Tracee(pid, tid);
  }

  get attached(): boolean {
    return this.#attached;
  }

  /** Asks for an event stop and returns at once; waitStop() reports it. */
  requestStop(): void {
    this.#do(native.ptraceInterrupt(this.tid), "cannot interrupt the task");
  }

  /** Stops the thread and waits for it. Returns the stop that came, which may be an earlier signal or event. */
  interrupt(timeoutMs = stopTimeoutMs): Stop {
    this.requestStop();
    return this.waitStop(timeoutMs);
  }

  /** Waits for the next stop of this thread. TIMEOUT after `timeoutMs`. An end is returned, not thrown. */
  waitStop(timeoutMs = stopTimeoutMs): Stop {
    const stop = this.pollStop(timeoutMs);
    if (stop === undefined) throw this.stopTimeout(timeoutMs);
    return stop;
  }

  /** The error for a thread that does not stop. */
  stopTimeout(timeoutMs: number): FaultlineError {
    return new FaultlineError("TIMEOUT", `the task did not stop within ${timeoutMs} ms`, {
      pid: this.tid,
      advice: "it may be in an uninterruptible wait; see /proc/PID/wchan",
    });
  }

  /** As waitStop, but undefined instead of TIMEOUT. */
  pollStop(timeoutMs = 0): Stop | undefined {
    const stop = this.#wait(waitAll, timeoutMs);
    if (stop?.kind === "exited" || stop?.kind === "killed") this.#attached = false;
    return stop;
  }

  /**
   * As pollStop, but the stop stays to be waited for. If we die before that, a signal that it is about is delivered; one
   * that was waited for is lost.
   */
  peekStop(timeoutMs = 0): Stop | undefined {
    return this.#wait(waitAll | waitLeave, timeoutMs);
  }

  #wait(options: number, timeoutMs: number): Stop | undefined {
    const status = new Int32Array(1);
    const got = this.#do(native.waitTask(this.tid, options, timeoutMs, status), "cannot wait for the task", "waitpid");
    return got === 0 ? undefined : decodeStatus(status[0] as number);
  }

  /** Resumes, delivering `signal` (0: none). */
  resume(signal = 0): void {
    this.#do(native.ptraceContinue(this.tid, signal), "cannot resume the task");
  }

  /** Resumes until the next entry to or exit from a system call. */
  resumeToSyscall(signal = 0): void {
    this.#do(native.ptraceSyscall(this.tid, signal), "cannot resume the task");
  }

  setOptions(options: number): void {
    this.#do(native.ptraceSetOptions(this.tid, options | ptraceOption.traceSysgood), "cannot set the tracing options");
  }

  getRegisters(): Registers {
    const registers = new Registers();
    this.#do(native.ptraceGetRegset(this.tid, registerSet.general, registers.words), "cannot read the registers");
    return registers;
  }

  setRegisters(registers: Registers): void {
    this.#do(native.ptraceSetRegset(this.tid, registerSet.general, registers.words), "cannot set the registers");
  }

  /** The XSAVE area in its standard form (NT_X86_XSTATE); its size is what the machine uses. */
  getXstate(): Uint8Array {
    const buffer = new Uint8Array(xstateBytesMax);
    const length = this.#do(
      native.ptraceGetRegset(this.tid, registerSet.xstate, buffer),
      "cannot read the floating point state",
    );
    return buffer.subarray(0, length);
  }

  setXstate(xstate: Uint8Array): void {
    this.#do(native.ptraceSetRegset(this.tid, registerSet.xstate, xstate), "cannot set the floating point state");
  }

  /** The blocked signals: bit n - 1 is signal n. In ppoll(2) and the like, the mask that will be put back. */
  getSignalMask(): bigint {
    const mask = new BigUint64Array(1);
    this.#do(native.ptraceGetSigmask(this.tid, mask), "cannot read the signal mask");
    return mask[0] as bigint;
  }

  setSignalMask(mask: bigint): void {
    this.#do(native.ptraceSetSigmask(this.tid, new BigUint64Array([mask])), "cannot set the signal mask");
  }

  /** The siginfo_t of a signal-delivery-stop, 128 bytes. */
  getSiginfo(): Uint8Array {
    const buffer = new Uint8Array(siginfoBytes);
    this.#do(native.ptraceGetSiginfo(this.tid, buffer), "cannot read the signal's siginfo");
    return buffer;
  }

  /** The queued signals of the thread, or of its process where `shared`; each a siginfo_t of 128 bytes. Takes none. */
  pendingSignals(shared: boolean): Uint8Array[] {
    const found: Uint8Array[] = [];
    for (;;) {
      const buffer = new Uint8Array(siginfoBytes * 32);
      const count = this.#do(
        native.ptracePeekSiginfo(this.tid, shared ? 1 : 0, found.length, buffer),
        "cannot read the pending signals",
      );
      for (let index = 0; index < count; index++) {
        found.push(buffer.slice(index * siginfoBytes, (index + 1) * siginfoBytes));
      }
      if (count < 32) return found;
    }
  }

  rseq(): RseqConfiguration {
    const buffer = new DataView(new ArrayBuffer(24));
    this.#do(native.ptraceGetRseq(this.tid, buffer), "cannot read the rseq configuration");
    return {
      pointer: buffer.getBigUint64(0, true),
      size: buffer.getUint32(8, true),
      signature: buffer.getUint32(12, true),
      flags: buffer.getUint32(16, true),
    };
  }

  eventMessage(): number {
    return this.#do(native.ptraceGetEventMessage(this.tid), "cannot read the event's message");
  }

  /**
   * Makes the stopped thread execute one system call through the `syscall` instruction at `instruction`, and leaves it
   * in the syscall-exit-stop: no user instruction runs afterwards. The registers are not put back. Returns the raw
   * result (negative errno). Signals must be blocked first (setSignalMask), or they would be delivered in between; what
   * cannot be blocked (SIGSTOP) is noted as suppressed.
   */
  runSyscall(instruction: bigint, number: number, args: readonly (number | bigint)[]): bigint {
    const registers = this.getRegisters();
    registers.set("ip", instruction).set("ax", number).set("orig_ax", notInSyscall);
    (["di", "si", "dx", "r10", "r8", "r9"] as const).forEach((name, index) => {
      registers.set(name, args[index] ?? 0);
    });
    this.setRegisters(registers);
    for (let boundaries = 0; boundaries < 2; ) {
      this.resumeToSyscall();
      const stop = this.waitStop();
      if (stop.kind === "syscall") boundaries++;
      else if (stop.kind === "exited" || stop.kind === "killed") throw this.ended(syscallName(number));
      else if (stop.kind === "signal") this.suppressed(stop.signal);
    }
    return this.getRegisters().result();
  }

  /** Notes a signal that arrived at the wrong moment and was not delivered. */
  suppressed(signal: number): void {
    if (!this.#suppressed.includes(signal)) this.#suppressed.push(signal);
  }

  /** The signals that were noted and are still owed to the program; they are forgotten here. */
  takeSuppressed(): readonly number[] {
    return this.#suppressed.splice(0);
  }

  /** The error for a thread that ended while something was done with it. */
  ended(during: string): FaultlineError {
    return new FaultlineError("NOT_FOUND", `the task ended during ${during}`, { pid: this.tid });
  }

  /** Detaches a stopped thread, delivering `signal` (0: none). A thread that is gone already is no error. */
  detach(signal = 0): void {
    if (!this.#attached) return;
    const done = native.ptraceDetach(this.tid, signal);
    this.#attached = false;
    if (done !== -esrch) checked(done, "ptrace", "cannot detach from the task", { pid: this.tid });
  }

  [Symbol.dispose](): void {
    this.detach();
  }

  #do(result: number, message: string, syscall = "ptrace"): number {
    return checked(result, syscall, message, { pid: this.tid });
  }
}
