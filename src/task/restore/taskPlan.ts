// What is done to one task, composed: its system calls in as few batches as their order allows, the contents that it
// begins with, the registers of its threads. All of it follows from the images and from our own credentials, so that a
// resident process composes it once for a directory that it restores again. Makes nothing and runs nothing.
import type { ImageDirectory } from "../../images/directory";
import type { ContextRequest } from "../../pager/requests";
import type { Call } from "../batch";
import { pageSize, prctlOperation, signals, syscalls } from "../constants";
import type { Registers } from "../registers";
import { composeXstate, xstateLayout } from "../xstate";
import { loginIdCalls, taskAttributeCalls } from "./attributePlan";
import { cloneThread } from "./clone";
import { credentialCalls, type OwnCredentials, usesSeccomp } from "./credentialPlan";
import { closeMasters, placeDescriptors, takeLocks } from "./filePlan";
import { controlTerminals } from "./files/tty";
import type { Range } from "./layout";
import { collectEagerPages, countPages, type EagerPages, lazyLayout, pageBytes } from "./pages";
import type { RestorePlan } from "./plan";
import { common, directoryCalls, exitSignal, processCalls } from "./processPlan";
import { Script } from "./script";
import { clearSpace, lazySpans, makeMappings, setFields } from "./spacePlan";
import {
  pendingProcessSignals,
  pendingThreadSignals,
  threadCalls,
  threadRegisters,
  threadSignalMask,
} from "./threadPlan";
import { timerCalls } from "./timers";
import { childrenOf, memorySharers, type TaskImage, type ThreadImage, type TreeImage } from "./treeImage";

const descriptorFlags = 0o2000000 | 0o4000; // O_CLOEXEC | O_NONBLOCK

export interface SpaceScript {
  readonly script: Script;
  /** The call that opens the userfaultfd: the last one of the last batch; undefined where nothing is lazy. */
  readonly uffd: Call | undefined;
}

/** What a task's memory begins with, and what is left to the pager. */
export interface Contents {
  readonly eager: EagerPages;
  /** Ranges to register, bytes. */
  readonly spans: readonly Range[];
  /** Pages that the kernel itself will touch before the pager serves; undefined bytes are zeros. */
  readonly early: readonly { readonly page: number; readonly bytes: Uint8Array | undefined }[];
  readonly layout: Required<Pick<ContextRequest, "layout" | "sources">> | undefined;
  /** Pages of the task's own memory that the image has for the lazy mappings. */
  readonly missingPages: number;
}

/** What only the tracer can set of a thread. */
export interface ThreadState {
  readonly xstate: Uint8Array;
  readonly signalMask: bigint;
  readonly registers: Registers;
}

export class Composition {
  readonly plan: RestorePlan;
  readonly eager: boolean;
  readonly credentials: OwnCredentials;
  readonly #kept: Map<string, unknown> | undefined;

  /** With `keep`, everything that was composed once is kept for the next restore of the same plan. */
  constructor(plan: RestorePlan, eager: boolean, credentials: OwnCredentials, keep: boolean) {
    this.plan = plan;
    this.eager = eager;
    this.credentials = credentials;
    this.#kept = keep ? new Map() : undefined;
  }

  /**
   * Whether the root's files are made in the same batches as its address space and process: it is the only task, and
   * nobody else has to do anything in between.
   */
  get joined(): boolean {
    const { tree, files, shared, segments } = this.plan;
    const fills = files.fills.length > 0 || (this.eager && shared.length > 0);
    return tree.tasks.length === 1 && !fills && files.foreign.length === 0 && segments.length === 0;
  }

  /** Everything that is mapped, with its final protection, and the userfaultfd. */
  space(task: TaskImage): SpaceScript {
    return this.#once("space", task, () => this.#composeSpace(task));
  }

  #composeSpace(task: TaskImage): SpaceScript {
    const { plan } = this;
    const space = this.#spaceOf(task);
    const script = new Script();
    if (this.joined) {
      script.append(plan.files.objects);
      script.append(plan.files.make);
    }
    loginIdCalls(script, task, this.credentials.loginId);
    clearSpace(script, plan.hole);
    makeMappings(script, space, plan.files, plan.hole);
    if (this.eager || lazySpans(space, plan.hole).length === 0) return { script, uffd: undefined };
    const uffd = script.room(1).call(syscalls.userfaultfd, [descriptorFlags], { purpose: "opening a userfaultfd" });
    return { script, uffd };
  }

  /** Fields of the address space and directories, where they must be set before any task has its descriptors. */
  earlyFields(task: TaskImage): Script {
    const script = new Script();
    if (this.#sharesFiles) this.#byMasters(script, task);
    return script;
  }

  /** Tasks with one table of descriptors: the first that places its own closes what the others would still need. */
  get #sharesFiles(): boolean {
    return this.plan.tree.tasks.some((task) => task.sharing.files);
  }

  /** What needs files that only the masters are. */
  #byMasters(script: Script, task: TaskImage): void {
    directoryCalls(script, task, this.plan.files, this.plan.tree);
    if (task.mm !== undefined) setFields(script, task.mm, this.plan.files.file(task.mm.exe_file_id));
  }

  /** Fields of the address space, descriptors, directories, actions, threads, then the leader's own state and timers. */
  process(task: TaskImage): Script {
    return this.#once("process", task, () => this.#composeProcess(task));
  }

  #composeProcess(task: TaskImage): Script {
    const { tree, files } = this.plan;
    const script = new Script();
    if (!this.#sharesFiles) this.#byMasters(script, task);
    if (this.joined) script.append(files.late);
    processCalls(script, task);
    if (!task.sharing.files) {
      // The userfaultfd, if there is one: tolerated, as an eager task has none.
      script.room(1).call(syscalls.close, [0], { tolerate: true });
      controlTerminals(script, task, tree.ttys.values());
      placeDescriptors(script, files, task, tree);
      closeMasters(script, files);
    }
    takeLocks(script, task, tree);
    for (const thread of otherThreads(task)) cloneThread(script, thread.tid);
    this.#leaderCalls(script, task);
    return script;
  }

  /** The leader's state as a thread, pending signals, and timers, which are set when all tasks are there (startTimers). */
  #leaderCalls(script: Script, task: TaskImage): void {
    const [leader] = task.threads as readonly [ThreadImage];
    threadCalls(script, leader, leader.core.thread_core?.comm ?? common(task).comm);
    pendingThreadSignals(script, task.pid, leader);
    dropChildSignals(script, this.plan.tree, task);
    pendingProcessSignals(script, task.pid, task.core);
    timerCalls(script, task);
    taskAttributeCalls(script, task);
    if (!this.dropsPrivileges(task)) dumpableCall(script, task);
  }

  /** Each further thread's own state. */
  threads(task: TaskImage): readonly Script[] {
    return this.#once("threads", task, () =>
      otherThreads(task).map((thread) => {
        const script = new Script();
        threadCalls(script, thread, thread.core.thread_core?.comm ?? common(task).comm);
        pendingThreadSignals(script, task.pid, thread);
        return script;
      }),
    );
  }

  /** Ids, capabilities and filters of each thread; nothing that needs a privilege can follow. */
  privileges(task: TaskImage): readonly Script[] {
    return this.#once("privileges", task, () =>
      task.threads.map((thread) => {
        const script = new Script();
        credentialCalls(script, thread, this.plan.tree, this.credentials);
        return script;
      }),
    );
  }

  dropsPrivileges(task: TaskImage): boolean {
    return task.threads.some(usesSeccomp) || this.privileges(task).some((script) => script.callCount > 0);
  }

  /** After all privileges are dropped, as the kernel resets it when ids change (prctl(2)). */
  dumpable(task: TaskImage): Script {
    const script = new Script();
    dumpableCall(script, task);
    return script;
  }

  contents(task: TaskImage, images: ImageDirectory): Contents {
    return this.#once("contents", task, () => this.#composeContents(task, images));
  }

  #composeContents(task: TaskImage, images: ImageDirectory): Contents {
    const space = this.#spaceOf(task);
    const index = images.pageIndex(task.pid);
    const own = space.mappings.filter((mapping) => mapping.kind === "private" || mapping.kind === "file-private");
    const eager = collectEagerPages(index, this.eager ? own : own.filter((mapping) => !mapping.lazy));
    const spans = this.eager ? [] : lazySpans(space, this.plan.hole);
    if (spans.length === 0) return { eager, spans, early: [], layout: undefined, missingPages: 0 };
    const missingPages = countPages(
      index,
      own.filter((mapping) => mapping.lazy),
    );
    return {
      eager,
      spans,
      early: this.#early(task, images),
      layout: lazyLayout(task.pid, space, images),
      missingPages,
    };
  }

  /** rseq(2) writes to the thread's area, which would wait for a pager that may not serve yet. */
  #early(task: TaskImage, images: ImageDirectory): { page: number; bytes: Uint8Array | undefined }[] {
    const { mappings } = this.#spaceOf(task);
    const pages = new Map<number, Uint8Array | undefined>();
    for (const thread of memorySharers(this.plan.tree, task).flatMap((sharer) => sharer.threads)) {
      const rseq = thread.core.thread_core?.rseq_entry;
      if (rseq === undefined || rseq.rseq_abi_pointer === 0n) continue;
      const start = Number(rseq.rseq_abi_pointer);
      const last = start + Math.max(rseq.rseq_abi_size, 1) - 1;
      for (let page = Math.floor(start / pageSize); page <= Math.floor(last / pageSize); page++) {
        const address = page * pageSize;
        const lazy = mappings.some((mapping) => mapping.lazy && mapping.start <= address && address < mapping.end);
        if (lazy && !pages.has(page)) pages.set(page, pageBytes(images.pageIndex(task.pid), page));
      }
    }
    return [...pages].map(([page, bytes]) => ({ page, bytes }));
  }

  /** By thread, the leader first. `xstateBytes`: the length of the XSAVE area that the kernel takes. */
  states(task: TaskImage, xstateBytes: number): readonly ThreadState[] {
    return this.#once("states", task, () =>
      task.threads.map((thread) => {
        const info = thread.core.thread_info;
        if (info === undefined) throw new RangeError("a live thread has registers");
        const xstate = composeXstate(info.fpregs, xstateLayout(), xstateBytes);
        return { xstate, signalMask: threadSignalMask(thread), registers: threadRegisters(info.gpregs) };
      }),
    );
  }

  #spaceOf(task: TaskImage) {
    const space = this.plan.spaces.get(task.pid);
    if (space === undefined) throw new RangeError(`task ${task.pid} has no address space of its own`);
    return space;
  }

  #once<T>(what: string, task: TaskImage, make: () => T): T {
    if (this.#kept === undefined) return make();
    const key = `${what} ${task.pid}`;
    const known = this.#kept.get(key) as T | undefined;
    if (known !== undefined) return known;
    const made = make();
    this.#kept.set(key, made);
    return made;
  }
}

function otherThreads(task: TaskImage): readonly ThreadImage[] {
  return task.threads.filter((thread) => thread.tid !== task.pid);
}

/** 2 can only be had by a change of ids. */
function dumpableCall(script: Script, task: TaskImage): void {
  const dumpable = task.mm?.dumpable;
  if (dumpable === undefined || dumpable > 1) return;
  script.room(1).call(syscalls.prctl, [prctlOperation.setDumpable, dumpable, 0, 0, 0]);
}

/** Takes the signals that the making of zombies and stopped children left pending; all are blocked in every stub. */
function dropChildSignals(script: Script, tree: TreeImage, task: TaskImage): void {
  dropSignal(script, signals.SIGCHLD);
  for (const child of childrenOf(tree, task.pid)) {
    const signal = exitSignal(child);
    if (child.dead && signal !== signals.SIGCHLD && signal !== 0) dropSignal(script, signal);
  }
}

/** Takes one such signal, if it is pending. */
export function dropSignal(script: Script, signal: number): void {
  const batch = script.room(1, 64);
  const mask = batch.place(new Uint8Array(new BigUint64Array([1n << BigInt(signal - 1)]).buffer));
  batch.call(syscalls.rt_sigtimedwait, [mask, 0, batch.reserve(16), 8], { tolerate: true });
}
