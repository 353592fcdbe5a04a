// What the leader of a process does for the whole process: signal actions, working directory, limits and the like, as
// system calls. Pure. Timers are in timers.ts.
import type { RlimitEntry, TaskCoreEntry } from "../../images/messages";
import { prctlOperation, signals, syscalls } from "../constants";
import type { FilePlan } from "./filePlan";
import type { Script } from "./script";
import type { TaskImage, TreeImage } from "./treeImage";

const actionCount = 62;
const signalCount = 64;
const resourceCount = 16;
/** MEMBARRIER_CMD_REGISTER_*: global, private, private with core sync, private with rseq (linux/membarrier.h). */
const membarrierRegistrations = [1 << 2, 1 << 4, 1 << 6, 1 << 8];

export function common(task: TaskImage): TaskCoreEntry {
  const { tc } = task.core;
  if (tc === undefined) throw new RangeError("the leader's core has a common part");
  return tc;
}

/** The signal that tells the parent of the task's end; 0 for none. */
export function exitSignal(task: TaskImage): number {
  return common(task).exit_signal ?? signals.SIGCHLD;
}

export function processProblems(task: TaskImage, tree: TreeImage): string[] {
  const problems: string[] = [];
  const refuse = (why: string): void => {
    problems.push(`pid ${task.pid}: ${why}`);
  };
  const tc = common(task);
  if (tc.sigactions.length !== actionCount) refuse(`${tc.sigactions.length} signal actions instead of ${actionCount}`);
  if ((tc.rlimits?.rlimits.length ?? 0) > resourceCount) refuse("more limits than there are resources");
  if (exitSignal(task) > signalCount) refuse(`exit signal ${exitSignal(task)}`);
  const ids = tree.inventory.root_ids;
  if (ids !== undefined && task.ids !== undefined) {
    for (const name of ["pid_ns_id", "net_ns_id", "ipc_ns_id", "uts_ns_id", "mnt_ns_id", "user_ns_id"] as const) {
      if (task.ids[name] !== undefined && ids[name] !== undefined && task.ids[name] !== ids[name]) {
        refuse(`a namespace of its own (${name.replace("_ns_id", "")})`);
      }
    }
  }
  return problems;
}

/** Root and working directory, and the mask for new files, by the masters. */
export function directoryCalls(script: Script, task: TaskImage, plan: FilePlan, tree: TreeImage): void {
  if (task.fs === undefined || task.sharing.directories) return;
  const batch = script.room(4, 32);
  if (tree.files.get(task.fs.root_id)?.reg?.name !== "/") {
    batch.call(syscalls.fchdir, [plan.file(task.fs.root_id)], { purpose: "entering the root directory" });
    batch.call(syscalls.chroot, [batch.text(".")]);
  }
  batch.call(syscalls.fchdir, [plan.file(task.fs.cwd_id)], { purpose: "entering the working directory" });
  if (task.fs.umask !== undefined) batch.call(syscalls.umask, [task.fs.umask]);
}

/** Signal actions and what else does not depend on descriptors or privileges. */
export function processCalls(script: Script, task: TaskImage): void {
  const tc = common(task);
  if (!task.sharing.signalHandlers) signalActions(script, tc);
  const batch = script.room(6, 32);
  if (tc.personality !== 0) batch.call(syscalls.personality, [tc.personality]);
  if (tc.child_subreaper === true) batch.call(syscalls.prctl, [prctlOperation.setChildSubreaper, 1, 0, 0, 0]);
  for (const command of membarrierRegistrations) {
    // CRIU's mask has the bits of MEMBARRIER_CMD_GET_REGISTRATIONS, which are the registering commands themselves.
    if (((tc.membarrier_registration_mask ?? 0) & command) === 0) continue;
    script.room(1).call(syscalls.membarrier, [command, 0, 0], { tolerate: true });
  }
}

function signalActions(script: Script, tc: TaskCoreEntry): void {
  let index = 0;
  for (let signal = 1; signal <= signalCount; signal++) {
    if (signal === signals.SIGKILL || signal === signals.SIGSTOP) continue;
    const action = tc.sigactions[index++];
    if (action === undefined) continue;
    const batch = script.room(1, 48);
    const words = new BigUint64Array([action.sigaction, action.flags, action.restorer, action.mask]);
    batch.call(syscalls.rt_sigaction, [signal, batch.place(new Uint8Array(words.buffer)), 0, 8]);
  }
}

/** Limits by resource number, as prlimit(2) takes them. */
export function limitsOf(task: TaskImage): readonly RlimitEntry[] {
  return common(task).rlimits?.rlimits ?? [];
}
