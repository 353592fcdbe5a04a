// Installs a recorded working set ahead of the touches, in bounded steps. The recording is a hint that anybody may have
// written: only what the layout says is missing is installed, from where the layout says, and what goes wrong is left to
// the faults. Decides nothing about when; pager.ts does.
import { FaultlineError } from "../errors";
import {
  ADDRESS_PAGES_MAX,
  READ_AHEAD_GAP_BYTES,
  READ_AHEAD_STEP_BYTES,
  WORKING_SET_VISITS_MAX,
  WORKING_SET_ZERO_PAGES_MAX,
} from "../limits";
import type { Context, Stop } from "./context";
import type { PageRun } from "./pageSource";

/** Tells the kernel that a part of a file will be read soon. */
export type ReadAhead = (fd: number, offset: number, bytes: number) => void;

interface Extent {
  readonly fd: number;
  offset: number;
  bytes: number;
}

/** A stretch of missing pages: what the next install begins with. */
interface Piece {
  readonly kind: "image" | "zero";
  readonly page: number;
  /** Pages of the recorded range that need the same. */
  readonly pageCount: number;
  /** All pages around it that need the same. */
  readonly needFirst: number;
  readonly needEnd: number;
  readonly source: number;
  /** The image page of `page`. */
  readonly imagePage: number;
}

export class Prefetch {
  private range = 0;
  /** Where in the range to go on. */
  private page: number;
  private zeroLeft = WORKING_SET_ZERO_PAGES_MAX;

  /** `ranges`: first page and page count in turn, most wanted first. */
  constructor(private readonly ranges: Float64Array) {
    this.page = ranges[0] ?? 0;
  }

  get done(): boolean {
    return this.range >= this.ranges.length;
  }

  /** Installs some of what is next, at most `most` pages. Throws nothing that the world can cause. */
  step(context: Context, most: number): { readonly pageCount: number; readonly stop: Stop } {
    let pageCount = 0;
    for (let visits = 0; visits < WORKING_SET_VISITS_MAX && pageCount < most; visits++) {
      const piece = this.nextPiece(context);
      if (piece === undefined) continue;
      const left = most - pageCount;
      const stop = piece.kind === "zero" ? this.zero(context, piece, left) : this.image(context, piece, left);
      pageCount += context.reached;
      if (stop !== "done" && stop !== "gone") return { pageCount, stop };
    }
    return { pageCount, stop: "done" };
  }

  /** What is missing where the range goes on; undefined where nothing is, and then the next call looks further. */
  private nextPiece(context: Context): Piece | undefined {
    if (this.done) return undefined;
    const end = Math.min(this.ranges[this.range]! + this.ranges[this.range + 1]!, ADDRESS_PAGES_MAX);
    const need = context.space.next(this.page);
    if (need === undefined || need.page >= end || this.page >= end) {
      this.range += 2;
      this.page = this.ranges[this.range] ?? 0;
      return undefined;
    }
    const needEnd = need.page + need.pageCount;
    const page = Math.max(need.page, this.page);
    if ((need.kind === "zero" && this.zeroLeft > 0) || need.kind === "image") {
      const { kind, page: needFirst, source } = need;
      const imagePage = need.imagePage + page - needFirst;
      return { kind, page, pageCount: Math.min(end, needEnd) - page, needFirst, needEnd, source, imagePage };
    }
    this.page = needEnd;
    return undefined;
  }

  private zero(context: Context, { page, pageCount }: Piece, most: number): Stop {
    const stop = context.installZeroRun(page, Math.min(pageCount, most, this.zeroLeft));
    this.zeroLeft -= context.reached;
    return this.went(page, context.reached, stop);
  }

  /** The whole block of the page, as a fault would bring it: it has to be decoded anyway. */
  private image(context: Context, piece: Piece, most: number): Stop {
    context.reached = 0;
    const { page, needFirst, needEnd, imagePage } = piece;
    let run: PageRun | undefined;
    try {
      run = context.sources[piece.source]!.locate(imagePage);
      if (run !== undefined) {
        const before = Math.min(imagePage - run.imagePage, page - needFirst, most - 1);
        const after = Math.min(run.imagePage + run.pageCount - imagePage, needEnd - page, most - before);
        const skip = run.skip + imagePage - run.imagePage - before;
        const stop = context.installRun(page - before, run.block, skip, before + after);
        return this.went(page, context.reached - before, stop);
      }
    } catch (error) {
      // A page that cannot be read may never be touched: whoever touches it, or the drain, meets the error policy.
      if (!(error instanceof FaultlineError)) throw error;
    }
    return this.went(page, 0, "gone");
  }

  /** Goes on behind what is there; over a page that cannot be had; and stays where the layout is changing. */
  private went(page: number, reached: number, stop: Stop): Stop {
    if (reached > 0) this.page = page + reached;
    if (stop === "gone") this.page = Math.max(this.page, page) + 1;
    return stop;
  }
}

/** The parts of files that a working set needs, in file order: what is read ahead while it is installed. */
export class ReadAheadPlan {
  private extents: Extent[] = [];
  private at = 0;

  constructor(context: Context, ranges: Float64Array) {
    try {
      for (let i = 0; i < ranges.length; i += 2) this.collect(context, ranges[i]!, ranges[i]! + ranges[i + 1]!);
    } catch (error) {
      // Only a hint for the kernel: what cannot be found is told by whoever needs it.
      if (!(error instanceof FaultlineError)) throw error;
    }
    this.extents = joined(this.extents);
  }

  get done(): boolean {
    return this.at >= this.extents.length;
  }

  /** Advice for one step. */
  step(readAhead: ReadAhead): void {
    for (let left = READ_AHEAD_STEP_BYTES; left > 0 && !this.done; ) {
      const extent = this.extents[this.at]!;
      const bytes = Math.min(extent.bytes, left);
      readAhead(extent.fd, extent.offset, bytes);
      extent.offset += bytes;
      extent.bytes -= bytes;
      left -= Math.max(bytes, READ_AHEAD_STEP_BYTES / 64);
      if (extent.bytes === 0) this.at++;
    }
  }

  private collect(context: Context, from: number, end: number): void {
    for (let page = from; page < end; ) {
      const need = context.space.nextMissing(page);
      if (need === undefined || need.page >= end) return;
      const first = Math.max(page, need.page);
      const imagePage = need.imagePage + first - need.page;
      const needEnd = need.page + need.pageCount;
      const run = context.sources[need.source]!.locate(imagePage);
      if (run === undefined) return;
      const { fd, offset, storedBytes } = run.block;
      if (storedBytes > 0) this.extents.push({ fd, offset, bytes: storedBytes });
      page = Math.min(needEnd, first + run.imagePage + run.pageCount - imagePage);
    }
  }
}

/** Sorted, those that touch, overlap or are close to each other as one. */
function joined(extents: Extent[]): Extent[] {
  extents.sort((a, b) => a.fd - b.fd || a.offset - b.offset);
  const result: Extent[] = [];
  for (const extent of extents) {
    const last = result[result.length - 1];
    const end = last === undefined ? -1 : last.offset + last.bytes;
    if (last === undefined || last.fd !== extent.fd || extent.offset > end + READ_AHEAD_GAP_BYTES) {
      result.push(extent);
    } else last.bytes = Math.max(end, extent.offset + extent.bytes) - last.offset;
  }
  return result;
}
