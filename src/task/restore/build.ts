// Brings a planned tree up to the point where only letting go is left. Synchronous, as ptrace ties all of it to one
// thread; on any failure everything made so far is ended before the error goes on.
import { readFileSync } from "node:fs";
import { checked } from "../../errors";
import type { ImageDirectory } from "../../images/directory";
import { native } from "../../native";
import { writeObject } from "./pages";
import type { RestorePlan } from "./plan";
import { finishTask, letGo } from "./resume";
import { buildProcess, buildSpace, buildThreads, type LazyTask, type TaskPages } from "./taskBuild";
import { TreeBuild } from "./treeBuild";

const openFilesLimit = 7;

export class Build {
  readonly tree: TreeBuild;
  readonly images: ImageDirectory;
  readonly eager: boolean;
  readonly pages: TaskPages = { eagerPages: 0 };
  readonly lazyTasks: LazyTask[] = [];
  /** The userfaultfds are the pager's: it closes them. */
  handedOver = false;

  constructor(plan: RestorePlan, images: ImageDirectory, eager: boolean) {
    this.tree = new TreeBuild(plan);
    this.images = images;
    this.eager = eager;
  }

  /** Pages that the image has for the lazy ranges: what the pager will install. */
  get missingPages(): number {
    return this.lazyTasks.reduce((sum, lazy) => sum + lazy.missingPages, 0);
  }

  /** Processes, open files and address spaces. Faults can come from now on: the pager may begin to serve. */
  begin(): void {
    const { plan } = this.tree;
    const root = this.tree.createRoot();
    this.#raiseFileLimit(root.pid);
    root.run(plan.files.make);
    this.#fillShared();
    this.tree.createChildren();
    for (const task of plan.tree.tasks) {
      if (task.dead) continue;
      const lazy = buildSpace(this.tree, task, this.images, this.eager, this.pages);
      if (lazy !== undefined) this.lazyTasks.push(lazy);
    }
  }

  /** Descriptors, threads, timers and registers. */
  complete(): void {
    const live = this.tree.plan.tree.tasks.filter((task) => !task.dead);
    for (const task of live)
      buildProcess(
        this.tree,
        task,
        this.lazyTasks.some((lazy) => lazy.task === task),
      );
    for (const task of live) buildThreads(this.tree, task);
    for (const task of live) finishTask(this.tree, task);
  }

  /** Lets the whole tree run; children first, as a parent may look for them. Returns the root's pidfd. */
  letGo(): number {
    for (const task of [...this.tree.plan.tree.tasks].reverse()) if (!task.dead) letGo(this.tree, task);
    return this.tree.release();
  }

  /** Ends every process made so far. The userfaultfds that nobody took over are closed after that. */
  end(): void {
    this.tree.end();
    if (!this.handedOver) for (const lazy of this.lazyTasks) lazy.uffd.close();
  }

  #raiseFileLimit(pid: number): void {
    const line = readFileSync("/proc/self/limits", "latin1").split("\n")[openFilesLimit + 1] ?? "";
    const hard = BigInt(line.slice(26).trim().split(/\s+/)[1] ?? 1024);
    checked(native.prlimitSet(pid, openFilesLimit, hard, hard), "prlimit", "the limit on open files cannot be set", {
      pid,
    });
  }

  #fillShared(): void {
    const { plan, rootPid } = this.tree;
    for (const object of plan.shared) {
      if (!(this.eager || object.eager) || !this.images.hasShmemPages(object.id)) continue;
      const fd = native.pidfdGetfd(this.tree.pidfd(rootPid), plan.files.shared(object.id));
      checked(fd, "pidfd_getfd", "shared memory cannot be reached", { pid: rootPid });
      try {
        this.pages.eagerPages += writeObject(fd, this.images.shmemPageIndex(object.id), object.bytes, rootPid);
      } finally {
        native.closeDescriptor(fd);
      }
    }
  }
}
