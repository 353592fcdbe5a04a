// The last steps from outside, then the tree runs: limits, registers, masks, and letting every thread go.
import { readFileSync, writeFileSync } from "node:fs";
import { checked, FaultlineError } from "../../errors";
import type { RlimitEntry } from "../../images/messages";
import { native } from "../../native";
import { ptraceOption, signals } from "../constants";
import { Tracee } from "../tracee";
import { setAttributesFromOutside } from "./attributePlan";
import { common, limitsOf } from "./processPlan";
import { Script } from "./script";
import { dropSignal, type ThreadState } from "./taskPlan";
import { threadSignalMask } from "./threadPlan";
import { type TreeBuild, waitForState } from "./treeBuild";
import { childrenOf, type TaskImage, type ThreadImage, type TreeImage, taskState } from "./treeImage";

const eperm = 1;
const allSignals = (1n << 64n) - 1n;
const handlerDefault = 0n;
const digits = Buffer.alloc(32);

/** Limits and the like that the tracer can set by pid: of a task that has other ids than we, it needs CAP_SYS_RESOURCE. */
export function setFromOutside(task: TaskImage): void {
  const { pid } = task;
  setLimits(pid, limitsOf(task));
  setAttributesFromOutside(task);
  const score = common(task).oom_score_adj;
  const file = `/proc/${pid}/oom_score_adj`;
  if (score === undefined) return;
  const length = checked(native.readStart(file, digits), "read", "the oom score cannot be read", { pid });
  if (score !== Number(digits.toString("latin1", 0, length))) writeFileSync(file, String(score));
}

function setLimits(pid: number, limits: readonly RlimitEntry[]): void {
  const errors = new Int32Array(limits.length);
  const numbers = new BigUint64Array(limits.length * 2);
  limits.forEach(({ cur, max }, resource) => {
    numbers[resource * 2] = cur;
    numbers[resource * 2 + 1] = max;
  });
  if (native.prlimitSetAll(pid, numbers, errors) === 0) return;
  limits.forEach(({ cur, max }, resource) => {
    const errno = errors[resource] as number;
    if (errno === eperm && limitIs(pid, resource, cur, max)) return;
    checked(-errno, "prlimit", `limit ${resource} cannot be set`, {
      pid,
      advice: "raising a hard limit needs CAP_SYS_RESOURCE",
    });
  });
}

/** Whether the limit is that already, from the line of /proc/PID/limits, which are in the order of the numbers. */
function limitIs(pid: number, resource: number, soft: bigint, hard: bigint): boolean {
  const line = readFileSync(`/proc/${pid}/limits`, "latin1").split("\n")[resource + 1] ?? "";
  const [softText, hardText] = line.slice(26).trim().split(/\s+/);
  const value = (text: string | undefined): bigint =>
    text === "unlimited" ? 0xffffffffffffffffn : BigInt(text ?? "0");
  return value(softText) === soft && value(hardText) === hard;
}

/** The length of the XSAVE area: the same for every thread of a machine. */
let xstateBytes: number | undefined;

/** Sets what only the tracer can set of a thread: extended state, mask, general registers. */
function setThread(tracee: Tracee, { xstate, signalMask, registers }: ThreadState): void {
  tracee.setXstate(xstate);
  tracee.setSignalMask(signalMask);
  tracee.setRegisters(registers);
}

/** Removes the agent from the task and sets all its threads; after this nothing may be run in it. */
export function finishTask(build: TreeBuild, task: TaskImage): void {
  const host = build.host(task.pid);
  if (hasStoppedChildren(build, task) && !isPending(task, signals.SIGCHLD)) {
    const script = new Script();
    dropSignal(script, signals.SIGCHLD);
    host.run(script);
  }
  // Those that share the memory go before its owner (children first), so that the agent is there as long as one needs it.
  if (!task.sharing.memory) host.unmapAgent();
  const tracees = [host.tracee, ...(build.threads.get(task.pid) ?? [])];
  xstateBytes ??= host.tracee.getXstate().length;
  build.composition.states(task, xstateBytes).forEach((state, index) => {
    const tracee = tracees[index];
    if (tracee === undefined) throw new FaultlineError("NOT_FOUND", "a thread is gone", { pid: task.pid });
    setThread(tracee, state);
  });
}

function hasStoppedChildren(build: TreeBuild, task: TaskImage): boolean {
  return childrenOf(build.plan.tree, task.pid).some(isStopped);
}

function isPending(task: TaskImage, signal: number): boolean {
  const queued = common(task).signals_s?.signals ?? [];
  return queued.some(({ siginfo }) => siginfo.length >= 4 && siginfo.readInt32LE(0) === signal);
}

export function isStopped(task: TaskImage): boolean {
  return !task.dead && common(task).task_state === taskState.stopped;
}

/** Whether everyone in the task's process group has its parent in the same group or in another session (setpgid(2)). */
function isOrphanedGroup(tree: TreeImage, task: TaskImage): boolean {
  return !tree.tasks.some((member) => {
    const parent = tree.tasks.find((other) => other.pid === member.parent);
    return (
      member.group === task.group &&
      parent !== undefined &&
      parent.session === member.session &&
      parent.group !== task.group
    );
  });
}

/**
 * The signal that stops a task as it was stopped; SIGSTOP where the other ones would do something else: run a handler, or
 * nothing, in an orphaned group (signal(7)).
 */
function stopSignalOf(tree: TreeImage, task: TaskImage): number {
  const { stop_signo: signal, sigactions } = common(task);
  const terminal: readonly number[] = [signals.SIGTSTP, signals.SIGTTIN, signals.SIGTTOU];
  if (signal === undefined || !terminal.includes(signal) || isOrphanedGroup(tree, task)) return signals.SIGSTOP;
  // The list has neither SIGKILL nor SIGSTOP, which come before these.
  return sigactions[signal - 3]?.sigaction === handlerDefault ? signal : signals.SIGSTOP;
}

/**
 * Lets a stopped task go into its stop: nothing of it runs, and its parent, not yet let go, sees no new signal. The leader
 * first, as its stop takes the other threads along as soon as they are let go.
 */
export function letStop(build: TreeBuild, task: TaskImage): void {
  const { tracee } = build.host(task.pid);
  const signal = stopSignalOf(build.plan.tree, task);
  const only = allSignals & ~(1n << BigInt(signal - 1));
  const [leader] = task.threads as readonly [ThreadImage];
  const mask = threadSignalMask(leader);
  // What is pending must wait until the task is continued, and would be delivered before the stop.
  const waits = hasPending(task, leader) || (mask & ~only) !== 0n;
  if (waits) tracee.setSignalMask(only);
  tracee.detach(signal);
  waitForState(task.pid, "T");
  for (const thread of build.threads.get(task.pid) ?? []) thread.detach();
  if (waits) setMaskOfStopped(task.pid, mask);
}

function hasPending(task: TaskImage, leader: ThreadImage): boolean {
  const queues = [common(task).signals_s, leader.core.thread_core?.signals_p];
  return queues.some((queue) => (queue?.signals.length ?? 0) > 0);
}

/** A task that is let go of in its stop stays in it (ptrace(2), PTRACE_SEIZE). */
function setMaskOfStopped(pid: number, mask: bigint): void {
  using tracee = Tracee.seize(pid, pid, ptraceOption.exitKill);
  tracee.interrupt();
  tracee.setSignalMask(mask);
}

/** From here on the task runs by itself. */
export function letGo(build: TreeBuild, task: TaskImage): void {
  for (const tracee of build.threads.get(task.pid) ?? []) tracee.detach();
  build.host(task.pid).tracee.detach();
}
