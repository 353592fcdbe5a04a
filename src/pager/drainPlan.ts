// What the drain of one address space installs next, in order: found in the layout ahead of time, so that blocks can be
// read and decoded before their turn. A plan is only followed while the layout still says the same.
import type { BlockRef } from "../images/block";
import type { QueueOutcome } from "../uffd/port";
import type { Context } from "./context";
import { absent, type Progress, startProgress } from "./missing";

/** Runs that are done are forgotten so many at a time. */
const RUNS_KEPT = 256;

interface PlannedRun {
  readonly page: number;
  readonly pageCount: number;
  readonly block: BlockRef;
  readonly skip: number;
}

export class DrainPlan {
  /** The same runs as in the queue of the context's userfaultfd, from `head` on. */
  private runs: PlannedRun[] = [];
  private head = 0;
  /** Where planning goes on. */
  private next = 0;
  private version = 0;
  private layoutVersion = 0;

  get length(): number {
    return this.runs.length - this.head;
  }

  /** Follows the plan no further where the layout says something else by now. */
  check(context: Context): void {
    if (this.length === 0) this.next = context.cursor;
    else if (this.layoutVersion !== context.layoutVersion) this.drop(context);
    else if (this.version !== context.version && !this.stillMissing(context)) this.drop(context);
    this.version = context.version;
    this.layoutVersion = context.layoutVersion;
  }

  /** Without a layout event in between, what is missing has the bytes that it had. */
  private stillMissing(context: Context): boolean {
    for (let i = this.head; i < this.runs.length; i++) {
      const { page, pageCount } = this.runs[i]!;
      const need = context.space.at(page);
      if (need.kind !== "image" || page + pageCount > need.page + need.pageCount) return false;
    }
    return true;
  }

  drop(context: Context): void {
    context.uffd.dropQueued();
    this.runs.length = 0;
    this.head = 0;
    this.next = context.cursor;
  }

  /**
   * Plans until `most` runs wait, the queue is full or no more is missing behind. Throws what the images throw, with the
   * page in progressPage(), where that is the next to install; later ones are met when it is their turn.
   */
  fill(context: Context, most: number): void {
    if (this.head >= RUNS_KEPT || this.length === 0) this.forgetDone();
    while (this.length < most) {
      const need = context.space.nextMissing(this.next);
      if (need === undefined) return;
      const page = Math.max(need.page, this.next);
      const inRange = need.page + need.pageCount - page;
      const imagePage = need.imagePage + (page - need.page);
      const run = this.locate(context, need.source, imagePage, page);
      if (run === undefined) return;
      const before = imagePage - run.imagePage;
      const pageCount = Math.min(inRange, run.pageCount - before);
      const skip = run.skip + before;
      if (!context.uffd.queuePages(page, run.block, skip, pageCount)) return;
      this.runs.push({ page, pageCount, block: run.block, skip });
      this.next = page + pageCount;
    }
  }

  private locate(context: Context, source: number, imagePage: number, page: number) {
    try {
      const run = context.sources[source]!.locate(imagePage);
      if (run === undefined) throw absent(imagePage);
      return run;
    } catch (error) {
      if (this.length > 0) return undefined;
      startProgress(page);
      throw error;
    }
  }

  private forgetDone(): void {
    this.runs.splice(0, this.head);
    this.head = 0;
  }

  /** Installs what is planned, at most `most` pages or one run. Throws where a block cannot be read. */
  step(context: Context, most: number): Progress {
    const outcome = context.uffd.installQueued(this.runsWithin(most));
    const progress = startProgress(this.runs[this.head]!.page);
    this.wholeRuns(context, outcome.runCount, progress);
    if (outcome.stop !== "done" && outcome.stop !== "interrupted") {
      const run = this.runs[this.head]!;
      progress.page = run.page;
      this.took(context, run, outcome.pageCount, progress);
      this.drop(context);
      if (outcome.stop === "error") {
        context.cursor = progress.page;
        throw outcome.error;
      }
      this.finishRun(context, run, outcome.stop, progress);
    }
    context.cursor = progress.page;
    this.version = context.version;
    return progress;
  }

  /** The rest of a run that stopped in the middle: behind a page that was there, or in pieces where a VMA was split. */
  private finishRun(context: Context, run: PlannedRun, stop: QueueOutcome["stop"], progress: Progress): void {
    if (stop === "present") {
      context.space.installed(progress.page, 1);
      progress.pageCount++;
      progress.page++;
    }
    const done = progress.page - run.page;
    const rest = run.pageCount - done;
    if (stop === "changing" || stop === "exited" || (stop === "gone" && rest === 1)) progress.stop = stop;
    else if (rest > 0) {
      const size = stop === "gone" ? rest >> 1 : rest;
      progress.stop = context.installRun(progress.page, run.block, run.skip + done, rest, size);
      progress.pageCount += context.reached;
      progress.page += context.reached;
    }
  }

  /** How many planned runs `most` pages make, at least one. */
  private runsWithin(most: number): number {
    let pages = this.runs[this.head]!.pageCount;
    let end = this.head + 1;
    while (end < this.runs.length && pages + this.runs[end]!.pageCount <= most) pages += this.runs[end++]!.pageCount;
    return end - this.head;
  }

  /** Pages that follow each other are noted in the layout as one range. */
  private wholeRuns(context: Context, runCount: number, progress: Progress): void {
    const end = this.head + runCount;
    let first = progress.page;
    let last = first;
    for (; this.head < end; this.head++) {
      const { page, pageCount, block } = this.runs[this.head]!;
      context.session.countInstalled(pageCount, block.codec);
      progress.pageCount += pageCount;
      if (page !== last) {
        context.space.installed(first, last - first);
        first = page;
      }
      last = page + pageCount;
    }
    if (last > first) context.space.installed(first, last - first);
    progress.page = last;
  }

  private took(context: Context, run: PlannedRun, pageCount: number, progress: Progress): void {
    if (pageCount === 0) return;
    context.space.installed(run.page, pageCount);
    context.session.countInstalled(pageCount, run.block.codec);
    progress.pageCount += pageCount;
    progress.page += pageCount;
  }
}
