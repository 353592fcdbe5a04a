// Installs a recorded working set ahead of the touches, in bounded steps. The recording is a hint that anybody may have
// written: only what the layout says is missing is installed, from where the layout says, and what goes wrong is left to
// the faults. Decides nothing about when; pager.ts does.
import { FaultlineError } from "../errors";
import { ADDRESS_PAGES_MAX, WORKING_SET_VISITS_MAX, WORKING_SET_ZERO_PAGES_MAX } from "../limits";
import type { Context, Stop } from "./context";
import type { PageRun } from "./pageSource";

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
