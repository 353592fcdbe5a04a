// What is still to be done to a context whose pages cannot be served, where the policy could not be carried out at once:
// its process is looked for, or its missing pages are poisoned once its layout stands still. No clock of its own.
import { FaultlineError } from "../errors";
import { SEARCH_FIRST_US, SEARCHES_MAX } from "../limits";
import type { Context } from "./context";
import { poisonMissing } from "./policy";

/** As findOwners of owners.ts. */
export type FindOwners = (page: number, mark: () => boolean) => readonly number[];

export class Doom {
  private searches = 0;
  atUs: number;

  /** `search`: the policy is kill and nobody knows the process. Else, and when it is not found, pages are poisoned. */
  constructor(
    private readonly search: FindOwners | undefined,
    nowUs: number,
  ) {
    // A copy is not in /proc before the fork that made it has returned.
    this.atUs = search === undefined ? nowUs : nowUs + SEARCH_FIRST_US;
  }

  /** Pidfds of the processes to kill; or what became of the context; or "again" at `atUs`. */
  step(context: Context, nowUs: number): readonly number[] | "poisoned" | "exited" | "again" {
    const missing = context.space.nextMissing(0);
    if (this.search === undefined || this.searches >= SEARCHES_MAX || missing === undefined) {
      const outcome = poisonMissing(context);
      this.atUs = nowUs + SEARCH_FIRST_US;
      return outcome === "done" ? "poisoned" : outcome === "changing" ? "again" : outcome;
    }
    this.atUs = nowUs + SEARCH_FIRST_US * 2 ** this.searches++;
    const { page } = missing;
    const found = this.search(page, () => markPage(context, page));
    return found.length > 0 ? found : "again";
  }
}

/** Poisons one page; false where the kernel does not now, or cannot. */
function markPage(context: Context, page: number): boolean {
  try {
    const outcome = context.uffd.poison(page, 1);
    if (outcome.kind === "installed" || outcome.kind === "present") context.space.installed(page, 1);
    return outcome.kind === "installed";
  } catch (error) {
    if (!(error instanceof FaultlineError)) throw error;
    return false; // a kernel before 6.6
  }
}
