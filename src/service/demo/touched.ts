// Which pages of the frozen program were touched, when, and which came in the background: the image's pages in address
// order, cut into cells of equal size, from the pager's trace. Drawing them is the caller's.
import { readFileSync } from "node:fs";
import { ImageDirectory } from "../../images/directory";
import { PAGE_BYTES } from "../../limits";

export interface TouchedCell {
  /** Of the cell's first page, bytes. */
  readonly address: number;
  /** When the program first touched a page of the cell, microseconds after its first touch of all; undefined: never. */
  readonly touchedUs: number | undefined;
  /** Pages of the cell that the program touched before they were there. */
  readonly touchedPages: number;
  /** Pages of the cell that were brought in the background. */
  readonly backgroundPages: number;
}

export interface Touched {
  /** A power of two. */
  readonly pagesPerCell: number;
  readonly cells: readonly TouchedCell[];
}

export interface TouchedTrace {
  readonly touched: Touched;
  /** Times of the program's touches of missing pages, ascending, microseconds after the first. */
  readonly faultsUs: readonly number[];
}

/** One line of the pager's trace (src/pager/trace.ts). */
interface TraceLine {
  readonly us: number;
  readonly what: string;
  readonly page: number;
  readonly pages: number;
}

interface MutableCell {
  readonly address: number;
  touchedUs: number | undefined;
  touchedPages: number;
  backgroundPages: number;
}

/** The image's pages in address order, numbered from 0. */
class Strip {
  private readonly firstPages: number[] = [];
  private readonly positions: number[] = [];
  pageCount = 0;

  constructor(directory: string, pid: number) {
    using images = ImageDirectory.open(directory);
    for (const { firstPage, pageCount } of images.pageIndex(pid).runs()) {
      this.firstPages.push(firstPage);
      this.positions.push(this.pageCount);
      this.pageCount += pageCount;
    }
  }

  /** The page at `position`, which the image holds. */
  page(position: number): number {
    const run = countUpTo(this.positions, position) - 1;
    return (this.firstPages[run] as number) + position - (this.positions[run] as number);
  }

  /** The number of `page`, or undefined where the image does not hold it. */
  position(page: number): number | undefined {
    const run = countUpTo(this.firstPages, page) - 1;
    if (run < 0) return undefined;
    const position = (this.positions[run] as number) + page - (this.firstPages[run] as number);
    return position < (this.positions[run + 1] ?? this.pageCount) ? position : undefined;
  }
}

/** How many of the ascending `numbers` are at most `limit`. */
function countUpTo(numbers: readonly number[], limit: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((numbers[middle] as number) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function emptyCells(strip: Strip, pagesPerCell: number): MutableCell[] {
  return Array.from({ length: Math.ceil(strip.pageCount / pagesPerCell) }, (_, index) => ({
    address: strip.page(index * pagesPerCell) * PAGE_BYTES,
    touchedUs: undefined,
    touchedPages: 0,
    backgroundPages: 0,
  }));
}

/** At most `cellsMax` cells. The trace must be complete: read it when the drain is over. */
export function readTouched(directory: string, pid: number, traceFile: string, cellsMax: number): TouchedTrace {
  const strip = new Strip(directory, pid);
  let pagesPerCell = 1;
  while (strip.pageCount > pagesPerCell * cellsMax) pagesPerCell *= 2;
  const cells = emptyCells(strip, pagesPerCell);
  const cellOf = (page: number): MutableCell | undefined => {
    const position = strip.position(page);
    return position === undefined ? undefined : cells[Math.floor(position / pagesPerCell)];
  };
  const faultsUs: number[] = [];
  let startUs: number | undefined;
  for (const { us, what, page, pages } of traceLines(traceFile)) {
    if (what === "read" || what === "write") {
      startUs ??= us;
      faultsUs.push(us - startUs);
      const cell = cellOf(page);
      if (cell === undefined) continue;
      cell.touchedUs ??= us - startUs;
      cell.touchedPages++;
    } else if (what === "background") {
      for (let offset = 0; offset < pages; offset++) {
        const cell = cellOf(page + offset);
        if (cell !== undefined) cell.backgroundPages++;
      }
    }
  }
  return { touched: { pagesPerCell, cells }, faultsUs };
}

function* traceLines(file: string): Generator<TraceLine> {
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (line !== "") yield JSON.parse(line) as TraceLine;
  }
}
