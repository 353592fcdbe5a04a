// A page index as plain arrays, for whoever looks up pages without objects and without JavaScript: the addon, while it waits.
// What pageIndex.ts answers is the rule; this is the part of it that needs neither parent images nor errors.

/** Where the pages of one image are stored. Runs without PageFlag.Present, and pages of no run, are somebody else's. */
export interface PageTable {
  readonly runCount: number;
  /** First page, page count, flags (PageFlag) and first page in the pages file of each run, in order. */
  readonly starts: Float64Array;
  readonly counts: Float64Array;
  readonly flags: Uint8Array;
  readonly filePages: Float64Array;
  /** The open pages file, which the ImageDirectory owns. */
  readonly fd: number;
  readonly blocks: RawBlocks | PackedBlocks;
}

/** Blocks of so many pages from the beginning of each run; the last one may be shorter. */
export interface RawBlocks {
  readonly kind: "raw";
  readonly pagesPerBlock: number;
}

/** The blocks of a packed file: the fields of PackedIndex. */
export interface PackedBlocks {
  readonly kind: "packed";
  readonly blockCount: number;
  readonly offsets: Float64Array;
  readonly firstPages: Float64Array;
  readonly checksums: Uint32Array;
  readonly places: Uint32Array | undefined;
}
