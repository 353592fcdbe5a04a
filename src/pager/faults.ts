// Answers one fault: what the page needs now, the page itself first, then what lies around it. Knows no time and keeps
// no fault: a fault that cannot be answered now is the caller's to defer.
import { DRAIN_NEIGHBOUR_PAGES, RECENT_FAULTS_MAX, SEQUENTIAL_PAGES_MAX, ZERO_WINDOW_PAGES_MAX } from "../limits";
import type { Need } from "../space/space";
import type { Served } from "../uffd/port";
import type { Context, Surroundings } from "./context";
import { absent } from "./missing";

/** answered: installed, present or gone, and its waiters are awake. changing: try again after reading events. */
export type Answer = "answered" | "changing" | "exited";

/** Pages of zero given to a first fault in zero memory that the layout knows. */
const ZERO_WINDOW_FIRST = 16;

/** Throws a FaultlineError where the page's bytes cannot be had. */
export function answerFault(context: Context, page: number): Answer {
  const need = context.space.at(page);
  if (need.kind === "image") return answerImage(context, page, need);
  if (context.recording === undefined) return answerZero(context, page, zeroWindow(context, page, need));
  if (need.kind === "zero") context.recording.touched(page);
  return answerZero(context, page, 1);
}

function answerImage(context: Context, page: number, need: Need): Answer {
  // Copies: the need is reused by the next question to the space.
  const rangeFirst = need.page;
  const rangeEnd = need.page + need.pageCount;
  const { source } = need;
  const imagePage = need.imagePage + (page - need.page);
  const run = context.sources[source]!.locate(imagePage);
  if (run === undefined) throw absent(imagePage);
  const before = imagePage - run.imagePage;
  const skip = run.skip + before;
  const stop = context.installRun(page, run.block, skip, 1);
  if (stop === "changing" || stop === "exited") return stop;
  if (stop === "gone" || context.metPresent) context.uffd.wake(page, 1);
  if (stop === "gone") return "answered";
  if (context.recording !== undefined) {
    // Shared memory has page numbers of its own: where the task has it tells it apart.
    context.recording.touched(source === 0 ? imagePage : page);
    return "answered";
  }
  const end = Math.min(rangeEnd, page + run.pageCount - before);
  const first = Math.max(rangeFirst, page - before);
  const streak = takeStreak(context, page);
  let from = page + 1;
  if (streak > 0) {
    // The program goes through its memory in order: what comes next now, while its block is decoded.
    const stopped = from < end ? context.installRun(from, run.block, skip + 1, end - from) : "done";
    if (stopped === "exited") return "exited";
    from = end;
  }
  const ahead = streak > 1 ? end + pagesAhead(streak) : end;
  noteSurroundings(context, { from, to: ahead, backFrom: first, backTo: page, left: DRAIN_NEIGHBOUR_PAGES, streak });
  return "answered";
}

/** What lies around a fault that a wait has answered: to be installed in the background. */
export function noteServed(context: Context, { page, blockFirst, blockEnd, wholeBlock }: Served): void {
  const streak = takeStreak(context, page);
  noteSurroundings(context, {
    from: wholeBlock ? blockEnd : page + 1,
    to: streak > 1 ? blockEnd + pagesAhead(streak) : blockEnd,
    backFrom: wholeBlock ? page : blockFirst,
    backTo: page,
    left: DRAIN_NEIGHBOUR_PAGES,
    streak,
  });
}

/** How far ahead of the block that a streak has reached. */
function pagesAhead(streak: number): number {
  return Math.min(16 << Math.min(streak, 8), SEQUENTIAL_PAGES_MAX);
}

/** How many faults in a row led to this one, 0 for one that comes from nowhere. Forgets the one before it. */
function takeStreak(context: Context, page: number): number {
  const { surroundings } = context;
  for (let i = surroundings.length - 1; i >= 0; i--) {
    const job = surroundings[i]!;
    if (page < job.backTo || page > job.to) continue;
    surroundings.splice(i, 1);
    return job.streak + 1;
  }
  return 0;
}

function noteSurroundings(context: Context, surroundings: Surroundings): void {
  context.surroundings.push(surroundings);
  if (context.surroundings.length > RECENT_FAULTS_MAX) context.surroundings.shift();
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
