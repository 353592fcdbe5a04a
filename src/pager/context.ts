// One address space as the pager serves it: its userfaultfd, its layout, and the steps that install pages and record
// what the kernel said of each. Decides nothing about when; pager.ts does.
import type { BlockRef } from "../images/block";
import type { PageTable } from "../images/pageTable";
import { SERVE_RANGES_MAX, SERVE_RANGES_PER_FAULT } from "../limits";
import { LAYOUT_ENTRY_NUMBERS, type Space } from "../space/space";
import type { InstallOutcome, LayoutEvent, Served, Uffd } from "../uffd/port";
import type { Doom } from "./doom";
import { DrainPlan } from "./drainPlan";
import type { PageSource } from "./pageSource";
import type { Prefetch } from "./prefetch";
import type { ReadAheadPlan } from "./readAhead";
import type { Recording } from "./recording";
import type { Session } from "./session";

/** How a run of installs ended. */
export type Stop =
  /** All pages of the run are there. */
  | "done"
  /** The layout is changing: read events and plan again. */
  | "changing"
  /** The kernel has no such page in a registered VMA. */
  | "gone"
  | "exited";

export interface DeferredFault {
  readonly page: number;
  readonly sinceUs: number;
  readonly threadId: number;
  retryAtUs: number;
  delayUs: number;
}

/** The pages around a fault: [from, to) ahead of it, then [backFrom, backTo) before it, then `left` more ahead. */
export interface Surroundings {
  from: number;
  to: number;
  backFrom: number;
  backTo: number;
  left: number;
  /** Faults in a row that went on where the one before had ended. */
  streak: number;
}

export class Context {
  /** Faults that could not be answered yet, by page. None is ever dropped unanswered. */
  readonly deferred = new Map<number, DeferredFault>();
  /** What is around recent faults and not installed yet, newest last. */
  readonly surroundings: Surroundings[] = [];
  /** What the drain in address order installs next. */
  readonly plan = new DrainPlan();
  /** Where the drain goes on. */
  cursor = 0;
  /** Grows with every change of the layout that is not the drain's own. */
  version = 0;
  /** Grows with every layout event. */
  layoutVersion = 0;
  /** No drain before this time: the layout was changing. */
  drainAfterUs = 0;
  /** Where the last zero fault's window ended, and its size: growing memory is answered in growing steps. */
  zeroEnd = -1;
  zeroWindow = 1;
  state: "served" | "done" | "exited" | "failed" = "served";
  /** What is still to be done to a failed context. */
  doom: Doom | undefined;
  /** Closed here with pages missing, and held by another process. */
  left = false;
  /** Pages that are there after the last run of installs. */
  reached = 0;
  /** Whether the last run of installs met a page that was there already: its waiters are not woken by an install. */
  metPresent = false;
  /** Where touches are noted: then each page is brought alone, so that the next touch is seen too. */
  recording: Recording | undefined;
  /** What is left of the recorded working set to install, and to read ahead. */
  prefetch: Prefetch | undefined;
  prefetchEarly = false;
  readAhead: ReadAheadPlan | undefined;

  /** Whether the waits answer faults by themselves. */
  private serving = false;
  /** Whether they ever did: then they may have read messages that nobody has looked at. */
  wasServed = false;
  /** Ranges of the last plan that a wait got, and faults since it ended. */
  private plannedRanges = 0;
  private unservedFaults = 0;
  private tables: readonly PageTable[] | undefined;

  constructor(
    readonly session: Session,
    readonly uffd: Uffd,
    readonly space: Space,
    readonly sources: readonly PageSource[],
    readonly imagePid: number,
    readonly pid: number,
    /** The waiter's token of the task's pidfd, or -1. */
    public token: number,
    readonly forked: boolean,
  ) {}

  /** Lets waits answer faults by themselves, from the layout as it is now, where that is worth making a plan for. */
  serveByWaits(): void {
    if (this.serving || this.state !== "served" || this.recording !== undefined) return;
    if (this.plannedRanges > 0 && ++this.unservedFaults * SERVE_RANGES_PER_FAULT < this.plannedRanges) return;
    if (this.plannedRanges > SERVE_RANGES_MAX) return;
    this.tables ??= tablesOf(this.sources);
    if (this.tables.length === 0) return;
    const ranges = this.space.imageRanges();
    this.plannedRanges = ranges.length / LAYOUT_ENTRY_NUMBERS;
    this.unservedFaults = 0;
    if (this.plannedRanges > SERVE_RANGES_MAX) return;
    this.uffd.serve({ ranges, tables: this.tables });
    this.serving = true;
    this.wasServed = true;
  }

  stopServing(): void {
    if (this.serving) this.uffd.stopServing();
    this.serving = false;
    this.unservedFaults = 0;
  }

  /** Notes what a wait did. */
  served({ page, pageCount, codec }: Served): void {
    this.version++;
    this.space.installed(page, Math.max(1, pageCount));
    if (pageCount > 0) this.session.countInstalled(pageCount, codec);
  }

  /** A copy made by fork(2) has the same ranges. */
  plansLike(parent: Context): void {
    this.plannedRanges = parent.plannedRanges;
    this.tables = parent.tables;
  }

  applyLayout(event: Exclude<LayoutEvent, { kind: "fork" }>): void {
    this.version++;
    this.layoutVersion++;
    switch (event.kind) {
      case "remap":
        this.space.remapped(event.from, event.to, event.pageCount);
        return;
      case "remove":
        this.space.removed(event.page, event.pageCount);
        return;
      case "unmap":
        this.space.unmapped(event.page, event.pageCount);
    }
  }

  /**
   * Installs pages [skip, skip + count) of `block` at `page`. `reached` is then the number of pages that are there.
   * A run that crosses a VMA's end or a split is halved until it fits (ENOENT says nothing of how much would); `first`
   * pages are tried first.
   */
  installRun(page: number, block: BlockRef, skip: number, count: number, first = count): Stop {
    this.reached = 0;
    this.metPresent = false;
    let size = first;
    while (this.reached < count) {
      const at = this.reached;
      size = Math.min(size, count - at);
      const outcome = this.uffd.installPages(page + at, block, skip + at, size);
      const stop = this.record(page + at, outcome);
      if (outcome.kind === "installed") this.session.countInstalled(outcome.pageCount, block.codec);
      if (stop === "gone" && size > 1) size >>= 1;
      else if (stop !== "done") return stop;
      else size *= 2;
    }
    return "done";
  }

  /** As installRun, with zero pages; ends at the first page that is there already. */
  installZeroRun(page: number, count: number): Stop {
    this.reached = 0;
    this.metPresent = false;
    let size = count;
    while (this.reached < count) {
      const at = this.reached;
      size = Math.min(size, count - at);
      const outcome = this.uffd.installZero(page + at, size);
      const stop = this.record(page + at, outcome);
      if (outcome.kind === "installed") this.session.zeroPages += outcome.pageCount;
      if (outcome.kind === "present") return "done";
      if (stop === "gone" && size > 1) size >>= 1;
      else if (stop !== "done") return stop;
      else size *= 2;
    }
    return "done";
  }

  private record(page: number, outcome: InstallOutcome): Stop {
    this.version++;
    switch (outcome.kind) {
      case "installed":
        this.space.installed(page, outcome.pageCount);
        this.reached += outcome.pageCount;
        return "done";
      case "present":
        this.space.installed(page, 1);
        this.reached += 1;
        this.metPresent = true;
        return "done";
      default:
        return outcome.kind;
    }
  }
}

/** The tables of all sources, or none. */
function tablesOf(sources: readonly PageSource[]): readonly PageTable[] {
  const tables: PageTable[] = [];
  for (const source of sources) {
    const table = source.table?.();
    if (table === undefined) return [];
    tables.push(table);
  }
  return tables;
}
