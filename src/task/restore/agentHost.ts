// A stopped task of the restore and the agent in it: the foothold for running scripts of system calls, in the leader
// and in its other threads. Owns the tracing of the task's threads until they are let go.
import { checked, FaultlineError } from "../../errors";
import { native } from "../../native";
import type { Batch, BatchResult } from "../batch";
import { mapFlag, pageSize, protection, ptraceOption, signals, syscalls } from "../constants";
import { AgentThread } from "../injector";
import { agentCode } from "../machineCode";
import { notInSyscall } from "../registers";
import { pokeMemory } from "../taskMemory";
import { Tracee } from "../tracee";
import { agentAreaBytes, agentBytes } from "./layout";
import { Script } from "./script";

/** Address of the stub's instructions that map twice and trap: the code's (native/spawn.cc) and 16 bytes. */
const stubMapsTwice = 0x100c0n;
/** What each further thread gets of the agent's data area, bytes. */
export const threadAreaBytes = 8 * 1024;
const coreLimit = 4;
const eexist = 17;
const einval = 22;
const eperm = 1;

let stub = -1;

/** Runs the stub with the given pid, stopped and traced, with the agent at `hole`. Ends with us (PTRACE_O_EXITKILL). */
export function spawnHost(pid: number, newSession: boolean, hole: number): AgentHost {
  if (stub < 0) stub = checked(native.stubOpen(), "memfd_create", "the stub program cannot be made");
  const got = native.spawnStub(stub, pid, newSession);
  if (got < 0) throw spawnError(pid, -got);
  try {
    const tracee = Tracee.seize(pid, pid, ptraceOption.exitKill);
    tracee.interrupt();
    mapAgentAt(tracee, hole);
    return new AgentHost(tracee, hole);
  } catch (error) {
    native.pidfdSignal(checked(native.pidfdOpen(pid), "pidfd_open", "the new task is gone", { pid }), signals.SIGKILL);
    native.reap(pid, true);
    throw error;
  }
}

/** Runs `use` while a process lives, with that pid where it is free (0: any), and ends it. */
export function withStub<T>(wanted: number, use: (pid: number) => T): T {
  stub = stub < 0 ? checked(native.stubOpen(), "memfd_create", "the stub program cannot be made") : stub;
  const got = native.spawnStub(stub, wanted, false);
  const pid = got === -eexist ? native.spawnStub(stub, 0, false) : got;
  if (pid < 0) throw spawnError(wanted, -pid);
  try {
    return use(pid);
  } finally {
    native.tgkill(pid, pid, signals.SIGKILL);
    native.reap(pid, true);
  }
}

function spawnError(pid: number, errno: number): FaultlineError {
  const details = { pid, syscall: "clone3", errno };
  if (errno === eexist) {
    return new FaultlineError("BUSY", "the pid is taken by a process or thread that runs, or is not reaped yet", {
      ...details,
      advice: `see what it is with \`ps -fL ${pid}\``,
    });
  }
  if (errno === eperm) {
    return new FaultlineError("PERMISSION", "a process with a chosen pid may not be made", {
      ...details,
      advice: "run as root or with CAP_CHECKPOINT_RESTORE",
    });
  }
  if (errno === einval) {
    return new FaultlineError("UNSUPPORTED", "this pid cannot be had here", {
      ...details,
      advice: "raise /proc/sys/kernel/pid_max above it",
    });
  }
  return new FaultlineError("SYSTEM", "the process cannot be made", details);
}

/** By the stub's own instructions, since there is nothing to run a batch yet. All of its signals are blocked (spawnStub). */
function mapAgentAt(tracee: Tracee, hole: number): void {
  const { pid } = tracee;
  const registers = tracee
    .getRegisters()
    .set("ip", stubMapsTwice)
    .set("ax", syscalls.mmap)
    .set("orig_ax", notInSyscall);
  registers
    .set("di", hole)
    .set("si", pageSize)
    .set("dx", protection.read | protection.execute);
  registers
    .set("r10", mapFlag.private | mapFlag.anonymous | mapFlag.fixedNoReplace)
    .set("r8", -1)
    .set("r9", 0);
  registers
    .set("r13", hole + pageSize)
    .set("r14", agentAreaBytes)
    .set("r15", protection.read | protection.write);
  tracee.setRegisters(registers);
  for (let trapped = false; !trapped; ) {
    tracee.resume();
    const stop = tracee.waitStop();
    if (stop.kind === "exited" || stop.kind === "killed") throw tracee.ended("mapping the agent");
    trapped = stop.kind === "signal" && stop.signal === signals.SIGTRAP;
  }
  const got = tracee.getRegisters();
  for (const name of ["r12", "ax"] as const) {
    const result = Number(BigInt.asIntN(64, got.get(name)));
    checked(result, "mmap", "the agent cannot be mapped", { pid, address: hole });
  }
  // A blocked trap is let through, and stays so.
  tracee.setSignalMask(0xffffffffffffffffn);
  pokeMemory(pid, hole, agentCode().bytes);
}

export class AgentHost {
  readonly tracee: Tracee;
  readonly hole: number;
  readonly #leader: AgentThread;

  /** A task that has the agent's memory already: spawned, or forked from one that has. */
  constructor(tracee: Tracee, hole: number) {
    this.tracee = tracee;
    this.hole = hole;
    this.#leader = this.#thread(tracee, 0, agentAreaBytes);
  }

  get pid(): number {
    return this.tracee.pid;
  }

  /** Runs a script in the leader; the results of its batches, in order. */
  run(script: Script): BatchResult[] {
    return script.batches.map((batch) => this.#leader.run(batch));
  }

  /** Runs one batch in the leader. */
  runBatch(batch: Batch): BatchResult {
    return this.#leader.run(batch);
  }

  /** A task or thread that the leader's script has just created with CLONE_PTRACE: waits for it to stop. */
  adoptStopped(pid: number, tid: number): Tracee {
    const tracee = Tracee.adopt(pid, tid);
    const stop = tracee.waitStop();
    if (stop.kind !== "event-stop") throw tracee.ended("its creation");
    return tracee;
  }

  /** Runs a script in each thread: short ones all at once as far as the data area reaches, long ones one by one. */
  runThreads(work: readonly { tracee: Tracee; script: Script }[]): void {
    const isShort = ({ tracee, script }: { tracee: Tracee; script: Script }): boolean => {
      const [batch, second] = script.batches;
      return tracee !== this.tracee && second === undefined && (batch?.byteLength ?? 0) <= threadAreaBytes;
    };
    for (const { tracee, script } of work.filter((item) => !isShort(item))) {
      const thread = tracee === this.tracee ? this.#leader : this.#thread(tracee, 0, agentAreaBytes);
      for (const batch of script.batches) thread.run(batch);
    }
    const short = work.filter(isShort);
    const atOnce = Math.floor(agentAreaBytes / threadAreaBytes);
    for (let from = 0; from < short.length; from += atOnce) {
      const threads = short.slice(from, from + atOnce).map(({ tracee, script }, index) => {
        const thread = this.#thread(tracee, index * threadAreaBytes, threadAreaBytes);
        for (const batch of script.batches) thread.start(batch);
        return script.batches.length > 0 ? thread : undefined;
      });
      for (const thread of threads) thread?.finish();
    }
  }

  /** Leaves the task to end by itself with that wait(2) status, untraced, so that its parent finds it as it was. */
  endWith(status: number): void {
    const signal = status & 0x7f;
    if (signal === signals.SIGKILL) {
      this.tracee.detach(signals.SIGKILL);
      native.tgkill(this.pid, this.pid, signals.SIGKILL);
      return;
    }
    if (signal === 0) {
      const registers = this.tracee.getRegisters();
      registers.set("ip", this.#syscallInstruction()).set("orig_ax", notInSyscall);
      registers.set("ax", syscalls.exit_group).set("di", (status >> 8) & 0xff);
      this.tracee.setRegisters(registers);
      this.tracee.detach();
      return;
    }
    // The default action, and a limit of one byte: no core file, also where core files go to a program (core(5)).
    const script = new Script();
    const batch = script.room(1, 48);
    batch.call(syscalls.rt_sigaction, [signal, batch.place(new Uint8Array(32)), 0, 8]);
    this.run(script);
    native.prlimitSet(this.pid, coreLimit, 1n, 1n);
    this.tracee.setSignalMask(0n);
    this.tracee.detach(signal);
  }

  /** Takes the agent's memory away and leaves the leader in the system call's exit stop, where nothing of it runs. */
  unmapAgent(): void {
    const got = this.tracee.runSyscall(this.#syscallInstruction(), syscalls.munmap, [this.hole, agentBytes]);
    checked(Number(got), "munmap", "the agent cannot be unmapped", { pid: this.pid });
  }

  #syscallInstruction(): bigint {
    return BigInt(this.hole + Buffer.from(agentCode().bytes).indexOf(Buffer.from([0x0f, 0x05])));
  }

  #thread(tracee: Tracee, offset: number, length: number): AgentThread {
    return new AgentThread(tracee, {
      stopSignal: signals.SIGSTOP,
      space: { code: this.hole, data: this.hole + pageSize + offset, dataBytes: length },
    });
  }
}
