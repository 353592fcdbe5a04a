// The background transfer: which missing pages next. Small steps, so that a fault never waits long behind one.
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

/** One step of the drain in address order, round and round from where the last one ended. */
export function drainStep(context: Context, most: number): Progress {
  let progress = installMissing(context, context.cursor, Number.MAX_SAFE_INTEGER, most);
  if (progress.pageCount === 0 && progress.stop === "done") progress = installMissing(context, 0, context.cursor, most);
  context.cursor = progress.page === Number.MAX_SAFE_INTEGER ? 0 : progress.page;
  return progress;
}
