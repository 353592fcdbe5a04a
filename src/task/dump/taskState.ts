// The state that only a task itself can tell: asked by one batch of system calls inside it per thread. Raw values out;
// coreImage.ts makes image records of them. The task is left exactly as it was found, whatever happens.
import type { Init } from "../../images/message";
import type { TaskAttributesEntry, ThreadAttributesEntry } from "../../images/messages";
import { Batch, type BatchResult, type Call, type Slot } from "../batch";
import { Bridge } from "../bridge";
import { prctlOperation, signalCount, signals, syscalls } from "../constants";
import { type AgentSpace, AgentThread, chooseStopSignal, closeAgent, openAgent } from "../injector";
import { parseFields, readProc, statusMask } from "../proc";
import { askTaskAttributes, askThreadAttributes } from "./attributes";
import type { FrozenTask } from "./freeze";
import { closest, type Reading, TimerQuestions, type TimerValue, valuesAt } from "./timers";

const leaderBytes = 64 * 1024;
const threadBytes = 32 * 1024;
const sigactionBytes = 32;
const getRobustList = 274;
const membarrierGetRegistrations = 1 << 9;

export interface SignalAction {
  readonly signal: number;
  readonly handler: bigint;
  readonly flags: bigint;
  readonly restorer: bigint;
  readonly mask: bigint;
}

export interface PosixTimer {
  readonly id: number;
  readonly clock: number;
  readonly signal: number;
  /** SIGEV_*, without SIGEV_THREAD_ID's target. */
  readonly notify: number;
  readonly value: bigint;
  /** The thread that is notified, for SIGEV_THREAD_ID. */
  readonly threadId: number | undefined;
  readonly overrun: number;
  readonly time: TimerValue;
}

export interface ThreadState {
  readonly tid: number;
  readonly altStack: { readonly pointer: bigint; readonly size: bigint; readonly flags: number };
  readonly clearTidAddress: bigint;
  readonly robustList: { readonly head: bigint; readonly length: bigint };
  readonly parentDeathSignal: number;
  readonly securebits: number;
  readonly attributes: Init<ThreadAttributesEntry>;
}

export interface TaskState {
  readonly threads: readonly ThreadState[];
  readonly actions: readonly SignalAction[];
  readonly itimers: readonly TimerValue[];
  readonly posixTimers: readonly PosixTimer[];
  readonly brk: bigint;
  readonly dumpable: number;
  readonly thpDisabled: boolean;
  readonly childSubreaper: boolean;
  readonly membarrierRegistrations: number;
  readonly umask: number;
  readonly attributes: Init<TaskAttributesEntry>;
}

interface ThreadQuestions {
  readonly batch: Batch;
  readonly altStack: Slot;
  readonly tidAddress: Slot;
  readonly robustHead: Slot;
  readonly robustLength: Slot;
  readonly deathSignal: Slot;
  readonly securebits: Call;
  readonly attributes: (result: BatchResult) => Init<ThreadAttributesEntry>;
}

function askThread(batch: Batch): ThreadQuestions {
  const altStack = batch.reserve(24);
  batch.call(syscalls.sigaltstack, [0, altStack]);
  const tidAddress = batch.reserve(8);
  batch.call(syscalls.prctl, [prctlOperation.getTidAddress, tidAddress]);
  const robustHead = batch.reserve(8);
  const robustLength = batch.reserve(8);
  batch.call(getRobustList, [0, robustHead, robustLength], { purpose: "get_robust_list" });
  const deathSignal = batch.reserve(4);
  batch.call(syscalls.prctl, [prctlOperation.getPdeathSignal, deathSignal]);
  const securebits = batch.call(syscalls.prctl, [prctlOperation.getSecurebits]);
  const attributes = askThreadAttributes(batch);
  return { batch, altStack, tidAddress, robustHead, robustLength, deathSignal, securebits, attributes };
}

function threadAnswers(tid: number, asked: ThreadQuestions, result: BatchResult): ThreadState {
  const stack = result.data(asked.altStack);
  return {
    tid,
    altStack: {
      pointer: stack.getBigUint64(0, true),
      flags: stack.getUint32(8, true),
      size: stack.getBigUint64(16, true),
    },
    clearTidAddress: result.data(asked.tidAddress).getBigUint64(0, true),
    robustList: {
      head: result.data(asked.robustHead).getBigUint64(0, true),
      length: result.data(asked.robustLength).getBigUint64(0, true),
    },
    parentDeathSignal: result.data(asked.deathSignal).getInt32(0, true),
    securebits: result.value(asked.securebits),
    attributes: asked.attributes(result),
  };
}

/** What timer_create(2) was given. */
export type TimerFacts = Omit<PosixTimer, "overrun" | "time">;

interface TaskQuestions {
  readonly actions: ReadonlyMap<number, Slot>;
  readonly timers: TimerQuestions;
  readonly overruns: readonly Call[];
  readonly brk: Call;
  readonly dumpable: Call;
  readonly thpDisabled: Call;
  readonly subreaper: Slot;
  readonly membarrier: Call;
  readonly attributes: (result: BatchResult) => Init<TaskAttributesEntry>;
}

function askTask(batch: Batch, task: FrozenTask, timers: readonly TimerFacts[]): TaskQuestions {
  const actions = new Map<number, Slot>();
  for (let signal = 1; signal <= signalCount; signal++) {
    if (signal === signals.SIGKILL || signal === signals.SIGSTOP) continue;
    const old = batch.reserve(sigactionBytes);
    batch.call(syscalls.rt_sigaction, [signal, 0, old, 8]);
    actions.set(signal, old);
  }
  const subreaper = batch.reserve(4);
  batch.call(syscalls.prctl, [prctlOperation.getChildSubreaper, subreaper]);
  return {
    actions,
    timers: new TimerQuestions(batch, timers.map(idOf)),
    overruns: timers.map(({ id }) => batch.call(syscalls.timer_getoverrun, [id], { tolerate: true })),
    brk: batch.call(syscalls.brk, [0]),
    dumpable: batch.call(syscalls.prctl, [prctlOperation.getDumpable]),
    thpDisabled: batch.call(syscalls.prctl, [prctlOperation.getThpDisable], { tolerate: true }),
    subreaper,
    membarrier: batch.call(syscalls.membarrier, [membarrierGetRegistrations], { tolerate: true }),
    attributes: askTaskAttributes(batch, task),
  };
}

const idOf = ({ id }: TimerFacts): number => id;

/** The timers again, each group of them as close as it comes. */
function readTimers(
  leader: AgentThread,
  ids: readonly number[],
  first: readonly Reading<readonly TimerValue[]>[],
): readonly Reading<readonly TimerValue[]>[] {
  const again = (): readonly Reading<readonly TimerValue[]>[] => {
    const batch = new Batch();
    const questions = new TimerQuestions(batch, ids);
    return questions.read(leader.run(batch));
  };
  return first.map((reading, group) => closest(() => again()[group] as typeof reading, reading));
}

/** Parses /proc/PID/timers (proc_pid_timers(5)). */
export function parsePosixTimers(text: string): TimerFacts[] {
  const timers: TimerFacts[] = [];
  for (const block of text.split(/^ID: /m).slice(1)) {
    const fields = parseFields(`ID: ${block}`);
    const [signal, value] = (fields.get("signal") ?? "0/0").split("/") as [string, string];
    const [how, target] = (fields.get("notify") ?? "none/pid.0").split("/") as [string, string];
    const [kind, id] = target.split(".") as [string, string];
    const notify = how === "none" ? 1 : how === "thread" ? 2 : 0;
    timers.push({
      id: Number(fields.get("ID")),
      clock: Number(fields.get("ClockID")),
      signal: Number(signal),
      value: BigInt(`0x${value.replace(/^0x/, "").replace(/^\(null\)$/, "0") || "0"}`),
      notify: kind === "tid" ? notify | 4 : notify,
      threadId: kind === "tid" ? Number(id) : undefined,
    });
  }
  return timers;
}

function borrow(task: FrozenTask, index: number): AgentThread {
  const tracee = task.threads[index];
  if (tracee === undefined) throw new Error("no such thread");
  const status = parseFields(readProc(task.pid, `task/${tracee.tid}/status`));
  const mask = (name: string): bigint => statusMask(status, name);
  const pending = mask("SigPnd") | mask("ShdPnd");
  return new AgentThread(tracee, {
    stopSignal: chooseStopSignal(mask("SigCgt"), mask("SigIgn"), pending),
    rescue: true,
  });
}

/** A frozen task with the agent in it, so that its threads can be asked. close() takes it out again. */
export class TaskAgent {
  readonly task: FrozenTask;
  readonly threads: AgentThread[] = [];
  readonly #bridge: Bridge;
  #space: AgentSpace | undefined;

  constructor(task: FrozenTask) {
    this.task = task;
    this.#bridge = Bridge.find(task.pid);
  }

  open(): void {
    const leader = borrow(this.task, 0);
    this.threads.push(leader);
    const count = this.task.threads.length;
    const space = openAgent(leader, this.#bridge, leaderBytes + (count - 1) * threadBytes);
    this.#space = space;
    const part = (offset: number, dataBytes: number): AgentSpace => ({
      ...space,
      data: space.data + offset,
      dataBytes,
    });
    leader.useSpace(part(0, leaderBytes));
    for (let index = 1; index < count; index++) {
      const thread = borrow(this.task, index);
      this.threads.push(thread);
      thread.useSpace(part(leaderBytes + (index - 1) * threadBytes, threadBytes));
    }
  }

  /** Puts every thread back where it was and unmaps the agent. Throws the first failure, after all was tried. */
  close(): void {
    const [leader, ...others] = this.threads.splice(0);
    if (leader === undefined) return;
    const failures: unknown[] = [];
    const attempt = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        failures.push(error);
      }
    };
    for (const thread of others) if (thread.tracee.attached) attempt(() => thread.giveBack());
    attempt(() => closeAgent(leader, this.#bridge, this.#space));
    if (failures.length > 0) throw failures[0];
  }
}

/** Asks a task and all its threads, in parallel. Of its timers it tells what they had left at `frozenNs` (clockNs()). */
export function askState(agent: TaskAgent, frozenNs: bigint): TaskState {
  const { task, threads } = agent;
  const timers = parsePosixTimers(readProc(task.pid, "timers"));
  const status = parseFields(readProc(task.pid, "status"));
  const questions = threads.map(() => askThread(new Batch()));
  const leaderBatch = (questions[0] as ThreadQuestions).batch;
  const asked = askTask(leaderBatch, task, timers);
  threads.forEach((thread, index) => {
    thread.start((questions[index] as ThreadQuestions).batch);
  });
  const results = threads.map((thread) => thread.finish());
  const result = results[0] as BatchResult;
  const readings = readTimers(threads[0] as AgentThread, timers.map(idOf), asked.timers.read(result));
  const clocks = timers.map(({ clock }) => clock);
  const { itimers, posix } = valuesAt(readings, clocks, frozenNs);
  return {
    threads: threads.map((thread, index) =>
      threadAnswers(thread.tracee.tid, questions[index] as ThreadQuestions, results[index] as BatchResult),
    ),
    actions: [...asked.actions].map(([signal, slot]) => {
      const view = result.data(slot);
      return {
        signal,
        handler: view.getBigUint64(0, true),
        flags: view.getBigUint64(8, true),
        restorer: view.getBigUint64(16, true),
        mask: view.getBigUint64(24, true),
      };
    }),
    itimers,
    posixTimers: timers.map((facts, index) => ({
      ...facts,
      overrun: Math.max(0, result.value(asked.overruns[index] as Call)),
      time: posix[index] as TimerValue,
    })),
    brk: result.value64(asked.brk),
    dumpable: result.value(asked.dumpable),
    thpDisabled: result.value(asked.thpDisabled) === 1,
    childSubreaper: result.data(asked.subreaper).getInt32(0, true) !== 0,
    membarrierRegistrations: Math.max(0, result.value(asked.membarrier)),
    umask: Number.parseInt(status.get("Umask") ?? "022", 8),
    attributes: asked.attributes(result),
  };
}
