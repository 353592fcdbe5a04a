// One step of the background transfer: which pages next, and their install. Small, so that a fault never waits long.
import { FaultlineError } from "../errors";
import { DRAIN_NEIGHBOUR_PAGES, DRAIN_STEP_PAGES, PAGE_BYTES } from "../limits";
import type { Context, Stop } from "./context";

export interface DrainStep {
  /** Pages that are there now and were not before the step, as far as `space` is concerned. */
  pageCount: number;
  stop: Stop;
  /** Where a step that did not end with `done` stopped. */
  page: number;
}

const step: DrainStep = { pageCount: 0, stop: "done", page: 0 };

/** The next missing page to drain, or -1: neighbours of recent faults, then the order of addresses, round and round. */
function choose(context: Context): number {
  const { space, recent } = context;
  while (recent.length > 0) {
    const near = recent[recent.length - 1]!;
    const need = near.left > 0 ? space.nextMissing(near.page) : undefined;
    const page = need === undefined ? -1 : Math.max(need.page, near.page);
    if (page >= 0 && page - near.page <= DRAIN_NEIGHBOUR_PAGES) return page;
    recent.pop();
  }
  const need = space.nextMissing(context.cursor) ?? space.nextMissing(0);
  return need === undefined
    ? -1
    : Math.max(need.page, need.page + need.pageCount > context.cursor ? context.cursor : 0);
}

function advance(context: Context, page: number, pageCount: number): void {
  const near = context.recent[context.recent.length - 1];
  if (near === undefined) {
    context.cursor = page;
    return;
  }
  near.page = page;
  near.left -= pageCount;
}

/**
 * Installs at most DRAIN_STEP_PAGES. The answer is valid until the next call. Throws a FaultlineError, with `page` of
 * the answer set, where bytes cannot be had.
 */
export function drainStep(context: Context): DrainStep {
  step.pageCount = 0;
  step.stop = "done";
  let page = choose(context);
  step.page = page;
  while (page >= 0 && step.pageCount < DRAIN_STEP_PAGES) {
    const need = context.space.at(page);
    if (need.kind !== "image") break;
    const imagePage = need.imagePage + (page - need.page);
    const inRange = need.page + need.pageCount - page;
    step.page = page;
    const run = context.sources[need.source]!.locate(imagePage);
    if (run === undefined) {
      throw new FaultlineError("IMAGE_MISSING", "the image has no bytes for a page of the task", {
        address: imagePage * PAGE_BYTES,
      });
    }
    const before = imagePage - run.imagePage;
    const count = Math.min(inRange, run.pageCount - before, DRAIN_STEP_PAGES - step.pageCount);
    step.stop = context.installRun(page, run.block, run.skip + before, count);
    step.pageCount += context.reached;
    page += context.reached;
    step.page = page;
    if (step.stop !== "done") break;
  }
  if (page >= 0) advance(context, page, step.pageCount);
  return step;
}

/** The page at which a step that threw had stopped. */
export function drainPage(): number {
  return step.page;
}
