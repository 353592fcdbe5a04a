// What the recorded working sets of an image say: how much of the stored memory, and how alike the runs were.
import type { ImageDirectory } from "../images/directory";
import { readWorkingSet, runsIn, type WorkingSet } from "../images/workingSet";

export interface RunOverlap {
  /** 0 is the newest recorded run. */
  readonly run: number;
  /** Pages that it touched. */
  readonly pages: number;
  /** Of those, pages that the newest run touched too. */
  readonly sharedWithNewest: number;
}

export interface WorkingSetSummary {
  readonly pid: number;
  /** Recorded runs that the file knows of. */
  readonly runCount: number;
  readonly ranges: number;
  readonly pages: number;
  /** Pages whose bytes the image has, untouched ones (zero), which take no bytes of it, and ones of neither. */
  readonly storedPages: number;
  readonly otherPages: number;
  /** Stored pages of the whole task. */
  readonly taskPages: number;
  /** storedPages of taskPages, 0 to 1. */
  readonly coverage: number;
  /** Pages touched in exactly i + 1 runs. */
  readonly pagesByRuns: readonly number[];
  readonly runs: readonly RunOverlap[];
}

/** One summary for each task that has a working set. Throws where a file is damaged. */
export function workingSets(directory: ImageDirectory, pids: readonly number[]): WorkingSetSummary[] {
  const summaries: WorkingSetSummary[] = [];
  for (const pid of pids) {
    const set = readWorkingSet(directory.path, pid);
    if (set !== undefined) summaries.push(summary(directory, pid, set));
  }
  return summaries;
}

function summary(directory: ImageDirectory, pid: number, set: WorkingSet): WorkingSetSummary {
  const index = directory.pageIndex(pid);
  const pagesByRuns = new Array<number>(set.runCount).fill(0);
  const runs = Array.from({ length: set.runCount }, (_, run) => ({ run, pages: 0, sharedWithNewest: 0 }));
  let pages = 0;
  let storedPages = 0;
  for (const range of set.ranges) {
    const end = range.firstPage + range.pageCount;
    pages += range.pageCount;
    for (const piece of index.pieces(range.firstPage, end)) storedPages += piece.pageCount;
    const count = Math.min(runsIn(range.runs), set.runCount);
    pagesByRuns[count - 1]! += range.pageCount;
    for (const each of runs) {
      if (((range.runs >>> each.run) & 1) === 0) continue;
      each.pages += range.pageCount;
      if ((range.runs & 1) !== 0) each.sharedWithNewest += range.pageCount;
    }
  }
  const taskPages = index.pageCount;
  return {
    pid,
    runCount: set.runCount,
    ranges: set.ranges.length,
    pages,
    storedPages,
    otherPages: pages - storedPages,
    taskPages,
    coverage: taskPages === 0 ? 0 : storedPages / taskPages,
    pagesByRuns,
    runs,
  };
}
