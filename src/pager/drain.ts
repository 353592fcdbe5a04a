// The background transfer: which missing pages next. Small steps, so that a fault never waits long behind one.
import { AHEAD_BLOCK_PAGES_MAX } from "../limits";
import type { Context } from "./context";
import { installMissing, type Progress } from "./missing";

/**
 * One step around a recent fault, the newest first; undefined where there is nothing around any. `beyond` allows what
 * lies ahead of the fault's own block too, which only a drain may install.
 */
export function surroundingsStep(context: Context, most: number, beyond: boolean): Progress | undefined {
  const { surroundings } = context;
  for (
    let job = surroundings[surroundings.length - 1];
    job !== undefined;
    job = surroundings[surroundings.length - 1]
  ) {
    const ahead = job.from < job.to;
    if (ahead || job.backFrom < job.backTo) {
      const from = ahead ? job.from : job.backFrom;
      const progress = installMissing(context, from, ahead ? job.to : job.backTo, most);
      if (ahead) job.from = progress.page;
      else job.backFrom = progress.page;
      if (progress.stop === "gone") surroundings.pop();
      if (progress.pageCount > 0 || progress.stop !== "done") return progress;
    } else if (beyond && job.left > 0) {
      job.to = job.from + job.left;
      job.left = 0;
    } else {
      surroundings.pop();
    }
  }
  return undefined;
}

/**
 * One step of the drain in address order, round and round from where the last one ended: at most `most` pages or one
 * block. `ahead`: how many more runs are planned, and their blocks read meanwhile.
 */
export function drainStep(context: Context, most: number, ahead: number): Progress {
  const { plan } = context;
  plan.check(context);
  const wanted = Math.ceil(most / AHEAD_BLOCK_PAGES_MAX) + ahead;
  plan.fill(context, wanted);
  if (plan.length > 0) return plan.step(context, most);
  // A block that cannot be queued, or nothing is missing behind.
  const progress = installMissing(context, context.cursor, Number.MAX_SAFE_INTEGER, most);
  context.cursor = progress.page === Number.MAX_SAFE_INTEGER ? 0 : progress.page;
  if (context.cursor > 0 || progress.pageCount > 0 || progress.stop !== "done") return progress;
  plan.check(context);
  plan.fill(context, wanted);
  return plan.length > 0 ? plan.step(context, most) : installMissing(context, 0, Number.MAX_SAFE_INTEGER, most);
}
