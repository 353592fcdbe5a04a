// Fills one stub with a task of the image: address space, then descriptors and process state, then threads. The order is
// the one of docs/restore.md; what is run is composed in taskPlan.ts. Nothing runs on here; letting go is resume.ts.
import { checked, FaultlineError } from "../../errors";
import type { ImageDirectory } from "../../images/directory";
import { native } from "../../native";
import type { ContextRequest } from "../../pager/requests";
import { LAYOUT_FEATURES, UffdFeature } from "../../uffd/features";
import { KernelUffd } from "../../uffd/kernelUffd";
import { pageSize, ptraceOption, syscalls } from "../constants";
import type { Tracee } from "../tracee";
import type { AgentHost } from "./agentHost";
import { makeRings } from "./aioRings";
import { usesSeccomp } from "./credentialPlan";
import { writePages } from "./pages";
import { setFromOutside } from "./resume";
import { Script } from "./script";
import type { SpacePlan } from "./spacePlan";
import type { Contents } from "./taskPlan";
import type { TreeBuild } from "./treeBuild";
import type { TaskImage } from "./treeImage";

const mlock2 = 325;
const lockOnFault = 1;

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
  count: TaskPages,
): LazyTask | undefined {
  const lazy = buildMappings(build, task, images, count);
  const rings = build.plan.spaces.get(task.pid)?.rings ?? [];
  if (rings.length > 0) makeRings(build.host(task.pid), rings, images.pageIndex(task.pid));
  build.host(task.pid).run(build.composition.earlyFields(task));
  return lazy;
}

function buildMappings(
  build: TreeBuild,
  task: TaskImage,
  images: ImageDirectory,
  count: TaskPages,
): LazyTask | undefined {
  const { composition, plan } = build;
  const host = build.host(task.pid);
  const { script, uffd: call } = composition.space(task);
  const opened = host.run(script).at(-1);
  const contents = composition.contents(task, images);
  count.eagerPages += writePages(task.pid, () => images.pageIndex(task.pid), contents.eager);
  lockMappings(host, plan.spaces.get(task.pid) as SpacePlan);
  const { layout, missingPages } = contents;
  if (call === undefined || layout === undefined) return undefined;
  const uffd = takeUffd(build, task.pid, opened?.value(call) ?? -1);
  try {
    for (const span of contents.spans) uffd.register(span.start / pageSize, (span.end - span.start) / pageSize);
    installEarly(uffd, task.pid, contents);
  } catch (error) {
    uffd.close();
    throw error;
  }
  return { task, uffd, layout, missingPages };
}

/** What must follow the contents: locks, which bring pages, and seals, after which nothing can be changed. */
function lockMappings(host: AgentHost, space: SpacePlan): void {
  const script = new Script();
  for (const mapping of space.mappings) {
    const length = mapping.end - mapping.start;
    const { lock_on_fault: onFault, sealed } = mapping.vma;
    const batch = script.room(2);
    if (mapping.locked) {
      batch.call(mlock2, [mapping.start, length, onFault === true ? lockOnFault : 0], { purpose: "locking memory" });
    }
    if (sealed === true) batch.call(syscalls.mseal, [mapping.start, length, 0], { purpose: "sealing memory" });
  }
  host.run(script);
}

/** The task opened its userfaultfd, as that binds its address space; we take a copy and it closes its own later. */
function takeUffd(build: TreeBuild, pid: number, number: number): KernelUffd {
  const fd = native.pidfdGetfd(build.pidfd(pid), number);
  // At once where another task has the same table: its descriptors may come to lie there first.
  const closing = new Script();
  closing.room(1).call(syscalls.close, [number]);
  if (build.plan.tree.tasks.some((task) => task.sharing.files)) build.host(pid).run(closing);
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

function installEarly(uffd: KernelUffd, pid: number, { early }: Contents): void {
  for (const { page, bytes } of early) {
    const outcome = bytes === undefined ? uffd.installZero(page, 1) : uffd.installBytes(page, bytes, 1);
    if (outcome.kind !== "installed" && outcome.kind !== "present") {
      throw new FaultlineError("SYSTEM", `a page cannot be installed: ${outcome.kind}`, {
        pid,
        address: page * pageSize,
      });
    }
  }
}

/** Descriptors, directories, signal actions and threads. After all spaces, as the masters are closed here. */
export function buildProcess(build: TreeBuild, task: TaskImage): void {
  const host = build.host(task.pid);
  host.run(build.composition.process(task));
  const others = task.threads.filter((thread) => thread.tid !== task.pid);
  build.threads.set(
    task.pid,
    others.map((thread) => host.adoptStopped(task.pid, thread.tid)),
  );
}

/** Every further thread's own state, the limits of the task, then the privileges of all. */
export function buildThreads(build: TreeBuild, task: TaskImage): void {
  const { composition } = build;
  const host = build.host(task.pid);
  const others = build.threads.get(task.pid) ?? [];
  const scripts = composition.threads(task);
  host.runThreads(others.map((tracee, index) => ({ tracee, script: scripts[index] as Script })));
  setFromOutside(task);
  if (!composition.dropsPrivileges(task)) return;
  const privileges = composition.privileges(task);
  const work = [host.tracee, ...others].map((tracee: Tracee, index) => ({
    tracee,
    script: privileges[index] as Script,
  }));
  task.threads.forEach((thread, index) => {
    if (usesSeccomp(thread)) work[index]?.tracee.setOptions(ptraceOption.exitKill | ptraceOption.suspendSeccomp);
  });
  host.runThreads(work);
  host.run(composition.dumpable(task));
}
