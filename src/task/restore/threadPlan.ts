// What one thread does for itself before it runs: its kernel-side state as system calls, and the registers, signal mask
// and extended state that the tracer then sets. Pure. Credentials and seccomp are in credentialPlan.ts.
import type { CoreEntry, SiginfoEntry, ThreadCoreEntry, UserX86RegsEntry } from "../../images/messages";
import { encodeText } from "../../images/text";
import { prctlOperation, signalCount, syscalls } from "../constants";
import { notInSyscall, Registers, registerNames } from "../registers";
import { threadAttributeCalls } from "./attributePlan";
import type { Script } from "./script";
import type { ThreadImage } from "./treeImage";

const siginfoBytes = 128;
const robustListBytes = 24;
const alternateStackDisabled = 2;
const alternateStackInUse = 1;
const commBytesMax = 16;
const rseqBytesMax = 4096;
const rseqAlignment = 32n;

/** What is wrong with a thread's image; empty where nothing is. */
export function threadProblems(thread: ThreadImage): string[] {
  const problems: string[] = [];
  const refuse = (why: string): void => {
    problems.push(`thread ${thread.tid}: ${why}`);
  };
  const own = thread.core.thread_core as ThreadCoreEntry;
  const { rseq_entry: rseq, signals_p: signals } = own;
  if (own.futex_rla_len !== 0 && own.futex_rla_len !== robustListBytes) refuse("a robust list of unknown size");
  if (rseq !== undefined && rseq.rseq_abi_pointer !== 0n) {
    if (rseq.rseq_abi_pointer % rseqAlignment !== 0n) refuse("a misaligned rseq area");
    if (rseq.rseq_abi_size > rseqBytesMax) refuse(`an rseq area of ${rseq.rseq_abi_size} bytes`);
  }
  for (const { siginfo } of signals?.signals ?? []) {
    if (siginfo.length !== siginfoBytes) refuse(`a pending signal of ${siginfo.length} bytes`);
  }
  if ((thread.core.thread_info?.gpregs.cs ?? 0n) !== 0x33n) refuse("it runs no 64-bit code");
  return problems;
}

/** The first calls of every thread; nothing in them depends on privileges. */
export function threadCalls(script: Script, thread: ThreadImage, comm: string): void {
  const own = thread.core.thread_core as ThreadCoreEntry;
  const batch = script.room(8, 512);
  batch.call(syscalls.set_tid_address, [thread.core.thread_info?.clear_tid_addr ?? 0n]);
  if (own.futex_rla_len !== 0) batch.call(syscalls.set_robust_list, [own.futex_rla, own.futex_rla_len]);
  const { sas, rseq_entry: rseq } = own;
  if (sas !== undefined && (sas.ss_flags & alternateStackDisabled) === 0 && sas.ss_size > 0n) {
    const stack = new DataView(new ArrayBuffer(24));
    stack.setBigUint64(0, sas.ss_sp, true);
    stack.setUint32(8, (sas.ss_flags & ~alternateStackInUse) >>> 0, true);
    stack.setBigUint64(16, sas.ss_size, true);
    batch.call(syscalls.sigaltstack, [batch.place(new Uint8Array(stack.buffer)), 0]);
  }
  if (rseq !== undefined && rseq.rseq_abi_pointer !== 0n && rseq.rseq_abi_size !== 0) {
    batch.call(syscalls.rseq, [rseq.rseq_abi_pointer, rseq.rseq_abi_size, 0, rseq.signature]);
  }
  const name = Buffer.concat([encodeText(comm).subarray(0, commBytesMax - 1), Buffer.from([0])]);
  batch.call(syscalls.prctl, [prctlOperation.setName, batch.place(name), 0, 0, 0]);
  threadAttributeCalls(script, own.attributes);
}

/** Queues the signals that were pending for this thread alone. */
export function pendingThreadSignals(script: Script, pid: number, thread: ThreadImage): void {
  for (const signal of thread.core.thread_core?.signals_p?.signals ?? []) {
    const batch = script.room(1, siginfoBytes + 16);
    const number = signalNumber(signal);
    batch.call(syscalls.rt_tgsigqueueinfo, [pid, thread.tid, number, batch.place(signal.siginfo)], {
      purpose: `pending signal ${number}`,
    });
  }
}

/** Queues the signals that were pending for the process. */
export function pendingProcessSignals(script: Script, pid: number, core: CoreEntry): void {
  for (const signal of core.tc?.signals_s?.signals ?? []) {
    const batch = script.room(1, siginfoBytes + 16);
    const number = signalNumber(signal);
    batch.call(syscalls.rt_sigqueueinfo, [pid, number, batch.place(signal.siginfo)], {
      purpose: `pending signal ${number}`,
    });
  }
}

function signalNumber(signal: SiginfoEntry): number {
  const number = signal.siginfo.length >= 4 ? signal.siginfo.readInt32LE(0) : 0;
  return number >= 1 && number <= signalCount ? number : 0;
}

/** The general registers, outside of any system call: the dump has undone or finished the one in progress. */
export function threadRegisters(image: UserX86RegsEntry): Registers {
  const registers = new Registers();
  for (const name of registerNames) registers.set(name, image[name]);
  // Only what user code may set; the kernel would refuse or mask the rest (FLAG_MASK in arch/x86/kernel/ptrace.c).
  return registers.set("orig_ax", notInSyscall).set("cs", 0x33).set("ss", 0x2b);
}

/** Bit n - 1 is signal n. */
export function threadSignalMask(thread: ThreadImage): bigint {
  return thread.core.thread_core?.blk_sigset ?? thread.core.tc?.blk_sigset ?? 0n;
}
