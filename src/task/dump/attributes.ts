// Attributes of tasks and threads that only Faultline's own fields have a place for (images/attributes.proto): what is asked
// of a thread by its batch, and what /proc tells. What a new process has too is left out.
import type { Init } from "../../images/message";
import type { TaskAttributesEntry, ThreadAttributesEntry } from "../../images/messages";
import type { Batch, BatchResult } from "../batch";
import { ioPriority, memoryErrorPolicyDefault, prctlOperation, schedulingPolicy, syscalls } from "../constants";
import { readProc } from "../proc";
import type { FrozenTask } from "./freeze";

const attributeBytes = 56; // struct sched_attr
const resetOnFork = 1;
const noCounter = 2; // PR_TSC_SIGSEGV
const coredumpFilterDefault = 0x33;

/** Adds the questions; the result is asked for the answers. */
export function askThreadAttributes(batch: Batch): (result: BatchResult) => Init<ThreadAttributesEntry> {
  const slack = batch.call(syscalls.prctl, [prctlOperation.getTimerSlack]);
  const priority = batch.call(syscalls.ioprio_get, [ioPriority.ofProcess, 0], { tolerate: true });
  const memoryErrors = batch.call(syscalls.prctl, [prctlOperation.getMemoryErrorPolicy], { tolerate: true });
  const counter = batch.reserve(4);
  batch.call(syscalls.prctl, [prctlOperation.getTimestampCounter, counter], { tolerate: true });
  const scheduling = batch.reserve(attributeBytes);
  batch.call(syscalls.sched_getattr, [0, scheduling, attributeBytes, 0]);
  return (result) => {
    const view = result.data(scheduling);
    const policy = view.getUint32(4, true);
    const flags = view.getBigUint64(8, true);
    const nice = view.getInt32(16, true);
    const policyOfErrors = result.value(memoryErrors);
    const ioPriorityNow = result.value(priority);
    return {
      timer_slack_ns: result.value64(slack),
      io_priority: ioPriorityNow < 0 || ioPriorityNow === derivedPriority(policy, nice) ? undefined : ioPriorityNow,
      memory_error_policy:
        policyOfErrors < 0 || policyOfErrors === memoryErrorPolicyDefault ? undefined : policyOfErrors,
      no_timestamp_counter: result.data(counter).getInt32(0, true) === noCounter ? true : undefined,
      reset_on_fork: (flags & BigInt(resetOnFork)) === 0n ? undefined : true,
      deadline: policy === schedulingPolicy.deadline ? deadline(view, flags) : undefined,
    };
  };
}

/** What ioprio_get(2) says of a thread that was never given a priority. */
function derivedPriority(policy: number, nice: number): number {
  const { fifo, roundRobin, idle } = schedulingPolicy;
  const isRealtime = policy === fifo || policy === roundRobin;
  const kind = isRealtime ? ioPriority.realtime : policy === idle ? ioPriority.idle : ioPriority.bestEffort;
  return (kind << ioPriority.classShift) | Math.floor((nice + 20) / 5);
}

function deadline(view: DataView, flags: bigint): NonNullable<Init<ThreadAttributesEntry>["deadline"]> {
  const [runtime, end, period] = [24, 32, 40].map((offset) => view.getBigUint64(offset, true)) as [
    bigint,
    bigint,
    bigint,
  ];
  return { runtime, deadline: end, period, flags };
}

/** Adds the questions for what all threads share. */
export function askTaskAttributes(batch: Batch, task: FrozenTask): (result: BatchResult) => Init<TaskAttributesEntry> {
  const denies = batch.call(syscalls.prctl, [prctlOperation.getDenyWriteExecute], { tolerate: true });
  const merges = batch.call(syscalls.prctl, [prctlOperation.getMemoryMerge], { tolerate: true });
  return (result) => {
    const filter = Number.parseInt(readProc(task.pid, "coredump_filter"), 16);
    return {
      coredump_filter: Number.isNaN(filter) || filter === coredumpFilterDefault ? undefined : filter,
      autogroup_nice: task.pid === task.stat.session ? autogroupNice(task.pid) : undefined,
      deny_write_execute: result.value(denies) > 0 ? result.value(denies) : undefined,
      merge_memory: result.value(merges) === 1 ? true : undefined,
    };
  };
}

/** "/autogroup-12 nice 5" (sched(7)). */
function autogroupNice(pid: number): number | undefined {
  let text: string;
  try {
    text = readProc(pid, "autogroup");
  } catch {
    return undefined; // the kernel lacks it (CONFIG_SCHED_AUTOGROUP)
  }
  const nice = Number(/ nice (-?\d+)/.exec(text)?.[1] ?? 0);
  return nice === 0 ? undefined : nice;
}
