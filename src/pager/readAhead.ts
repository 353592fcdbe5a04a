// The parts of the page files that a recorded working set needs, told to the kernel before they are read. Advice only: what
// cannot be found is told by whoever needs it.
import { FaultlineError } from "../errors";
import { READ_AHEAD_GAP_BYTES, READ_AHEAD_LOOKUPS_MAX, READ_AHEAD_STEP_BYTES } from "../limits";
import type { Context } from "./context";
import type { PageRun, PageSource } from "./pageSource";

/** Tells the kernel that a part of a file will be read soon. */
export type ReadAhead = (fd: number, offset: number, bytes: number) => void;

interface Extent {
  readonly fd: number;
  offset: number;
  bytes: number;
}

/** Parts of files in their order, those that are close to each other as one. */
export class ReadAheadPlan {
  private at = 0;

  private constructor(private readonly extents: Extent[]) {}

  /** What `ranges` (first page and page count in turn) need of what the context is missing. */
  static ofMissing(context: Context, ranges: Float64Array): ReadAheadPlan {
    return ReadAheadPlan.gathered((extents) => {
      for (let i = 0; i < ranges.length; i += 2) {
        missingExtents(context, ranges[i]!, ranges[i]! + ranges[i + 1]!, extents);
      }
    });
  }

  /** What they need of the image, before any process is there to miss it: of the first READ_AHEAD_LOOKUPS_MAX pieces. */
  static ofImage(source: PageSource, ranges: Float64Array): ReadAheadPlan {
    return ReadAheadPlan.gathered((extents) => {
      let left = READ_AHEAD_LOOKUPS_MAX;
      for (let i = 0; i < ranges.length && left > 0; i += 2) {
        const end = ranges[i]! + ranges[i + 1]!;
        for (let page = ranges[i]!; page < end && left > 0; left--) {
          const run = source.locate(page);
          if (run !== undefined) extents.push(extentOf(run));
          page = run === undefined ? page + 1 : run.imagePage + run.pageCount;
        }
      }
    });
  }

  private static gathered(gather: (extents: Extent[]) => void): ReadAheadPlan {
    const extents: Extent[] = [];
    try {
      gather(extents);
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
    }
    return new ReadAheadPlan(joined(extents.filter(({ bytes }) => bytes > 0)));
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
}

function extentOf({ block: { fd, offset, storedBytes } }: PageRun): Extent {
  return { fd, offset, bytes: storedBytes };
}

function missingExtents(context: Context, from: number, end: number, extents: Extent[]): void {
  for (let page = from; page < end; ) {
    const need = context.space.nextMissing(page);
    if (need === undefined || need.page >= end) return;
    const first = Math.max(page, need.page);
    const imagePage = need.imagePage + first - need.page;
    const needEnd = need.page + need.pageCount;
    const run = context.sources[need.source]!.locate(imagePage);
    if (run === undefined) return;
    extents.push(extentOf(run));
    page = Math.min(needEnd, first + run.imagePage + run.pageCount - imagePage);
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
