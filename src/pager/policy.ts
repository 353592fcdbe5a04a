// What is done to a task whose missing pages cannot be served: the declared policy, never zeros.
import { FaultlineError } from "../errors";
import type { Context } from "./context";
import type { ErrorPolicy } from "./requests";

export interface PolicyActions {
  /** Sends SIGKILL, or sees to it that the task is found and gets it; false where that is impossible. */
  kill(context: Context): boolean;
  /** The address space is gone. */
  exited(context: Context): void;
  /** The layout is changing: some missing pages are left to be poisoned. */
  poisonLater(context: Context): void;
}

/** Applies `policy`. A context in state `failed` gets no more image pages. */
export function applyPolicy(actions: PolicyActions, context: Context, policy: ErrorPolicy): void {
  if (policy === "wait") return;
  context.state = "failed";
  context.stopServing();
  if (policy === "kill" && actions.kill(context)) return;
  const outcome = poisonMissing(context);
  if (outcome === "exited") actions.exited(context);
  else if (outcome === "changing") actions.poisonLater(context);
}

/**
 * Poisons every page that is still missing. changing: some are left, try again after reading events. A kernel without
 * UFFDIO_POISON (before 6.6) leaves them missing, so that touching threads stay parked.
 */
export function poisonMissing(context: Context): "done" | "changing" | "exited" {
  const { space, uffd } = context;
  let size = Number.POSITIVE_INFINITY;
  for (let need = space.nextMissing(0); need !== undefined; need = space.nextMissing(0)) {
    const { page } = need;
    const count = Math.min(size, need.pageCount);
    try {
      const outcome = uffd.poison(page, count);
      if (outcome.kind === "installed") space.installed(page, outcome.pageCount);
      else if (outcome.kind === "present") space.installed(page, 1);
      else if (outcome.kind !== "gone") return outcome.kind;
      else if (count === 1) space.unmapped(page, 1);
      size = outcome.kind === "gone" ? Math.max(1, count >> 1) : Number.POSITIVE_INFINITY;
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
      context.session.fail(error.line());
      return "changing";
    }
  }
  return "done";
}
