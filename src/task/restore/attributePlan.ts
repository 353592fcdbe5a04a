// Attributes that only Faultline's own fields hold (images/attributes.proto), as system calls of the thread or task, and what
// the tracer writes to /proc. Pure but for the latter.
import { writeFileSync } from "node:fs";
import type { ThreadAttributesEntry } from "../../images/messages";
import { native } from "../../native";
import type { Batch } from "../batch";
import { ioPriority, prctlOperation, schedulingPolicy, syscalls } from "../constants";
import { common } from "./processPlan";
import type { Script } from "./script";
import type { TaskImage } from "./treeImage";

const setForThread = 1; // PR_MCE_KILL_SET
const noCounter = 2; // PR_TSC_SIGSEGV
const attributeBytes = 56; // struct sched_attr
const writeOnly = 1;

/** Scheduling excepted, which comes last: credentialPlan.ts. */
export function threadAttributeCalls(script: Script, own: ThreadAttributesEntry | undefined): void {
  if (own === undefined) return;
  const batch = script.room(4);
  if (own.timer_slack_ns !== undefined && own.timer_slack_ns > 0n) {
    batch.call(syscalls.prctl, [prctlOperation.setTimerSlack, own.timer_slack_ns, 0, 0, 0]);
  }
  if (own.io_priority !== undefined) {
    batch.call(syscalls.ioprio_set, [ioPriority.ofProcess, 0, own.io_priority], {
      purpose: `I/O priority ${own.io_priority}`,
    });
  }
  if (own.memory_error_policy !== undefined) {
    batch.call(syscalls.prctl, [prctlOperation.setMemoryErrorPolicy, setForThread, own.memory_error_policy, 0, 0]);
  }
  if (own.no_timestamp_counter === true) {
    batch.call(syscalls.prctl, [prctlOperation.setTimestampCounter, noCounter, 0, 0, 0]);
  }
}

/** SCHED_DEADLINE, which sched_setscheduler(2) cannot set. */
export function deadlineCall(batch: Batch, own: NonNullable<ThreadAttributesEntry["deadline"]>): void {
  const view = new DataView(new ArrayBuffer(attributeBytes));
  view.setUint32(0, attributeBytes, true);
  view.setUint32(4, schedulingPolicy.deadline, true);
  view.setBigUint64(8, own.flags, true);
  view.setBigUint64(24, own.runtime, true);
  view.setBigUint64(32, own.deadline, true);
  view.setBigUint64(40, own.period, true);
  batch.call(syscalls.sched_setattr, [0, batch.place(new Uint8Array(view.buffer)), 0], {
    purpose: "scheduling by deadlines",
  });
}

/** After everything is mapped: from then on nothing writable can be made executable. */
export function taskAttributeCalls(script: Script, task: TaskImage): void {
  const { attributes } = common(task);
  if (attributes === undefined || task.sharing.memory) return;
  const batch = script.room(2);
  if (attributes.merge_memory === true) batch.call(syscalls.prctl, [prctlOperation.setMemoryMerge, 1, 0, 0, 0]);
  if (attributes.deny_write_execute !== undefined) {
    batch.call(syscalls.prctl, [prctlOperation.setDenyWriteExecute, attributes.deny_write_execute, 0, 0, 0], {
      purpose: "refusing writable and executable memory",
    });
  }
}

/**
 * The login id (audit), which a task can set for itself only; descriptor 0 must be free. Tolerated: it takes
 * CAP_AUDIT_CONTROL where one is set already, and nothing in the program depends on it.
 */
export function loginIdCalls(script: Script, task: TaskImage, ours: number | undefined): void {
  const { loginuid } = common(task);
  if (loginuid === undefined || ours === undefined || loginuid === ours) return;
  const text = String(loginuid);
  const batch = script.room(3, 96);
  batch.call(syscalls.openat, [-100, batch.text("/proc/self/loginuid"), writeOnly], { purpose: "the login id" });
  batch.call(syscalls.write, [0, batch.text(text), text.length], { tolerate: true });
  batch.call(syscalls.close, [0]);
}

const digits = Buffer.alloc(32);

/** Our own login id; undefined where the kernel has none (CONFIG_AUDIT). */
export function ownLoginId(): number | undefined {
  const length = native.readStart("/proc/self/loginuid", digits);
  return length < 0 ? undefined : Number(digits.toString("latin1", 0, length));
}

/** What the tracer can write of a task. */
export function setAttributesFromOutside(task: TaskImage): void {
  const { attributes } = common(task);
  if (attributes?.coredump_filter !== undefined) {
    writeFileSync(`/proc/${task.pid}/coredump_filter`, `0x${attributes.coredump_filter.toString(16)}`);
  }
  if (attributes?.autogroup_nice !== undefined && task.session === task.pid) {
    writeFileSync(`/proc/${task.pid}/autogroup`, String(attributes.autogroup_nice));
  }
}
