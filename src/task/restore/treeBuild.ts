// Creates all processes of a tree as stubs, parents before children, in their sessions and groups. Fills none of them.
// If anything fails, or the caller gives up, end() kills and reaps every process made so far.
import { existsSync, readFileSync } from "node:fs";
import { FaultlineError } from "../../errors";
import { encodeText } from "../../images/text";
import { native } from "../../native";
import { prctlOperation, signals, syscalls } from "../constants";
import { threadsOf } from "../proc";
import { stopTimeoutMs, type Tracee } from "../tracee";
import { AgentHost, spawnHost } from "./agentHost";
import { cloneFlag, cloneProcess } from "./clone";
import type { RestorePlan } from "./plan";
import { common, exitSignal } from "./processPlan";
import { Script } from "./script";
import type { Composition } from "./taskPlan";
import { childrenOf, rootTask, type TaskImage, type TreeImage } from "./treeImage";

/** A task whose session is not its parent's, and whose session's leader is no child of its parent's. */
interface Orphan {
  readonly parent: TaskImage;
  readonly child: TaskImage;
  readonly leader: TaskImage;
}

export class TreeBuild {
  readonly plan: RestorePlan;
  readonly composition: Composition;
  readonly hosts = new Map<number, AgentHost>();
  /** Every thread beside the leaders, by pid. */
  readonly threads = new Map<number, Tracee[]>();
  readonly #pidfds = new Map<number, number>();
  readonly #orphans: Orphan[] = [];

  constructor(composition: Composition) {
    this.plan = composition.plan;
    this.composition = composition;
  }

  get rootPid(): number {
    return rootTask(this.plan.tree).pid;
  }

  host(pid: number): AgentHost {
    const host = this.hosts.get(pid);
    if (host === undefined) throw new RangeError(`no task ${pid} was made`);
    return host;
  }

  /** Makes the root. Its files must be made (plan.files.make) before createChildren() copies it. */
  createRoot(): AgentHost {
    const root = rootTask(this.plan.tree);
    const host = spawnHost(root.pid, root.session === root.pid, this.plan.hole);
    this.#keep(root.pid, host);
    return host;
  }

  /** Makes the children of all tasks, and puts every task into its session and group. */
  createChildren(): void {
    const root = rootTask(this.plan.tree);
    this.#createBelow(root, root.session);
    // Those that wait for the leader of their session, which is made somewhere else; and below them there may be more.
    for (const orphan of this.#orphans) {
      this.#adoptFromAfar(orphan);
      this.#createBelow(orphan.child, orphan.child.session);
    }
    this.#joinGroups();
    for (const task of this.plan.tree.tasks) if (task.dead) this.#endDead(task);
  }

  /** A zombie: it ends as it did, and waits for its parent. */
  #endDead(task: TaskImage): void {
    const script = new Script();
    const name = Buffer.concat([encodeText(common(task).comm).subarray(0, 15), Buffer.from([0])]);
    const batch = script.room(1, 32);
    batch.call(syscalls.prctl, [prctlOperation.setName, batch.place(name), 0, 0, 0]);
    const host = this.host(task.pid);
    host.run(script);
    host.endWith(common(task).exit_code);
    waitForState(task.pid, "Z");
  }

  /** `inherited`: the session in which the task was born. */
  #createBelow(task: TaskImage, inherited: number): void {
    const children = childrenOf(this.plan.tree, task.pid);
    const before = children.filter((child) => child.session === inherited && task.session !== inherited);
    const own = children.filter((child) => child.session === task.session || child.session === child.pid);
    const after = own.filter((child) => !before.includes(child));
    this.#clone(task, before);
    if (task.session === task.pid && inherited !== task.pid) {
      const script = new Script();
      script.room(1).call(syscalls.setsid, [], { purpose: "leading a session" });
      this.host(task.pid).run(script);
    }
    this.#clone(task, after);
    for (const child of before) this.#createBelow(child, inherited);
    for (const child of after) this.#createBelow(child, task.session);
    for (const child of children) {
      if (before.includes(child) || after.includes(child)) continue;
      if (this.#adoptIntoSession(task, child)) this.#createBelow(child, child.session);
    }
  }

  /**
   * A task whose session is not its parent's: an orphan that was given a new parent. It is born to the session's leader
   * as its sibling (CLONE_PARENT); where the leader is dead, one is made for the moment. False where it must wait.
   */
  #adoptIntoSession(parent: TaskImage, child: TaskImage): boolean {
    const leader = this.plan.tree.tasks.find((task) => task.pid === child.session);
    if (leader !== undefined && leader.parent === parent.pid) {
      this.#clone(leader, [child], cloneFlag.parent);
      return true;
    }
    if (leader !== undefined) {
      const shares = Object.values(child.sharing).includes(true);
      if (shares || !isAncestor(this.plan.tree, parent, leader)) {
        throw new FaultlineError(
          "IMAGE_UNSUPPORTED",
          `an orphan of session ${child.session}, which lives on elsewhere`,
          {
            pid: child.pid,
          },
        );
      }
      this.#orphans.push({ parent, child, leader });
      return false;
    }
    const helper: TaskImage = { ...child, pid: child.session, group: child.session, dead: true };
    this.#clone(parent, [helper]);
    const script = new Script();
    script.room(1).call(syscalls.setsid, [], { purpose: "leading a session" });
    this.host(helper.pid).run(script);
    this.#clone(helper, [child], cloneFlag.parent);
    this.#endHelper(helper.pid, parent.pid);
    return true;
  }

  /** As it became an orphan: its parent, a child of the leader's, ends, and the nearest subreaper takes it (prctl(2)). */
  #adoptFromAfar({ parent, child, leader }: Orphan): void {
    const pid = this.#sparePid();
    const helper: TaskImage = { ...child, pid, group: pid, dead: true };
    this.#setSubreaper(parent, 1);
    this.#clone(leader, [helper]);
    this.#clone(helper, [child]);
    this.#endHelper(pid, leader.pid);
    this.#setSubreaper(parent, 0); // what it is in the end is set later
  }

  #setSubreaper(task: TaskImage, is: number): void {
    const script = new Script();
    script.room(1).call(syscalls.prctl, [prctlOperation.setChildSubreaper, is, 0, 0, 0]);
    this.host(task.pid).run(script);
  }

  /** A pid that nobody has, nor any thread of the image; below the highest of these, which is one that there can be. */
  #sparePid(): number {
    const taken = new Set(this.plan.tree.tasks.flatMap((task) => [task.pid, ...task.threads.map(({ tid }) => tid)]));
    let pid = Math.max(...taken);
    while (pid > 1 && (taken.has(pid) || existsSync(`/proc/${pid}`))) pid--;
    return pid;
  }

  /** Ends a process that was only there to lead a session or group, and has its parent reap it. */
  #endHelper(pid: number, parent: number): void {
    this.host(pid).endWith(0);
    waitForState(pid, "Z");
    const script = new Script();
    script.room(1).call(syscalls.wait4, [pid, 0, 0, 0], { purpose: "reaping a helper" });
    this.host(parent).run(script);
    this.hosts.delete(pid);
    const pidfd = this.#pidfds.get(pid);
    if (pidfd !== undefined) native.closeDescriptor(pidfd);
    this.#pidfds.delete(pid);
  }

  #clone(parent: TaskImage, children: readonly TaskImage[], flags = 0): void {
    if (children.length === 0) return;
    const script = new Script();
    for (const child of children) cloneProcess(script, child.pid, exitSignal(child), flags | sharingFlags(child));
    const host = this.host(parent.pid);
    try {
      host.run(script);
    } finally {
      // Also those that were made before a failure, so that end() finds them.
      for (const child of children) {
        const pidfd = native.pidfdOpen(child.pid);
        if (pidfd >= 0) this.#pidfds.set(child.pid, pidfd);
      }
    }
    for (const child of children)
      this.hosts.set(child.pid, new AgentHost(host.adoptStopped(child.pid, child.pid), host.hole));
  }

  #joinGroups(): void {
    const root = rootTask(this.plan.tree);
    // A shell job stays in our group, which is the terminal's foreground group now.
    const isJob = (task: TaskImage): boolean => root.session !== root.pid && task.group === root.group;
    const tasks = this.plan.tree.tasks.filter((task) => task.session !== task.pid && !isJob(task));
    const leaders = tasks.filter((task) => task.group === task.pid);
    const members = tasks.filter((task) => task.group !== task.pid);
    const helpers = new Map<number, number>();
    for (const task of [...leaders, ...members]) {
      const led = this.hosts.has(task.group) || task.group === task.session;
      if (!led) {
        this.#makeGroup(task);
        helpers.set(task.group, task.pid);
      }
      const script = new Script();
      script.room(1).call(syscalls.setpgid, [0, task.group], { purpose: `joining process group ${task.group}` });
      this.host(task.pid).run(script);
    }
    for (const [group, parent] of helpers) this.#endHelper(group, parent);
  }

  /** A process that leads a group whose leader is dead, for the time of joining it. */
  #makeGroup(member: TaskImage): void {
    this.#clone(member, [{ ...member, pid: member.group }]);
    const script = new Script();
    script.room(1).call(syscalls.setpgid, [0, 0], { purpose: `leading process group ${member.group}` });
    this.host(member.group).run(script);
  }

  pidfd(pid: number): number {
    const pidfd = this.#pidfds.get(pid);
    if (pidfd === undefined) throw new FaultlineError("NOT_FOUND", "the task is gone", { pid });
    return pidfd;
  }

  /** Lets the pidfds go; the root's is the caller's to close from now on. */
  release(): number {
    for (const [pid, pidfd] of this.#pidfds) if (pid !== this.rootPid) native.closeDescriptor(pidfd);
    return this.pidfd(this.rootPid);
  }

  /** Kills every process made and waits until they are gone: all of a tree or nothing. */
  end(): void {
    for (const pidfd of this.#pidfds.values()) native.pidfdSignal(pidfd, signals.SIGKILL);
    // Children first, as a traced zombie is reported to its tracer before its parent can reap it.
    for (const pid of [...this.#pidfds.keys()].reverse()) {
      for (const tid of madeThreads(pid)) if (tid !== pid) native.reap(tid, true);
      native.reap(pid, true);
    }
    for (const pidfd of this.#pidfds.values()) native.closeDescriptor(pidfd);
    this.#pidfds.clear();
  }

  #keep(pid: number, host: AgentHost): void {
    this.hosts.set(pid, host);
    this.#pidfds.set(pid, native.pidfdOpen(pid));
  }
}

function isAncestor(tree: TreeImage, task: TaskImage, other: TaskImage): boolean {
  const parent = tree.tasks.find(({ pid }) => pid === other.parent && pid !== other.pid);
  return parent !== undefined && (parent === task || isAncestor(tree, task, parent));
}

/** All threads of a process that is ending: also those that were made by a batch which then failed. */
function madeThreads(pid: number): number[] {
  try {
    return threadsOf(pid);
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return [];
    throw error;
  }
}

/** Waits for a state in /proc/PID/stat, which comes within moments. */
export function waitForState(pid: number, state: string): void {
  const until = performance.now() + stopTimeoutMs;
  while (performance.now() < until) {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    if (text[text.lastIndexOf(")") + 2] === state) return;
  }
  throw new FaultlineError("TIMEOUT", `the task did not get into state ${state}`, { pid });
}

function sharingFlags({ sharing }: TaskImage): number {
  let flags = 0;
  if (sharing.memory) flags |= cloneFlag.vm;
  if (sharing.files) flags |= cloneFlag.files;
  if (sharing.directories) flags |= cloneFlag.fs;
  if (sharing.signalHandlers) flags |= cloneFlag.signalHandlers;
  return flags;
}
