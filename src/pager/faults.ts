// Answers one fault: what the page needs now, the page itself first, then what lies around it. Knows no time and keeps
// no fault: a fault that cannot be answered now is the caller's to defer.
import { FaultlineError } from "../errors";
import { DRAIN_NEIGHBOUR_PAGES, PAGE_BYTES, RECENT_FAULTS_MAX, ZERO_WINDOW_PAGES_MAX } from "../limits";
import type { Need } from "../space/space";
import type { Context } from "./context";

/** answered: installed, present or gone, and its waiters are awake. changing: try again after reading events. */
export type Answer = "answered" | "changing" | "exited";

/** Pages of zero given to a first fault in zero memory that the layout knows. */
const ZERO_WINDOW_FIRST = 16;

/** Throws a FaultlineError where the page's bytes cannot be had. */
export function answerFault(context: Context, page: number): Answer {
  const need = context.space.at(page);
  if (need.kind === "image") return answerImage(context, page, need);
  return answerZero(context, page, zeroWindow(context, page, need));
}

function answerImage(context: Context, page: number, need: Need): Answer {
  // Copies: the need is reused by the next question to the space.
  const rangeFirst = need.page;
  const rangeEnd = need.page + need.pageCount;
  const imagePage = need.imagePage + (page - need.page);
  const run = context.sources[need.source]!.locate(imagePage);
  if (run === undefined) {
    throw new FaultlineError(
      "IMAGE_MISSING",
      `the image has no bytes for page 0x${(imagePage * PAGE_BYTES).toString(16)}`,
      {
        address: page * PAGE_BYTES,
      },
    );
  }
  const before = imagePage - run.imagePage;
  const skip = run.skip + before;
  const stop = context.installRun(page, run.block, skip, 1);
  if (stop === "changing" || stop === "exited") return stop;
  if (stop === "gone" || context.metPresent) context.uffd.wake(page, 1);
  if (stop === "gone") return "answered";
  const end = Math.min(rangeEnd, page + run.pageCount - before);
  const first = Math.max(rangeFirst, page - before);
  let around: string = "done";
  if (end > page + 1) around = context.installRun(page + 1, run.block, skip + 1, end - page - 1);
  if (first < page && around === "done")
    around = context.installRun(first, run.block, skip - (page - first), page - first);
  noteRecent(context, end);
  return around === "exited" ? "exited" : "answered";
}

function noteRecent(context: Context, page: number): void {
  context.recent.push({ page, left: DRAIN_NEIGHBOUR_PAGES });
  if (context.recent.length > RECENT_FAULTS_MAX) context.recent.shift();
}

/** How many pages of zero a fault at `page` gets: 1 where one more could cover something else. */
function zeroWindow(context: Context, page: number, need: Need): number {
  // A page that is there: a message from before its install, or memory dropped since. One page tells.
  if (need.kind === "installed") return 1;
  const known = need.kind === "zero";
  const limit = known ? need.page + need.pageCount - page : pagesToNext(context, page);
  const grown = page === context.zeroEnd ? context.zeroWindow * 2 : known ? ZERO_WINDOW_FIRST : 1;
  context.zeroWindow = Math.min(grown, ZERO_WINDOW_PAGES_MAX);
  return Math.min(context.zeroWindow, limit);
}

function pagesToNext(context: Context, page: number): number {
  const next = context.space.next(page);
  return next === undefined ? ZERO_WINDOW_PAGES_MAX : next.page - page;
}

function answerZero(context: Context, page: number, window: number): Answer {
  const stop = context.installZeroRun(page, 1);
  if (stop === "changing" || stop === "exited") return stop;
  if (stop === "gone" || context.metPresent) {
    context.uffd.wake(page, 1);
    return "answered";
  }
  context.zeroEnd = page + 1;
  if (window === 1) return "answered";
  const around = context.installZeroRun(page + 1, window - 1);
  context.zeroEnd += context.reached;
  return around === "exited" ? "exited" : "answered";
}
