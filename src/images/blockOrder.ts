// Which blocks of a packed page file are stored ahead of their turn: those with pages that are wanted first. Pure.
import { PageFlag, type Pagemap } from "./pagemap";

/** Pages written by one call where blocks follow each other: 32 MiB. */
const STRETCH_PAGES = 8192;

export class BlockOrder {
  /** Pages of each run, in page order. */
  readonly runPages: Float64Array;
  /** The first page of each block; one element more than blocks. */
  private readonly firstPages: number[] = [];
  /** Blocks that end a run: the next one does not go on with it. */
  private readonly lastOfRun = new Set<number>();
  private readonly wanted = new Set<number>();

  /** `borders`: where runs begin and end, in pages of the file, ascending from 0. */
  constructor(borders: readonly number[], pagesPerBlock: number) {
    this.runPages = new Float64Array(Math.max(0, borders.length - 1));
    for (let run = 0; run + 1 < borders.length; run++) {
      const end = borders[run + 1]!;
      this.runPages[run] = end - borders[run]!;
      for (let page = borders[run]!; page < end; page += pagesPerBlock) this.firstPages.push(page);
      this.lastOfRun.add(this.firstPages.length - 1);
    }
    this.firstPages.push(borders[borders.length - 1] ?? 0);
  }

  /** The blocks with pages [from, to) of the file come next, those that do not come yet. */
  want(from: number, to: number): void {
    for (let block = this.blockOf(from); block < this.blockCount && this.firstPages[block]! < to; block++) {
      this.wanted.add(block);
    }
  }

  /** In the order of storage. */
  get firstBlocks(): Uint32Array {
    return Uint32Array.from(this.wanted);
  }

  /** Pages [from, to) of the file in the order of storage, each of whole blocks of one run. */
  *stretches(): Generator<readonly [number, number]> {
    for (const block of this.wanted) yield [this.firstPages[block]!, this.firstPages[block + 1]!];
    for (let block = 0; block < this.blockCount; ) {
      const first = block++;
      if (this.wanted.has(first)) continue;
      const from = this.firstPages[first]!;
      while (
        !this.lastOfRun.has(block - 1) &&
        !this.wanted.has(block) &&
        this.firstPages[block]! - from < STRETCH_PAGES
      )
        block++;
      yield [from, this.firstPages[block]!];
    }
  }

  private get blockCount(): number {
    return this.firstPages.length - 1;
  }

  private blockOf(page: number): number {
    let low = 0;
    let high = this.blockCount;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.firstPages[middle]! <= page) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Where the pages [first, end) of an address space are in its page file: ranges of file pages, in address order. */
export function* filePages(pagemap: Pagemap, first: number, end: number): Generator<readonly [number, number]> {
  const { starts, counts, flags, filePages: files, runCount } = pagemap;
  let low = 0;
  let high = runCount;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! + counts[middle]! <= first) low = middle + 1;
    else high = middle;
  }
  for (let run = low; run < runCount && starts[run]! < end; run++) {
    if ((flags[run]! & PageFlag.Present) === 0) continue;
    const from = Math.max(starts[run]!, first);
    const to = Math.min(starts[run]! + counts[run]!, end);
    yield [files[run]! + from - starts[run]!, files[run]! + to - starts[run]!];
  }
}
