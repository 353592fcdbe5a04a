// The core image of each thread of a task: registers, signals, timers, credentials, limits. Makes records of what
// taskState.ts, ptrace and /proc say; asks nothing of the task itself.
import { readFileSync } from "node:fs";
import { getPriority } from "node:os";
import type { Init } from "../../images/message";
import type {
  CoreEntry,
  CredsEntry,
  RseqEntry,
  TaskCoreEntry,
  ThreadCoreEntry,
  UserX86RegsEntry,
} from "../../images/messages";
import { native } from "../../native";
import { restart, signals } from "../constants";
import { classifyInterruption, undoInterruption } from "../interruption";
import { parseFields, parseStat, readProc, statusMask } from "../proc";
import { notInSyscall, type Registers, registerNames } from "../registers";
import type { Tracee } from "../tracee";
import { xstateLayout } from "../xstate";
import { floatingPointEntry } from "./floatingPoint";
import type { FrozenTask } from "./freeze";
import type { PosixTimer, SignalAction, TaskState, ThreadState } from "./taskState";
import type { TimerValue } from "./timers";

const marchX86_64 = 1;
const modeNative = 1;
export const taskState = { alive: 1, dead: 2, stopped: 3 } as const;
const saRestart = 0x10000000n;
const handlerDefault = 0n;
const handlerIgnore = 1n;
const eintr = 4n;
const sigevNone = 1;
const noLimit = 0xffffffffffffffffn;

/** Processors that are online, of a text as 0-3,8 (/sys/devices/system/cpu/online). */
function onlineProcessors(): number[] {
  const ranges = readFileSync("/sys/devices/system/cpu/online", "latin1").trim().split(",");
  return ranges.flatMap((range) => {
    const [first, last] = range.split("-").map(Number) as [number, number?];
    return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index);
  });
}

/** The mask of sched_setaffinity(2), from proc_pid_status(5); undefined where every processor is allowed. */
function processors(status: ReadonlyMap<string, string>): Buffer | undefined {
  const digits = (status.get("Cpus_allowed") ?? "").replaceAll(",", "");
  const mask = Buffer.from(digits.padStart(Math.ceil(digits.length / 16) * 16, "0"), "hex").reverse();
  const isAllowed = (processor: number): boolean => (((mask[processor >> 3] ?? 0) >> (processor & 7)) & 1) !== 0;
  return onlineProcessors().every(isAllowed) ? undefined : mask;
}

/** The limits of /proc/PID/limits in the order of their numbers (asm-generic/resource.h). */
const limitNames = [
  "Max cpu time",
  "Max file size",
  "Max data size",
  "Max stack size",
  "Max core file size",
  "Max resident set",
  "Max processes",
  "Max open files",
  "Max locked memory",
  "Max address space",
  "Max file locks",
  "Max pending signals",
  "Max msgqueue size",
  "Max nice priority",
  "Max realtime priority",
  "Max realtime timeout",
] as const;

/** Parses /proc/PID/limits into (current, maximum) pairs in the order of RLIMIT_*. */
export function parseLimits(text: string): { cur: bigint; max: bigint }[] {
  const value = (word: string): bigint => (word === "unlimited" ? noLimit : BigInt(word));
  return limitNames.map((name) => {
    const line = text.split("\n").find((candidate) => candidate.startsWith(name));
    const [cur, max] = (line ?? "").slice(name.length).trim().split(/\s+/);
    return { cur: value(cur ?? "unlimited"), max: value(max ?? "unlimited") };
  });
}

/** The registers with which a restored thread goes on: an interrupted call is made again, or says EINTR where it would. */
export function imageRegisters(registers: Registers, due: readonly SignalAction[]): Registers {
  const kind = classifyInterruption(registers);
  const handled = due.find(({ handler }) => handler !== handlerDefault && handler !== handlerIgnore);
  if (handled !== undefined && (kind === "restarts" || kind === "restart-block")) {
    const always = -registers.result() === BigInt(restart.noIntr);
    const restarts = -registers.result() === BigInt(restart.sys) && (handled.flags & saRestart) !== 0n;
    if (!always && !restarts) return registers.copy().set("ax", -eintr).set("orig_ax", notInSyscall);
  }
  return undoInterruption(registers, "rerun", handled !== undefined);
}

function registersEntry(registers: Registers): Init<UserX86RegsEntry> {
  const fields = Object.fromEntries(registerNames.map((name) => [name, registers.get(name)]));
  return { ...fields, mode: modeNative } as unknown as Init<UserX86RegsEntry>;
}

const emptySegments = Array.from({ length: 3 }, (_, index) => ({
  entry_number: 12 + index,
  base_addr: 0,
  limit: 0,
  seg_32bit: false,
  contents_h: false,
  contents_l: false,
  read_exec_only: true,
  limit_in_pages: false,
  seg_not_present: true,
  usable: false,
}));

function siginfos(list: readonly Uint8Array[]): { signals: { siginfo: Buffer }[] } {
  return { signals: list.map((siginfo) => ({ siginfo: Buffer.from(siginfo) })) };
}

function capabilities(status: ReadonlyMap<string, string>, name: string): number[] {
  const mask = statusMask(status, name);
  return [Number(mask & 0xffffffffn), Number(mask >> 32n)];
}

function credentials(status: ReadonlyMap<string, string>, securebits: number): Init<CredsEntry> {
  const ids = (name: string): number[] => (status.get(name) ?? "").split(/\s+/).map(Number);
  const [uid, euid, suid, fsuid] = ids("Uid") as [number, number, number, number];
  const [gid, egid, sgid, fsgid] = ids("Gid") as [number, number, number, number];
  const noNewPrivileges = Number(status.get("NoNewPrivs") ?? 0);
  return {
    ...{ uid, gid, euid, egid, suid, sgid, fsuid, fsgid },
    cap_inh: capabilities(status, "CapInh"),
    cap_prm: capabilities(status, "CapPrm"),
    cap_eff: capabilities(status, "CapEff"),
    cap_bnd: capabilities(status, "CapBnd"),
    secbits: securebits,
    groups: (status.get("Groups") ?? "").split(/\s+/).filter(Boolean).map(Number),
    no_new_privs: noNewPrivileges === 0 ? undefined : noNewPrivileges,
    cap_amb: capabilities(status, "CapAmb"),
  };
}

/** Reads one 64-bit word of the task, or 0 where there is nothing to read. */
function peekWord(pid: number, address: bigint): bigint {
  const word = new BigUint64Array(1);
  return native.vmRead(pid, Number(address), word) === 8 ? (word[0] as bigint) : 0n;
}

interface RseqFacts {
  readonly entry: Init<RseqEntry> | undefined;
  /** Where a thread inside a critical section must go on (rseq(2)): its abort handler. */
  readonly abortFrom: (ip: bigint) => bigint | undefined;
}

function rseqOf(pid: number, tracee: Tracee): RseqFacts {
  const { pointer, size, signature } = tracee.rseq();
  if (pointer === 0n) return { entry: undefined, abortFrom: () => undefined };
  const section = peekWord(pid, pointer + 8n);
  const entry = {
    rseq_abi_pointer: pointer,
    rseq_abi_size: size,
    signature,
    rseq_cs_pointer: section === 0n ? undefined : section,
  };
  return {
    entry,
    abortFrom: (ip) => {
      if (section === 0n) return undefined;
      const start = peekWord(pid, section + 8n);
      return ip >= start && ip < start + peekWord(pid, section + 16n) ? peekWord(pid, section + 24n) : undefined;
    },
  };
}

const timeEntry = (time: TimerValue) => ({
  isec: time.intervalSeconds,
  iusec: time.intervalFraction,
  vsec: time.seconds,
  vusec: time.fraction,
});

/** A timer that tells a thread which has ended tells nobody, and can be made again only as one that does (timer_create(2)). */
function notification({ notify, threadId }: PosixTimer, tids: readonly number[]): number {
  return threadId === undefined || tids.includes(threadId) ? notify : sigevNone;
}

function taskTimers(task: FrozenTask, state: TaskState): NonNullable<Init<TaskCoreEntry>["timers"]> {
  const [real, virt, prof] = state.itimers.map(timeEntry);
  if (real === undefined || virt === undefined || prof === undefined) throw new Error("three interval timers");
  const tids = task.threads.map(({ tid }) => tid);
  return {
    ...{ real, virt, prof },
    posix: state.posixTimers.map((timer) => ({
      it_id: timer.id,
      clock_id: timer.clock >>> 0,
      si_signo: timer.signal,
      it_sigev_notify: notification(timer, tids),
      sival_ptr: timer.value,
      overrun: timer.overrun,
      isec: timer.time.intervalSeconds,
      insec: timer.time.intervalFraction,
      vsec: timer.time.seconds,
      vnsec: timer.time.fraction,
      notify_thread_id: timer.threadId,
    })),
  };
}

function readNumber(pid: number, name: string, fallback: number): number {
  try {
    return Number(readProc(pid, name).trim());
  } catch {
    return fallback; // the kernel lacks it (CONFIG_AUDIT)
  }
}

function unusualExitSignal({ stat }: FrozenTask): number | undefined {
  return stat.exitSignal === signals.SIGCHLD ? undefined : stat.exitSignal;
}

function taskCore(task: FrozenTask, state: TaskState): Init<TaskCoreEntry> {
  const leader = task.threads[0] as Tracee;
  return {
    task_state: task.state === "stopped" ? taskState.stopped : taskState.alive,
    exit_code: 0,
    personality: Number.parseInt(readProc(task.pid, "personality"), 16),
    flags: task.stat.flags,
    blk_sigset: leader.getSignalMask(),
    comm: task.stat.comm,
    timers: taskTimers(task, state),
    rlimits: { rlimits: parseLimits(readProc(task.pid, "limits")) },
    signals_s: siginfos(leader.pendingSignals(true)),
    loginuid: readNumber(task.pid, "loginuid", 0xffffffff) >>> 0,
    oom_score_adj: readNumber(task.pid, "oom_score_adj", 0),
    sigactions: state.actions.map(({ handler, flags, restorer, mask }) => ({
      ...{ sigaction: handler, flags, restorer, mask },
      compat_sigaction: false,
    })),
    child_subreaper: state.childSubreaper,
    stop_signo: task.state === "stopped" ? task.stopSignal : undefined,
    exit_signal: unusualExitSignal(task),
    attributes: state.attributes,
    membarrier_registration_mask: state.membarrierRegistrations === 0 ? undefined : state.membarrierRegistrations,
  };
}

/** Seccomp state of a thread as seccompImage.ts numbers it. */
export interface SeccompFacts {
  readonly mode: number;
  readonly filter: number | undefined;
}

function threadCore(
  task: FrozenTask,
  tracee: Tracee,
  state: ThreadState,
  rseq: Init<RseqEntry> | undefined,
  seccomp: SeccompFacts,
): Init<ThreadCoreEntry> {
  const base = `task/${tracee.tid}`;
  const stat = parseStat(readProc(task.pid, `${base}/stat`));
  const status = parseFields(readProc(task.pid, `${base}/status`));
  const isLeader = tracee.tid === task.pid;
  return {
    futex_rla: state.robustList.head,
    futex_rla_len: Number(state.robustList.length),
    sched_nice: getPriority(tracee.tid),
    sched_policy: stat.policy,
    sched_prio: stat.realtimePriority === 0 ? undefined : stat.realtimePriority,
    cpus_allowed: processors(status),
    attributes: state.attributes,
    blk_sigset: isLeader ? undefined : tracee.getSignalMask(),
    sas: { ss_sp: state.altStack.pointer, ss_size: state.altStack.size, ss_flags: state.altStack.flags },
    pdeath_sig: state.parentDeathSignal === 0 ? undefined : state.parentDeathSignal,
    signals_p: siginfos(tracee.pendingSignals(false)),
    creds: credentials(status, state.securebits),
    seccomp_mode: seccomp.mode === 0 ? undefined : seccomp.mode,
    seccomp_filter: seccomp.filter,
    comm: stat.comm,
    rseq_entry: rseq,
    cg_set: 1,
  };
}

/** The signals that will be delivered as soon as the thread runs: pending and not blocked. */
function dueSignals(task: FrozenTask, tracee: Tracee, actions: readonly SignalAction[]): SignalAction[] {
  const status = parseFields(readProc(task.pid, `task/${tracee.tid}/status`));
  const due = (statusMask(status, "SigPnd") | statusMask(status, "ShdPnd")) & ~tracee.getSignalMask();
  return actions.filter(({ signal }) => (due & (1n << BigInt(signal - 1))) !== 0n);
}

/** The records of core-TID.img for every thread of a task, from the registers that it had when it was stopped. */
export function coreImages(
  task: FrozenTask,
  state: TaskState,
  seccompOf: (tracee: Tracee) => SeccompFacts,
): { tid: number; core: Init<CoreEntry> }[] {
  return task.threads.map((tracee, index) => {
    const thread = state.threads[index] as ThreadState;
    const rseq = rseqOf(task.pid, tracee);
    const registers = imageRegisters(tracee.getRegisters(), dueSignals(task, tracee, state.actions));
    const abort = rseq.abortFrom(registers.get("ip"));
    if (abort !== undefined) registers.set("ip", abort);
    const core: Init<CoreEntry> = {
      mtype: marchX86_64,
      thread_info: {
        clear_tid_addr: thread.clearTidAddress,
        gpregs: registersEntry(registers),
        fpregs: floatingPointEntry(tracee.getXstate(), xstateLayout()),
        tls: emptySegments,
      },
      tc: index === 0 ? taskCore(task, state) : undefined,
      thread_core: threadCore(task, tracee, thread, rseq.entry, seccompOf(tracee)),
    };
    return { tid: tracee.tid, core };
  });
}

/** The core image of a zombie: only how it ended. */
export function zombieCore(task: FrozenTask): Init<CoreEntry> {
  return {
    mtype: marchX86_64,
    tc: {
      task_state: taskState.dead,
      exit_code: task.stat.exitCode,
      personality: 0,
      flags: 0,
      blk_sigset: 0n,
      comm: task.stat.comm,
      exit_signal: unusualExitSignal(task),
    },
  };
}
