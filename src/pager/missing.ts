// Installs what is missing in a range of pages, at most so many: the step that fault-around and drain share.
import { FaultlineError } from "../errors";
import { PAGE_BYTES } from "../limits";
import type { Context, Stop } from "./context";

export interface Progress {
  /** Pages that are there now. */
  pageCount: number;
  stop: Stop;
  /** Where to go on: the end of the range, or the page at which it stopped. */
  page: number;
}

/** The one that is reused. */
const progress: Progress = { pageCount: 0, stop: "done", page: 0 };

/**
 * Installs missing pages of [from, to), at most `most`. The answer is valid until the next call. Throws a FaultlineError,
 * with the page in progressPage(), where bytes cannot be had.
 */
export function installMissing(context: Context, from: number, to: number, most: number): Progress {
  startProgress(from);
  while (progress.pageCount < most) {
    const need = context.space.nextMissing(progress.page);
    const page = need === undefined ? to : Math.max(need.page, progress.page);
    if (need === undefined || page >= to) {
      progress.page = to;
      break;
    }
    progress.page = page;
    const imagePage = need.imagePage + (page - need.page);
    const inRange = Math.min(to, need.page + need.pageCount) - page;
    const run = context.sources[need.source]!.locate(imagePage);
    if (run === undefined) throw absent(imagePage);
    const before = imagePage - run.imagePage;
    const count = Math.min(inRange, run.pageCount - before, most - progress.pageCount);
    progress.stop = context.installRun(page, run.block, run.skip + before, count);
    progress.pageCount += context.reached;
    progress.page = page + context.reached;
    if (progress.stop !== "done") break;
  }
  return progress;
}

/** For whoever installs by himself: the progress that installMissing and progressPage() answer too, from here on. */
export function startProgress(page: number): Progress {
  progress.pageCount = 0;
  progress.stop = "done";
  progress.page = page;
  return progress;
}

/** The page at which an installMissing that threw had stopped. */
export function progressPage(): number {
  return progress.page;
}

export function absent(imagePage: number): FaultlineError {
  return new FaultlineError("IMAGE_MISSING", "the image has no bytes for a page of the task", {
    address: imagePage * PAGE_BYTES,
    advice: "it was dumped for a lazy source that is not there",
  });
}
