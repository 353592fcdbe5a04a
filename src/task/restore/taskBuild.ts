// Fills one stub with a task of the image: address space, then descriptors and process state, then threads. The order is
// the one of docs/restore.md; each step says what it must come after. Nothing runs on here; letting go is resume.ts.
import { checked, FaultlineError } from "../../errors";
import type { ImageDirectory } from "../../images/directory";
import { native } from "../../native";
import type { ContextRequest } from "../../pager/requests";
import { LAYOUT_FEATURES, UffdFeature } from "../../uffd/features";
import { KernelUffd } from "../../uffd/kernelUffd";
import { pageSize, prctlOperation, ptraceOption, signals, syscalls } from "../constants";
import type { Tracee } from "../tracee";
import type { AgentHost } from "./agentHost";
import { cloneThread } from "./clone";
import { credentialCalls, usesSeccomp } from "./credentialPlan";
import { closeMasters, placeDescriptors, takeLocks } from "./filePlan";
import { controlTerminals } from "./files/tty";
import { countPages, lazyLayout, pageBytes, writePages } from "./pages";
import { common, processCalls, timerCalls } from "./processPlan";
import { Script } from "./script";
import { clearSpace, lazySpans, makeMappings, type SpacePlan, setFields } from "./spacePlan";
import { pendingProcessSignals, pendingThreadSignals, threadCalls } from "./threadPlan";
import type { TreeBuild } from "./treeBuild";
import { memorySharers, type TaskImage, type TreeImage } from "./treeImage";

const descriptorFlags = 0o2000000 | 0o4000; // O_CLOEXEC | O_NONBLOCK
const mlock = 149;

/** The userfaultfd of one task and what is missing behind it. */
export interface LazyTask {
  readonly task: TaskImage;
  readonly uffd: KernelUffd;
  readonly layout: Required<Pick<ContextRequest, "layout" | "sources">>;
  /** Pages of the task's own memory that the image has for the lazy mappings. */
  readonly missingPages: number;
}

export interface TaskPages {
  /** Pages written before the task runs. */
  eagerPages: number;
}

/** Makes the address space, and writes what must be there from the start. Descriptors 0 to 7 are still free. */
export function buildSpace(
  build: TreeBuild,
  task: TaskImage,
  images: ImageDirectory,
  eager: boolean,
  count: TaskPages,
): LazyTask | undefined {
  const { plan } = build;
  const host = build.host(task.pid);
  const space = plan.spaces.get(task.pid) as SpacePlan;
  const script = new Script();
  clearSpace(script, plan.hole);
  makeMappings(script, space, plan.files);
  host.run(script);
  const index = images.pageIndex(task.pid);
  const own = space.mappings.filter((mapping) => mapping.kind === "private" || mapping.kind === "file-private");
  const wanted = eager ? own : own.filter((mapping) => !mapping.lazy);
  count.eagerPages += writePages(task.pid, index, wanted);
  lockMappings(host, space);
  const uffd = eager || lazySpans(space).length === 0 ? undefined : registerSpans(build, task, images);
  try {
    const fields = new Script();
    setFields(fields, space.mm, plan.files.file(space.mm.exe_file_id));
    host.run(fields);
  } catch (error) {
    uffd?.close();
    throw error;
  }
  if (uffd === undefined) return undefined;
  const missingPages = countPages(
    index,
    own.filter((mapping) => mapping.lazy),
  );
  return { task, uffd, layout: lazyLayout(task.pid, space, images), missingPages };
}

function registerSpans(build: TreeBuild, task: TaskImage, images: ImageDirectory): KernelUffd {
  const { plan } = build;
  const space = plan.spaces.get(task.pid) as SpacePlan;
  const uffd = openUffd(build, task.pid);
  try {
    for (const span of lazySpans(space)) uffd.register(span.start / pageSize, (span.end - span.start) / pageSize);
    prefetchRseq(uffd, task, space, images, plan.tree);
    return uffd;
  } catch (error) {
    uffd.close();
    throw error;
  }
}

function lockMappings(host: AgentHost, space: SpacePlan): void {
  const script = new Script();
  for (const mapping of space.mappings) {
    if (!mapping.locked) continue;
    script.room(1).call(mlock, [mapping.start, mapping.end - mapping.start], { purpose: "locking memory" });
  }
  host.run(script);
}

/** The task opens its userfaultfd, as that binds its address space; we take a copy and it closes its own later. */
function openUffd(build: TreeBuild, pid: number): KernelUffd {
  const script = new Script();
  const batch = script.room(1);
  const call = batch.call(syscalls.userfaultfd, [descriptorFlags], { purpose: "opening a userfaultfd" });
  const host = build.host(pid);
  const [result] = host.run(script);
  const number = result?.value(call) ?? -1;
  const fd = native.pidfdGetfd(build.pidfd(pid), number);
  // At once where another task has the same table: its descriptors may come to lie there first.
  const closing = new Script();
  closing.room(1).call(syscalls.close, [number]);
  if (build.plan.tree.tasks.some((task) => task.sharing.files)) host.run(closing);
  else if (number !== 0) throw new FaultlineError("SYSTEM", `descriptor 0 was taken (got ${number})`, { pid });
  const uffd = KernelUffd.adopt(checked(fd, "pidfd_getfd", "the userfaultfd cannot be taken over", { pid }));
  try {
    uffd.api(LAYOUT_FEATURES | UffdFeature.ThreadId);
  } catch (error) {
    uffd.close();
    throw error;
  }
  return uffd;
}

/** rseq(2) writes to the thread's area, which would wait for a pager that may not serve yet. */
function prefetchRseq(
  uffd: KernelUffd,
  task: TaskImage,
  space: SpacePlan,
  images: ImageDirectory,
  tree: TreeImage,
): void {
  const index = images.pageIndex(task.pid);
  const done = new Set<number>();
  const threads = memorySharers(tree, task).flatMap((sharer) => sharer.threads);
  for (const thread of threads) {
    const rseq = thread.core.thread_core?.rseq_entry;
    if (rseq === undefined || rseq.rseq_abi_pointer === 0n) continue;
    const start = Number(rseq.rseq_abi_pointer);
    const last = start + Math.max(rseq.rseq_abi_size, 1) - 1;
    for (let page = Math.floor(start / pageSize); page <= Math.floor(last / pageSize); page++) {
      const address = page * pageSize;
      const lazy = space.mappings.some((mapping) => mapping.lazy && mapping.start <= address && address < mapping.end);
      if (!lazy || done.has(page)) continue;
      done.add(page);
      const bytes = pageBytes(index, page);
      const outcome = bytes === undefined ? uffd.installZero(page, 1) : uffd.installBytes(page, bytes, 1);
      if (outcome.kind !== "installed" && outcome.kind !== "present") {
        throw new FaultlineError("SYSTEM", `a page cannot be installed: ${outcome.kind}`, { pid: task.pid, address });
      }
    }
  }
}

/** Descriptors, directories, signal actions and threads. After all spaces, as the masters are closed here. */
export function buildProcess(build: TreeBuild, task: TaskImage): void {
  const { plan } = build;
  const host = build.host(task.pid);
  const script = new Script();
  processCalls(script, task, plan.files, plan.tree);
  if (!task.sharing.files) {
    // The userfaultfd, if there is one: tolerated, as an eager task has none.
    script.room(1).call(syscalls.close, [0], { tolerate: true });
    controlTerminals(script, task, plan.tree.ttys.values());
    placeDescriptors(script, plan.files, task, plan.tree);
    closeMasters(script, plan.files);
  }
  takeLocks(script, task, plan.tree);
  const others = task.threads.filter((thread) => thread.tid !== task.pid);
  for (const thread of others) cloneThread(script, thread.tid);
  host.run(script);
  build.threads.set(
    task.pid,
    others.map((thread) => host.adoptStopped(task.pid, thread.tid)),
  );
}

/** Every thread's own state, then what runs from the moment it is set: pending signals and timers. */
export function buildThreads(build: TreeBuild, task: TaskImage): void {
  const host = build.host(task.pid);
  const tracees = [host.tracee, ...(build.threads.get(task.pid) ?? [])];
  const work = task.threads.map((thread, index) => {
    const script = new Script();
    const comm = thread.core.thread_core?.comm ?? common(task).comm;
    threadCalls(script, thread, comm);
    pendingThreadSignals(script, task.pid, thread);
    return { tracee: tracees[index] as Tracee, script };
  });
  host.runThreads(work);
  const last = new Script();
  dropChildSignal(last);
  pendingProcessSignals(last, task.pid, task.core);
  timerCalls(last, task);
  host.run(last);
  dropPrivileges(build, task, tracees);
}

/** Takes the SIGCHLD that the making of zombies and stopped children left pending; it is blocked in every stub. */
export function dropChildSignal(script: Script): void {
  const batch = script.room(1, 64);
  const mask = batch.place(new Uint8Array(new BigUint64Array([1n << BigInt(signals.SIGCHLD - 1)]).buffer));
  batch.call(syscalls.rt_sigtimedwait, [mask, 0, batch.reserve(16), 8], { tolerate: true });
}

/** Ids, capabilities and filters of each thread; nothing that needs a privilege can follow. */
function dropPrivileges(build: TreeBuild, task: TaskImage, tracees: readonly Tracee[]): void {
  const { tree } = build.plan;
  const work = task.threads.map((thread, index) => {
    const tracee = tracees[index] as Tracee;
    if (usesSeccomp(thread)) tracee.setOptions(ptraceOption.exitKill | ptraceOption.suspendSeccomp);
    const script = new Script();
    credentialCalls(script, thread, tree, build.credentials);
    return { tracee, script };
  });
  build.host(task.pid).runThreads(work);
  // The kernel resets it when ids change, so it comes after them (prctl(2)). 2 can only be had by such a change.
  const dumpable = task.mm?.dumpable;
  if (dumpable === undefined || dumpable > 1) return;
  const script = new Script();
  script.room(1).call(syscalls.prctl, [prctlOperation.setDumpable, dumpable, 0, 0, 0]);
  build.host(task.pid).run(script);
}
