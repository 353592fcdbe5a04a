// The queue of a port that has nothing but installPages: for simulated and made-up contexts. Nothing is read ahead.
import { FaultlineError } from "../errors";
import type { BlockRef } from "../images/block";
import type { InstallOutcome, QueueOutcome } from "./port";

/** Runs that it holds: few, so that a full queue is met often. */
const RUNS_MAX = 8;

interface Run {
  readonly page: number;
  readonly block: BlockRef;
  readonly skip: number;
  readonly pageCount: number;
}

export class PlainQueue {
  private runs: Run[] = [];

  constructor(
    private readonly install: (page: number, block: BlockRef, skip: number, pageCount: number) => InstallOutcome,
    /** Whether a message waits. */
    private readonly interrupted: () => boolean,
  ) {}

  queuePages(page: number, block: BlockRef, skip: number, pageCount: number): boolean {
    if (this.runs.length >= RUNS_MAX) return false;
    this.runs.push({ page, block, skip, pageCount });
    return true;
  }

  installQueued(runCount: number): QueueOutcome {
    const outcome: QueueOutcome = { runCount: 0, pageCount: 0, stop: "done", error: undefined };
    while (outcome.runCount < runCount && outcome.stop === "done") {
      const { page, block, skip, pageCount } = this.runs[0]!;
      const done = outcome.pageCount;
      if (outcome.runCount + done > 0 && this.interrupted()) {
        outcome.stop = "interrupted";
        break;
      }
      try {
        const result = this.install(page + done, block, skip + done, pageCount - done);
        if (result.kind !== "installed") outcome.stop = result.kind;
        else outcome.pageCount += result.pageCount;
      } catch (error) {
        if (!(error instanceof FaultlineError)) throw error;
        outcome.stop = "error";
        outcome.error = error;
      }
      if (outcome.pageCount < pageCount) continue;
      this.runs.shift();
      outcome.runCount++;
      outcome.pageCount = 0;
    }
    return outcome;
  }

  dropQueued(): void {
    this.runs = [];
  }
}
