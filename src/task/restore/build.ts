// Brings a planned tree up to the point where only letting go is left. Synchronous, as ptrace ties all of it to one
// thread; on any failure everything made so far is ended before the error goes on.
import { closeSync, openSync, rmSync } from "node:fs";
import { checked } from "../../errors";
import type { ImageDirectory } from "../../images/directory";
import { native } from "../../native";
import { mapFlag, protection, syscalls } from "../constants";
import type { Fill } from "./filePlan";
import { segmentKey, sharedKey } from "./files/context";
import type { HandedFile } from "./files/process";
import type { ForeignFile } from "./files/tty";
import { writeGhost, writeObject } from "./pages";
import { readAway } from "./quiet";
import { finishTask, isStopped, letGo, letStop } from "./resume";
import { Script } from "./script";
import { SegmentMaker } from "./segments";
import { workbench } from "./sharedMemory";
import { buildProcess, buildSpace, buildThreads, type LazyTask, type TaskPages } from "./taskBuild";
import type { Composition } from "./taskPlan";
import { startTimers } from "./timers";
import { TreeBuild } from "./treeBuild";

const openFilesLimit = 7;
const closeOnExec = 0o2000000;
const setDescriptorFlags = 2; // F_SETFD

export class Build {
  readonly tree: TreeBuild;
  readonly images: ImageDirectory;
  readonly eager: boolean;
  readonly pages: TaskPages = { eagerPages: 0 };
  readonly lazyTasks: LazyTask[] = [];
  /** The userfaultfds are the pager's: it closes them. */
  handedOver = false;
  readonly #segments: SegmentMaker;

  constructor(composition: Composition, images: ImageDirectory) {
    this.tree = new TreeBuild(composition);
    this.#segments = new SegmentMaker(composition.plan.segments);
    this.images = images;
    this.eager = composition.eager;
  }

  /** Pages that the image has for the lazy ranges: what the pager will install. */
  get missingPages(): number {
    return this.lazyTasks.reduce((sum, lazy) => sum + lazy.missingPages, 0);
  }

  /** Processes, open files and address spaces. Faults can come from now on: the pager may begin to serve. */
  begin(): void {
    const { plan, composition } = this.tree;
    const root = this.tree.createRoot();
    this.#raiseFileLimit(root.pid);
    if (!composition.joined) {
      root.run(plan.files.objects);
      this.#segments.make(root, plan.files.masters);
      this.#fill();
      for (const file of plan.files.foreign) this.#hand(file);
      root.run(plan.files.make);
    }
    this.tree.createChildren();
    for (const task of plan.tree.tasks) {
      if (task.dead || task.mm === undefined) continue;
      const lazy = buildSpace(this.tree, task, this.images, this.pages);
      if (lazy !== undefined) this.lazyTasks.push(lazy);
    }
    if (!composition.joined) root.run(plan.files.late);
    this.#segments.finish();
  }

  /** Descriptors, threads, timers and registers. */
  complete(): void {
    const live = this.tree.plan.tree.tasks.filter((task) => !task.dead);
    for (const task of live) buildProcess(this.tree, task);
    for (const file of this.tree.plan.files.handed) this.#handToAll(file);
    readAway(this.tree.plan.tree, (pid) => this.tree.pidfd(pid));
    // While all privileges are there: an alarm timer's time needs one.
    startTimers(this.tree.plan.tree, (pid) => this.tree.host(pid));
    for (const task of live) buildThreads(this.tree, task);
    // Children first: those that are stopped must be so before their parent takes back the signal of it.
    for (const task of [...live].reverse()) {
      finishTask(this.tree, task);
      if (isStopped(task)) letStop(this.tree, task);
    }
  }

  /** Lets the whole tree run; children first, as a parent may look for them. Returns the root's pidfd. */
  letGo(): number {
    for (const task of [...this.tree.plan.tree.tasks].reverse()) {
      if (!task.dead && !isStopped(task)) letGo(this.tree, task);
    }
    for (const name of this.tree.plan.files.givenNames) rmSync(name, { force: true });
    return this.tree.release();
  }

  /** Ends every process made so far. The userfaultfds that nobody took over are closed after that. */
  end(): void {
    this.tree.end();
    this.#segments.undo();
    if (!this.handedOver) for (const lazy of this.lazyTasks) lazy.uffd.close();
  }

  #raiseFileLimit(pid: number): void {
    const hard = native.hardLimit(openFilesLimit);
    checked(native.prlimitSet(pid, openFilesLimit, hard, hard), "prlimit", "the limit on open files cannot be set", {
      pid,
    });
  }

  /** Opens a file here, now that every task of the tree is there to be spoken of, and gives it to those that have it. */
  #handToAll(file: HandedFile): void {
    const ours = file.open();
    try {
      for (const task of this.tree.plan.tree.tasks) {
        if (task.dead || task.sharing.files) continue;
        for (const { id, fd, flags } of task.descriptors) if (id === file.id) this.#give(task.pid, ours, fd, flags);
      }
    } finally {
      closeSync(ours);
    }
  }

  /** Puts a copy of our descriptor `ours` at `number` of a task, whose lowest free numbers serve for the moment. */
  #give(pid: number, ours: number, number: number, flags: number): void {
    const host = this.tree.host(pid);
    const call = (name: number, args: readonly number[], purpose: string): number => {
      const script = new Script();
      const made = script.room(1).call(name, args, { purpose });
      return host.run(script)[0]?.value(made) ?? -1;
    };
    const us = call(syscalls.pidfd_open, [process.pid, 0], "finding the restorer");
    const got = call(syscalls.pidfd_getfd, [us, ours, 0], "taking over a file");
    if (us !== number) call(syscalls.close, [us], "closing a pidfd");
    if (got !== number) {
      call(syscalls.dup3, [got, number, (flags & 1) !== 0 ? closeOnExec : 0], `placing descriptor ${number}`);
      call(syscalls.close, [got], "closing a copy");
    } else if ((flags & 1) === 0) {
      call(syscalls.fcntl, [got, setDescriptorFlags, 0], `placing descriptor ${number}`);
    }
  }

  /** Opens a file here and lets the root's stub take it over (pidfd_getfd(2)). */
  #hand(file: ForeignFile): void {
    const { plan, rootPid } = this.tree;
    const ours = file.open();
    try {
      const script = new Script();
      const batch = script.room(5);
      batch.call(syscalls.pidfd_open, [process.pid, 0]);
      batch.call(syscalls.pidfd_getfd, [0, ours, 0], { purpose: "taking over a file" });
      batch.call(syscalls.dup3, [1, plan.files.masters.of(file.key), closeOnExec]);
      batch.call(syscalls.close, [1]);
      batch.call(syscalls.close, [0]);
      this.tree.host(rootPid).run(script);
    } finally {
      closeSync(ours);
    }
  }

  /** Contents of objects that are made once for the whole tree, written through the root's descriptors. */
  #fill(): void {
    const { plan, rootPid } = this.tree;
    for (const fill of this.#fills()) {
      if (fill.kind === "memory" && !this.images.hasShmemPages(fill.shmid)) continue;
      const fd = native.pidfdGetfd(this.tree.pidfd(rootPid), plan.files.masters.of(fill.key));
      checked(fd, "pidfd_getfd", "a file of the tree cannot be reached", { pid: rootPid });
      try {
        if (fill.kind === "ghost") writeGhost(fd, fill.ghost);
        else if (fill.huge === true) this.#fillHuge(fill);
        else {
          const index = this.images.shmemPageIndex(fill.shmid);
          this.pages.eagerPages += writeObject(fd, index, fill.bytes, rootPid);
        }
      } finally {
        native.closeDescriptor(fd);
      }
    }
  }

  /** A file of huge pages cannot be written, only mapped: by the root's stub, for the moment. */
  #fillHuge({ key, shmid, bytes }: Extract<Fill, { kind: "memory" }>): void {
    const { plan, rootPid } = this.tree;
    const root = this.tree.host(rootPid);
    const script = new Script();
    const prot = protection.read | protection.write;
    const flags = mapFlag.shared | mapFlag.fixedNoReplace;
    script.room(1).call(syscalls.mmap, [workbench, bytes, prot, flags, plan.files.masters.of(key), 0], {
      purpose: "mapping huge pages (see /proc/sys/vm/nr_hugepages)",
    });
    root.run(script);
    const memory = openSync(`/proc/${rootPid}/mem`, "r+");
    try {
      this.pages.eagerPages += writeObject(memory, this.images.shmemPageIndex(shmid), bytes, rootPid, workbench);
    } finally {
      closeSync(memory);
    }
    const undo = new Script();
    undo.room(1).call(syscalls.munmap, [workbench, bytes]);
    root.run(undo);
  }

  /** An eager restore also fills the shared memory that a lazy one leaves to the pager. */
  #fills(): readonly Fill[] {
    const { shared, segments } = this.tree.plan;
    const own = segments.map(
      ({ id, entry }): Fill => ({ key: segmentKey(id), kind: "memory", shmid: id, bytes: Number(entry.size) }),
    );
    const fills = [...this.tree.plan.files.fills, ...own];
    if (!this.eager) return fills;
    const lazy = shared.filter((object) => !object.eager);
    const more = lazy.map(({ id, bytes }) => ({ key: sharedKey(id), kind: "memory" as const, shmid: id, bytes }));
    return [...fills, ...more];
  }
}
