// The page index: from a page number of an address space (or of a shared memory object) to the block with its bytes,
// through the chain of parent images. O(log n) in the runs of each image asked. Trusts nothing: every answer is right or
// a FaultlineError; a page whose bytes are elsewhere is "absent" and never reads as data.
import { FaultlineError } from "../errors";
import { PAGE_BYTES } from "../limits";
import type { BlockRef } from "./block";
import { PageFlag, type Pagemap } from "./pagemap";
import { checkPagesLength, type PagesFile } from "./pagesFile";
import type { PageTable } from "./pageTable";
import { readBlock } from "./readBlock";

/** Pages in a row that are stored in one block, or are absent together. Page numbers are those of the address space. */
export interface PagePiece {
  readonly firstPage: number;
  readonly pageCount: number;
  /** Whether the bytes are in this image, in a parent of it, or left behind by a lazy dump ("absent"). */
  readonly origin: "here" | "parent" | "absent";
  /** PE_LAZY in this image: a restore may leave the pages for later. */
  readonly lazy: boolean;
  /** The block that holds them; undefined where absent. */
  readonly block: BlockRef | undefined;
  /** Pages of the block before `firstPage`. */
  readonly skip: number;
}

export type PageLookup =
  /** The page is page `skip` of the block; `piece` is all that the block holds of this run. */
  | { readonly kind: "block"; readonly block: BlockRef; readonly skip: number; readonly piece: PagePiece }
  /** The image knows the page but has no bytes for it: they are with the lazy source. */
  | { readonly kind: "absent"; readonly piece: PagePiece }
  /** No run holds the page: it was never touched (zero), or is what its file says. */
  | { readonly kind: "none" };

/** Pages in a row with the same flags in this image. */
export interface PageRun {
  readonly firstPage: number;
  readonly pageCount: number;
  /** PageFlag bits. */
  readonly flags: number;
}

/** Where an index gets at the files beside its pagemap, each opened when first needed. */
export interface PageSources {
  pages(pagesId: number): PagesFile;
  /** The same address space's index in the parent image; undefined where there is none. */
  parent(): PageIndex | undefined;
}

export class PageIndex {
  private openPages: PagesFile | undefined;

  constructor(
    private readonly pagemap: Pagemap,
    private readonly sources: PageSources,
  ) {}

  /** The pagemap's path. */
  get file(): string {
    return this.pagemap.file;
  }
  /** Runs in this image's pagemap. */
  get runCount(): number {
    return this.pagemap.runCount;
  }
  /** Pages in all runs. */
  get pageCount(): number {
    return this.pagemap.pageCount;
  }
  /** Pages whose bytes are in this image's pages file. */
  get presentPages(): number {
    return this.pagemap.presentPages;
  }
  /** N of the pages file. */
  get pagesId(): number {
    return this.pagemap.pagesId;
  }

  /** Run `run`, 0 to runCount - 1, in address order. */
  run(run: number): PageRun {
    const { starts, counts, flags } = this.pagemap;
    return { firstPage: starts[run]!, pageCount: counts[run]!, flags: flags[run]! };
  }

  /** What this image itself holds, as arrays. Throws what opening the pages file throws. */
  get table(): PageTable {
    const { runCount, starts, counts, flags, filePages } = this.pagemap;
    return { runCount, starts, counts, flags, filePages, ...this.pagesFile().table };
  }

  *runs(): Generator<PageRun> {
    for (let run = 0; run < this.runCount; run++) yield this.run(run);
  }

  /** The first run that ends after `page`; runCount where there is none. */
  runFrom(page: number): number {
    const { starts, counts } = this.pagemap;
    let low = 0;
    let high = this.runCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle]! + counts[middle]! <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The run that holds `page`, or -1. */
  runOf(page: number): number {
    const run = this.runFrom(page);
    return run < this.runCount && this.pagemap.starts[run]! <= page ? run : -1;
  }

  /** What the image has of `page`. */
  lookup(page: number): PageLookup {
    const run = this.runOf(page);
    if (run < 0) return { kind: "none" };
    const piece = this.pieceAt(run, page);
    if (piece.block === undefined) return { kind: "absent", piece };
    return { kind: "block", block: piece.block, skip: piece.skip + page - piece.firstPage, piece };
  }

  /** All pieces within [firstPage, endPage), cut to it, in address order; pages of no piece are in no run. */
  *pieces(firstPage: number, endPage: number): Generator<PagePiece> {
    const { starts, counts } = this.pagemap;
    for (let run = this.runFrom(firstPage); run < this.runCount; run++) {
      const end = Math.min(starts[run]! + counts[run]!, endPage);
      let page = Math.max(starts[run]!, firstPage);
      if (page >= endPage) return;
      while (page < end) {
        const piece = cut(this.pieceAt(run, page), page, end);
        yield piece;
        page += piece.pageCount;
      }
    }
  }

  /**
   * Fills out[0, pageCount * 4096) with the pages from `page` on; pages of no run read as zero.
   * Throws IMAGE_MISSING where a page is absent, IMAGE_CORRUPT or IMAGE_TRUNCATED where its block is damaged.
   */
  readPages(page: number, pageCount: number, out: Uint8Array): void {
    if (out.length < pageCount * PAGE_BYTES) throw new RangeError("the output is shorter than the pages");
    out.fill(0, 0, pageCount * PAGE_BYTES);
    for (const piece of this.pieces(page, page + pageCount)) {
      if (piece.block === undefined) throw this.absent(piece.firstPage);
      const at = (piece.firstPage - page) * PAGE_BYTES;
      const bytes = piece.pageCount * PAGE_BYTES;
      if (piece.pageCount === piece.block.pageCount) readBlock(piece.block, out.subarray(at, at + bytes));
      else {
        const whole = Buffer.allocUnsafe(piece.block.pageCount * PAGE_BYTES);
        readBlock(piece.block, whole);
        out.set(whole.subarray(piece.skip * PAGE_BYTES, piece.skip * PAGE_BYTES + bytes), at);
      }
    }
  }

  /** The piece around `page` of run `run`, cut to the run. */
  private pieceAt(run: number, page: number): PagePiece {
    const { starts, counts, flags, filePages } = this.pagemap;
    const start = starts[run]!;
    const count = counts[run]!;
    const flag = flags[run]!;
    const lazy = (flag & PageFlag.Lazy) !== 0;
    if ((flag & PageFlag.Parent) !== 0) return this.parentPiece(page, start, start + count, lazy);
    if ((flag & PageFlag.Present) === 0) {
      return { firstPage: start, pageCount: count, origin: "absent", lazy, block: undefined, skip: 0 };
    }
    const runFile = filePages[run]!;
    const { block, firstFilePage } = this.pagesFile().locate(runFile + page - start, runFile, count);
    // A packed block may reach beyond this run if the pagemap is not the one it was packed from.
    const from = Math.max(firstFilePage, runFile);
    const to = Math.min(firstFilePage + block.pageCount, runFile + count);
    return {
      firstPage: start + from - runFile,
      pageCount: to - from,
      origin: "here",
      lazy,
      block,
      skip: from - firstFilePage,
    };
  }

  private parentPiece(page: number, start: number, end: number, lazy: boolean): PagePiece {
    const parent = this.sources.parent();
    const run = parent === undefined ? -1 : parent.runOf(page);
    if (parent === undefined || run < 0) {
      throw new FaultlineError("IMAGE_MISSING", "a page is in the parent image, and that does not have it", {
        file: this.file,
        address: page * PAGE_BYTES,
        advice: "check the link `parent` in the image directory",
      });
    }
    const piece = cut(parent.pieceAt(run, page), start, end);
    return { ...piece, origin: piece.origin === "absent" ? "absent" : "parent", lazy };
  }

  private pagesFile(): PagesFile {
    if (this.openPages === undefined) {
      const pages = this.sources.pages(this.pagemap.pagesId);
      checkPagesLength(pages, this.pagemap.presentPages);
      this.openPages = pages;
    }
    return this.openPages;
  }

  private absent(page: number): FaultlineError {
    return new FaultlineError("IMAGE_MISSING", "a page's bytes are not in this image but with its lazy source", {
      file: this.file,
      address: page * PAGE_BYTES,
    });
  }
}

/** `piece` cut to [start, end), which it must touch. */
function cut(piece: PagePiece, start: number, end: number): PagePiece {
  const firstPage = Math.max(piece.firstPage, start);
  const last = Math.min(piece.firstPage + piece.pageCount, end);
  if (firstPage === piece.firstPage && last === piece.firstPage + piece.pageCount) return piece;
  const skip = piece.block === undefined ? 0 : piece.skip + firstPage - piece.firstPage;
  return { ...piece, firstPage, pageCount: last - firstPage, skip };
}
