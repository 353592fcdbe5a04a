// Timers: how they are made, and how those that go on with the clock are set, all of a tree against one instant. System
// calls take their time, each with what it had left would drift apart with every restore; so each is set with what is left
// at the moment of its call, which is foreseen, looked at, and foreseen better where it was missed.
import type { ItimerEntry, PosixTimerEntry, TimerfdEntry } from "../../images/messages";
import { Batch, type Slot } from "../batch";
import { clockNs, clockValue, goesOn, lookAtClock, nsPerSecond } from "../clock";
import { prctlOperation, syscalls } from "../constants";
import type { AgentHost } from "./agentHost";
import { common } from "./processPlan";
import type { Script } from "./script";
import type { TaskImage, TreeImage } from "./treeImage";

const sigevNone = 1;
const sigevThreadId = 4;
const itimerReal = 0;
const timerAbsolute = 1;
/** TFD_TIMER_CANCEL_ON_SET: only for absolute times. */
const cancelOnSet = 2;
/** TFD_IOC_SET_TICKS, _IOW('T', 0, u64). */
const setTicks = 0x40085400;
const nsPerUs = 1000n;
/** Timers set between two looks at the clock: some microseconds. */
const groupTimers = 16;
/** From composing a batch until its first call, at the first try, nanoseconds. */
const delayNs = 60_000n;
/** So far from the instant a timer may be set, nanoseconds: so near it gets unless the processor is taken away. */
const offNs = 50_000n;
const attemptsMax = 10;
/** A timer that is due sooner is set once only, nanoseconds: it could go off before it is set again, and then twice. */
const againNs = nsPerSecond;
/** The instant is so far ahead for each task, nanoseconds, that the timers are set before it. */
const aheadNs = 1_000_000n;

/** A timer that goes on with the clock. */
interface ClockTimer {
  readonly intervalNs: bigint;
  /** What is left at the instant; not 0. */
  readonly leftNs: bigint;
  /** Adds the call that sets it, `firstNs` from then. */
  set(batch: Batch, firstNs: bigint): void;
}

/** Makes the timers of a process. What runs on its own CPU time is set at once, as that stands until the tree runs. */
export function timerCalls(script: Script, task: TaskImage): void {
  const { timers } = common(task);
  if (timers === undefined) return;
  for (const [index, entry] of [timers.virt, timers.prof].entries()) {
    const timer = intervalTimer(index + 1, entry);
    if (timer !== undefined) timer.set(script.room(1, 48), timer.leftNs);
  }
  if (timers.posix.length === 0) return;
  script.room(1).call(syscalls.prctl, [prctlOperation.timerCreateRestoreIds, 1, 0, 0, 0], {
    purpose: "asking for timers with chosen ids",
  });
  for (const timer of timers.posix) makeTimer(script, timer, task);
  script.room(1).call(syscalls.prctl, [prctlOperation.timerCreateRestoreIds, 0, 0, 0, 0]);
  for (const entry of timers.posix) {
    const timer = posixTimer(entry);
    if (timer !== undefined && !goesOn(entry.clock_id | 0)) timer.set(script.room(1, 48), timer.leftNs);
  }
}

function makeTimer(script: Script, timer: PosixTimerEntry, task: TaskImage): void {
  const batch = script.room(1, 128);
  const event = new DataView(new ArrayBuffer(64)); // struct sigevent
  event.setBigUint64(0, timer.sival_ptr, true);
  event.setInt32(8, timer.si_signo, true);
  const target = (timer.it_sigev_notify & sigevThreadId) === 0 ? undefined : (timer.notify_thread_id ?? 0);
  // A thread that has ended is told nothing, and the kernel takes none.
  const reaches = target === undefined || task.threads.some(({ tid }) => tid === target);
  event.setInt32(12, reaches ? timer.it_sigev_notify : sigevNone, true);
  if (target !== undefined) event.setInt32(16, target, true);
  const id = batch.place(new Uint8Array(new Int32Array([timer.it_id]).buffer));
  batch.call(syscalls.timer_create, [timer.clock_id, batch.place(new Uint8Array(event.buffer)), id], {
    purpose: `timer ${timer.it_id}`,
  });
}

/** Two times as the kernel has them: seconds, and a fraction in units of `unitNs`. */
function times(batch: Batch, intervalNs: bigint, firstNs: bigint, unitNs: bigint): Slot {
  const words = [intervalNs, firstNs].flatMap((ns) => [ns / nsPerSecond, (ns % nsPerSecond) / unitNs]);
  return batch.place(new Uint8Array(new BigInt64Array(words).buffer));
}

function intervalTimer(which: number, entry: ItimerEntry): ClockTimer | undefined {
  const intervalNs = entry.isec * nsPerSecond + entry.iusec * nsPerUs;
  // A periodic timer whose signal is still pending shows no time left: the kernel starts it again only as the signal is
  // taken (posix-timers, itimer). Its next period begins now.
  const leftNs = entry.vsec * nsPerSecond + entry.vusec * nsPerUs || intervalNs;
  if (leftNs === 0n) return undefined;
  return {
    ...{ intervalNs, leftNs },
    set(batch, firstNs) {
      // Rounded up: 0 would stop it.
      const slot = times(batch, intervalNs, firstNs + nsPerUs - 1n, nsPerUs);
      batch.call(syscalls.setitimer, [which, slot, 0]);
    },
  };
}

function posixTimer(entry: PosixTimerEntry): ClockTimer | undefined {
  const intervalNs = entry.isec * nsPerSecond + entry.insec;
  const leftNs = entry.vsec * nsPerSecond + entry.vnsec;
  if (leftNs === 0n) return undefined;
  return {
    ...{ intervalNs, leftNs },
    set(batch, firstNs) {
      batch.call(syscalls.timer_settime, [entry.it_id, 0, times(batch, intervalNs, firstNs, 1n), 0]);
    },
  };
}

/** Whether a task has the file as a descriptor, by which it can be set at the end; not where it only waits in a socket. */
export function isHeld(tree: TreeImage, id: number): boolean {
  return tree.tasks.some((task) => task.descriptors.some((descriptor) => descriptor.id === id));
}

/** The time left is what the image has (timerfd_gettime), also for timers set to an absolute time. */
export function timerfd(fd: number, file: TimerfdEntry): ClockTimer | undefined {
  const intervalNs = file.isec * nsPerSecond + file.insec;
  // A periodic timer with unread expirations shows no time left, as the kernel starts it again only when they are read.
  const leftNs = file.vsec * nsPerSecond + file.vnsec || intervalNs;
  if (leftNs === 0n) return undefined;
  return {
    ...{ intervalNs, leftNs },
    set(batch, firstNs) {
      const flags = file.settime_flags & ~(timerAbsolute | cancelOnSet);
      batch.call(syscalls.timerfd_settime, [fd, flags, times(batch, intervalNs, firstNs, 1n), 0]);
      setUnread(batch, fd, file);
    },
  };
}

/** Expirations that nobody has read yet; setting the time takes them away. */
export function setUnread(batch: Batch, fd: number, file: TimerfdEntry): void {
  if (file.ticks === 0n) return;
  const ticks = batch.place(new Uint8Array(new BigUint64Array([file.ticks]).buffer));
  batch.call(syscalls.ioctl, [fd, setTicks, ticks]);
}

/** The timers that go on with the clock and that `task` can set. `done`: timerfds that others have set. */
function clockTimers(task: TaskImage, tree: TreeImage, done: Set<number>): ClockTimer[] {
  const { timers } = common(task);
  const found: (ClockTimer | undefined)[] = [];
  if (timers !== undefined) {
    found.push(intervalTimer(itimerReal, timers.real));
    found.push(...timers.posix.filter((entry) => goesOn(entry.clock_id | 0)).map(posixTimer));
  }
  for (const { id, fd } of task.descriptors) {
    const file = tree.files.get(id)?.tfd;
    if (file === undefined || done.has(id)) continue;
    done.add(id);
    found.push(timerfd(fd, file));
  }
  return found.filter((timer) => timer !== undefined);
}

/** Sets all timers that go on with the clock, when every task has its timers and descriptors. */
export function startTimers(tree: TreeImage, hostOf: (pid: number) => AgentHost): void {
  const done = new Set<number>();
  const work = tree.tasks
    .filter((task) => !task.dead)
    .map((task) => ({ pid: task.pid, timers: clockTimers(task, tree, done) }))
    .filter(({ timers }) => timers.length > 0);
  const instantNs = clockNs() + BigInt(work.length) * aheadNs;
  for (const { pid, timers } of work) {
    for (let at = 0; at < timers.length; at += groupTimers) {
      startGroup(hostOf(pid), timers.slice(at, at + groupTimers), instantNs);
    }
  }
}

/** Sets timers in one batch, and again until that happened when it was foreseen. */
function startGroup(host: AgentHost, timers: readonly ClockTimer[], instantNs: bigint): void {
  let later = timers;
  let foreseen = delayNs;
  for (let attempt = 0; attempt < attemptsMax && later.length > 0; attempt++) {
    const composedNs = clockNs();
    const whenNs = composedNs + foreseen;
    const batch = new Batch();
    const before = lookAtClock(batch);
    for (const { leftNs, set } of later) set(batch, positive(instantNs + leftNs - whenNs));
    const after = lookAtClock(batch);
    const result = host.runBatch(batch);
    const setNs = (clockValue(result, before) + clockValue(result, after)) / 2n;
    const apart = clockValue(result, after) - clockValue(result, before);
    const missed = setNs > whenNs ? setNs - whenNs : whenNs - setNs;
    if (missed + apart / 2n <= offNs) return;
    if (apart <= offNs) foreseen = setNs - composedNs;
    const nowNs = clockNs();
    later = later.filter(({ leftNs }) => instantNs + leftNs - nowNs > againNs);
  }
}

/** Setting 0 would stop it. */
function positive(ns: bigint): bigint {
  return ns > 0n ? ns : 1n;
}
