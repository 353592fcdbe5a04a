// Stops a whole process tree consistently: every thread of every process is seized and stopped, again and again until a
// round finds nothing new. What stays running or half-stopped is released by unfreeze(), which undoes all of it.
import { FaultlineError } from "../../errors";
import { clockNs } from "../clock";
import { ptraceOption, signals, syscalls } from "../constants";
import { classifyInterruption, undoInterruption } from "../interruption";
import {
  childrenOf,
  parseFields,
  readProc,
  readStat,
  statusMask,
  type TaskStat,
  threadState,
  threadsOf,
} from "../proc";
import { Tracee } from "../tracee";

/** Rounds of looking for new tasks before a tree counts as never stable. */
const roundsMax = 100;
/** How long a thread is waited for before it is asked whether it waits for a vfork child that is stopped already. */
const vforkPatienceMs = 100;
const vforkPollMs = 1;
const forkCalls: ReadonlySet<number> = new Set([syscalls.clone, syscalls.vfork, syscalls.clone3]);

export interface FrozenTask {
  readonly pid: number;
  readonly stat: TaskStat;
  /** "stopped": by a job control signal, which `stopSignal` names. */
  readonly state: "alive" | "stopped" | "zombie";
  readonly stopSignal: number;
  /** Every thread, the leader first; none for a zombie. */
  readonly threads: readonly Tracee[];
}

const stopSignals = new Set<number>([signals.SIGSTOP, signals.SIGTSTP, signals.SIGTTIN, signals.SIGTTOU]);

/** A tree that is (being) frozen. Disposing it lets everything run on. */
export class FrozenTree implements Disposable {
  readonly root: number;
  readonly #threads = new Map<number, Tracee>();
  readonly #stops = new Map<number, number>();
  #tasks: FrozenTask[] = [];
  #frozenNs = 0n;

  private constructor(root: number) {
    this.root = root;
  }

  /** Freezes the tree below `root`. On failure everything runs on. `timeoutMs` bounds each thread's stop. */
  static freeze(root: number, timeoutMs: number): FrozenTree {
    const tree = new FrozenTree(root);
    try {
      tree.#settle(timeoutMs);
      tree.#frozenNs = clockNs();
      return tree;
    } catch (error) {
      tree[Symbol.dispose]();
      throw error;
    }
  }

  /** The tasks in tree order: parents before their children. */
  get tasks(): readonly FrozenTask[] {
    return this.#tasks;
  }

  /** The instant from which on all of it stood, clockNs(): the images tell of the timers as they were then. */
  get frozenNs(): bigint {
    return this.#frozenNs;
  }

  #settle(timeoutMs: number): void {
    for (let round = 0; round < roundsMax; round++) {
      if (this.#threads.size === 0) awaitVforks(this.root, timeoutMs);
      const found = this.#seizeNew();
      for (const tracee of found) {
        // Stopped, a vfork child would keep its parent from stopping: all run on and the freeze begins anew.
        if (this.#stop(tracee, timeoutMs)) continue;
        this.#thaw(tracee, found, timeoutMs);
        break;
      }
      // Where threads end and start meanwhile, a listing of /proc may pass one over: what is unseen is looked for again.
      if (found.length > 0 || this.#hasUnseen()) continue;
      this.#tasks = treeOf(this.root).flatMap((pid) => unlessEnded(pid === this.root, () => [this.#task(pid)]));
      return;
    }
    throw new FaultlineError("SYSTEM", "the tree makes new tasks faster than they can be stopped", { pid: this.root });
  }

  /** Seizes and interrupts every thread not seen before, without waiting, so that they stop together. */
  #seizeNew(): Tracee[] {
    const found: Tracee[] = [];
    for (const pid of treeOf(this.root)) {
      for (const tid of runningThreads(pid, pid === this.root)) {
        if (this.#threads.has(tid)) continue;
        const tracee = seizeThread(pid, tid);
        if (tracee === undefined) continue;
        this.#threads.set(tid, tracee);
        tracee.requestStop();
        found.push(tracee);
      }
    }
    return found;
  }

  /** False where the thread cannot stop because it is inside vfork. */
  #stop(tracee: Tracee, timeoutMs: number): boolean {
    for (;;) {
      let waiting = tracee.peekStop(Math.min(vforkPatienceMs, timeoutMs));
      if (waiting === undefined && isForking(tracee.pid)) return false;
      waiting ??= tracee.peekStop(timeoutMs);
      if (waiting === undefined) throw tracee.stopTimeout(timeoutMs);
      if (waiting.kind === "signal") {
        // It was on its way: it is delivered (its handler's frame set up) before the thread stops. Not waited for, it is
        // delivered even where we end here.
        tracee.requestStop();
        tracee.resume(waiting.signal);
        continue;
      }
      const stop = tracee.waitStop(timeoutMs);
      if (stop.kind === "event-stop") {
        if (stop.signal === signals.SIGTRAP) undoWakeUp(tracee);
        this.#stops.set(tracee.tid, stop.signal);
        return true;
      }
      if (stop.kind === "exited" || stop.kind === "killed") {
        this.#threads.delete(tracee.tid);
        return true;
      }
      tracee.requestStop();
      tracee.resume();
    }
  }

  /** Lets everything go on, those of `found` that are yet to stop included. */
  #thaw(forking: Tracee, found: readonly Tracee[], timeoutMs: number): void {
    const later = found.slice(found.indexOf(forking) + 1);
    const running = [forking, ...later.filter((tracee) => !this.#stop(tracee, timeoutMs))];
    for (const tracee of this.#threads.values()) if (!running.includes(tracee)) tracee.detach();
    const end = Date.now() + timeoutMs;
    for (const tracee of running) {
      while (!this.#stop(tracee, timeoutMs)) {
        if (Date.now() > end) throw vforkTimeout(tracee.pid, timeoutMs);
      }
      tracee.detach();
    }
    this.#threads.clear();
    this.#stops.clear();
  }

  /** Whether a thread runs that was not in the last listing. */
  #hasUnseen(): boolean {
    return treeOf(this.root).some((pid) =>
      runningThreads(pid, pid === this.root).some((tid) => !this.#threads.has(tid) && !isEnding(pid, tid)),
    );
  }

  #task(pid: number): FrozenTask {
    const stat = readStat(pid);
    if (stat.state === "Z") {
      if (hasOtherThreads(pid)) {
        throw new FaultlineError("UNSUPPORTED", "the task's first thread has ended, and others go on", { pid });
      }
      return { pid, stat, state: "zombie", stopSignal: 0, threads: [] };
    }
    const threads: Tracee[] = [];
    for (const tid of threadsOf(pid)) {
      const tracee = this.#threads.get(tid);
      if (tracee !== undefined) threads.push(tracee);
      else if (tid === pid || !isEnding(pid, tid)) {
        throw new FaultlineError("SYSTEM", `thread ${tid} of the task escaped the freeze`, { pid });
      }
    }
    const signal = this.#stops.get(pid) ?? 0;
    const stopped = stopSignals.has(signal);
    return {
      pid,
      stat,
      state: stopped ? "stopped" : "alive",
      stopSignal: stopped ? signal : 0,
      threads,
    };
  }

  /** Detaches from every thread. */
  release(): void {
    for (const tracee of this.#threads.values()) tracee.detach();
  }

  /** Ends every task and waits until the kernel has taken them down. */
  kill(): void {
    for (const { pid, state } of this.#tasks) {
      if (state === "zombie") continue;
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    // A thread group's leader is reported last, when all its threads are gone.
    const all = [...this.#threads.values()];
    for (const tracee of [...all.filter(isThread), ...all.filter((tracee) => !isThread(tracee))]) {
      if (!tracee.attached) continue;
      if (!isThread(tracee) && this.#isOwnChild(tracee.pid)) continue;
      for (;;) {
        const stop = tracee.waitStop();
        if (stop.kind === "exited" || stop.kind === "killed") break;
        tracee.resume();
      }
    }
  }

  /** Then its exit status is for whoever started it in this process, and must not be taken away here. */
  #isOwnChild(pid: number): boolean {
    return this.#tasks.some((task) => task.pid === pid && task.stat.ppid === process.pid);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

function isThread(tracee: Tracee): boolean {
  return tracee.pid !== tracee.tid;
}

/**
 * Some calls answer EINTR to any wake-up, that of our stop too. They are made again, unless a handler is about to run, of
 * which the program may learn by the EINTR.
 */
function undoWakeUp(tracee: Tracee): void {
  const registers = tracee.getRegisters();
  if (classifyInterruption(registers) !== "spurious-eintr") return;
  const status = parseFields(readProc(tracee.pid, `task/${tracee.tid}/status`));
  const pending = statusMask(status, "SigPnd") | statusMask(status, "ShdPnd");
  if ((pending & statusMask(status, "SigCgt") & ~tracee.getSignalMask()) !== 0n) return;
  tracee.setRegisters(undoInterruption(registers, "resume"));
}

/** What `look` gives; nothing where the process ended since it was listed. */
function unlessEnded<T>(isRoot: boolean, look: () => T[]): T[] {
  try {
    return look();
  } catch (error) {
    if (!isRoot && error instanceof FaultlineError && error.code === "NOT_FOUND") return [];
    throw error;
  }
}

/** The threads of a process; none for a zombie. */
function runningThreads(pid: number, isRoot: boolean): number[] {
  return unlessEnded(isRoot, () => (readStat(pid).state === "Z" ? [] : threadsOf(pid)));
}

/** Whether a process has a thread besides its first that has not ended. Throws NOT_FOUND. */
export function hasOtherThreads(pid: number): boolean {
  return threadsOf(pid).some((tid) => tid !== pid && !isEnding(pid, tid));
}

/** Sleeps without serving anything else. */
export function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** The pids of the tree, parents first. Throws NOT_FOUND where the root does not exist. */
export function treeOf(root: number): number[] {
  readStat(root);
  const found = [root];
  for (const pid of found) {
    try {
      found.push(...childrenOf(pid));
    } catch (error) {
      if (pid === root || !(error instanceof FaultlineError && error.code === "NOT_FOUND")) throw error;
    }
  }
  return found;
}

function seizeThread(pid: number, tid: number): Tracee | undefined {
  try {
    const filtered = parseFields(readProc(pid, `task/${tid}/status`)).get("Seccomp") !== "0";
    // The agent's calls must not be judged by the program's own filters.
    return Tracee.seize(pid, tid, filtered ? ptraceOption.suspendSeccomp : 0);
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return undefined; // ended meanwhile
    // The kernel answers EPERM for a thread that is just ending, too.
    if (error instanceof FaultlineError && error.code === "PERMISSION" && isEnding(pid, tid)) return undefined;
    throw error;
  }
}

function isEnding(pid: number, tid: number): boolean {
  try {
    return ["Z", "X"].includes(threadState(pid, tid));
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return true;
    throw error;
  }
}

/** Waits until no thread of the tree is inside vfork. Throws TIMEOUT. */
function awaitVforks(root: number, timeoutMs: number): void {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const waiting = treeOf(root).find((pid) => isForking(pid));
    if (waiting === undefined) return;
    if (Date.now() > end) throw vforkTimeout(waiting, timeoutMs);
    pause(vforkPollMs);
  }
}

function vforkTimeout(pid: number, timeoutMs: number): FaultlineError {
  return new FaultlineError("TIMEOUT", `the task waits for its vfork child for more than ${timeoutMs} ms`, {
    pid,
    advice: "such a task cannot be stopped; try again when the child has ended or started a program",
  });
}

/** Whether a thread of the process waits inside vfork. */
export function isForking(pid: number): boolean {
  try {
    return threadsOf(pid).some((tid) => isInVfork(pid, tid));
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return false;
    throw error;
  }
}

/** Whether a thread sleeps unstoppably in a call that may be a vfork (proc_pid_syscall(5)). */
function isInVfork(pid: number, tid: number): boolean {
  if (threadState(pid, tid) !== "D") return false;
  return forkCalls.has(Number(readProc(pid, `task/${tid}/syscall`).split(" ")[0]));
}
