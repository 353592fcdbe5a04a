// One restore: its contexts, what it has done so far, and its report. No decisions.
import { BlockCodec } from "../images/block";
import { PAGE_BYTES } from "../limits";
import type { Context } from "./context";
import { LatencyHistogram } from "./latency";
import { Recording } from "./recording";
import type { ContextReport, SessionReport } from "./requests";

export class Session {
  readonly contexts = new Set<Context>();
  /** Reports of contexts that have ended; their descriptors are closed. */
  readonly ended: ContextReport[] = [];
  readonly latency = new LatencyHistogram();
  /** All contexts are known and the task runs: the drain may begin, and a context with nothing missing may end. */
  complete = false;
  state: SessionReport["state"] = "serving";
  error: string | undefined;
  faultedPages = 0;
  drainedPages = 0;
  zeroPages = 0;
  faults = 0;
  deferredFaults = 0;
  layoutEvents = 0;
  forks = 0;
  rawBytes = 0;
  lz4Bytes = 0;
  /** Image pages that were dropped because no registered VMA holds them any more, without an event that said so. */
  lostPages = 0;
  /** Whether pages are being installed in the background now, and whether they are of a recorded working set. */
  draining = false;
  prefetching = false;
  prefetchedPages = 0;
  /** What the tasks touch, by image pid, where it is recorded. */
  private readonly recordings: Map<number, Recording> | undefined;

  constructor(
    readonly sessionId: number,
    readonly imagesDir: string,
    readonly startUs: number,
    record = false,
  ) {
    this.recordings = record ? new Map() : undefined;
  }

  /** Where the touches of a task go, or undefined where they are not recorded. */
  recording(imagePid: number): Recording | undefined {
    if (this.recordings === undefined) return undefined;
    const recording = this.recordings.get(imagePid) ?? new Recording(this.imagesDir, imagePid);
    this.recordings.set(imagePid, recording);
    return recording;
  }

  /** The tasks run: from now on recordings put the drain off. */
  recordingsBegan(nowUs: number): void {
    for (const recording of this.recordings?.values() ?? []) recording.began(nowUs);
  }

  countInstalled(pageCount: number, codec: BlockCodec): void {
    if (this.prefetching) this.prefetchedPages += pageCount;
    else if (this.draining) this.drainedPages += pageCount;
    else this.faultedPages += pageCount;
    if (codec === BlockCodec.Lz4) this.lz4Bytes += pageCount * PAGE_BYTES;
    else if (codec === BlockCodec.Raw) this.rawBytes += pageCount * PAGE_BYTES;
  }

  get missingPages(): number {
    let missing = 0;
    for (const context of this.contexts) missing += context.space.missingPages;
    return missing;
  }

  fail(error: string): void {
    this.error ??= error;
  }

  report(nowUs: number): SessionReport {
    const live = [...this.contexts].map(reportContext);
    const { sessionId, imagesDir, state, faultedPages, drainedPages, zeroPages, faults, deferredFaults } = this;
    const { layoutEvents, forks, rawBytes, lz4Bytes, lostPages, prefetchedPages } = this;
    return {
      sessionId,
      imagesDir,
      state,
      faultedPages,
      drainedPages,
      prefetchedPages,
      zeroPages,
      missingPages: this.missingPages,
      faults,
      deferredFaults,
      layoutEvents,
      forks,
      rawBytes,
      lz4Bytes,
      lostPages,
      contexts: [...this.ended, ...live],
      elapsedUs: nowUs - this.startUs,
      latency: this.latency.report(),
      error: this.error,
    };
  }
}

export function reportContext(context: Context): ContextReport {
  const { imagePid, pid, forked, state } = context;
  return { imagePid, pid, forked, state, missingPages: context.space.missingPages };
}
