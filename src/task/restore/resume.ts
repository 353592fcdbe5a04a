// The last steps from outside, then the tree runs: limits, registers, masks, and letting every thread go.
import { readFileSync, writeFileSync } from "node:fs";
import { checked, FaultlineError } from "../../errors";
import { native } from "../../native";
import { signals } from "../constants";
import type { Tracee } from "../tracee";
import { common, limitsOf } from "./processPlan";
import { Script } from "./script";
import { dropChildSignal, type ThreadState } from "./taskPlan";
import { type TreeBuild, waitForState } from "./treeBuild";
import { childrenOf, type TaskImage, taskState } from "./treeImage";

const eperm = 1;

/** Limits and the like that the tracer can set by pid. */
export function setFromOutside(task: TaskImage): void {
  const { pid } = task;
  limitsOf(task).forEach((limit, resource) => {
    const done = native.prlimitSet(pid, resource, limit.cur, limit.max);
    if (done === -eperm && limitIs(pid, resource, limit.cur, limit.max)) return;
    checked(done, "prlimit", `limit ${resource} cannot be set`, {
      pid,
      advice: "raising a hard limit needs CAP_SYS_RESOURCE",
    });
  });
  const score = common(task).oom_score_adj;
  const file = `/proc/${pid}/oom_score_adj`;
  if (score !== undefined && score !== Number(readFileSync(file, "latin1"))) writeFileSync(file, String(score));
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
  setFromOutside(task);
  if (hasStoppedChildren(build, task) && !isPending(task, signals.SIGCHLD)) {
    const script = new Script();
    dropChildSignal(script);
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

/** Lets a stopped task go into its stop: nothing of it runs, and its parent, not yet let go, sees no new signal. */
export function letStop(build: TreeBuild, task: TaskImage): void {
  for (const tracee of build.threads.get(task.pid) ?? []) tracee.detach();
  build.host(task.pid).tracee.detach(signals.SIGSTOP);
  waitForState(task.pid, "T");
}

/** From here on the task runs by itself. */
export function letGo(build: TreeBuild, task: TaskImage): void {
  for (const tracee of build.threads.get(task.pid) ?? []) tracee.detach();
  build.host(task.pid).tracee.detach();
}
