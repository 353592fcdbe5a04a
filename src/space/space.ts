// What each page of one address space still needs: the layout as events changed it, over the image it came from.
// Pure: no I/O, no clock. Pages are numbers (address / 4096), exact below 2^53.
import { type Range, RangeTree, SOURCE_MAX } from "./rangeTree";

/** Zero until the program writes it: never in the image, or removed by madvise(2). */
const ZERO = -1;
/** The kernel said that it is there, or it was never missing. */
const INSTALLED = -2;

/** What a page needs now. The object is valid until the next call on the same Space. */
export interface Need {
  /** image: bytes of `source`; zero; installed: nothing; outside: not in the known layout (grown, or unmapped). */
  kind: "image" | "zero" | "installed" | "outside";
  /** The whole range of the same need that holds the page; meaningless for outside. */
  page: number;
  pageCount: number;
  source: number;
  /** The image page of `page` (the range's first, not the one asked for). */
  imagePage: number;
}

/**
 * Numbers of one entry of a layout: first page, page count, source or LAYOUT_ZERO or LAYOUT_PRESENT, first image page.
 */
export const LAYOUT_ENTRY_NUMBERS = 4;
/** In place of a source: zero until written. */
export const LAYOUT_ZERO = ZERO;
/** In place of a source: already there. */
export const LAYOUT_PRESENT = INSTALLED;

function checkRange(page: number, pageCount: number): void {
  if (!(Number.isSafeInteger(page) && page >= 0 && Number.isSafeInteger(pageCount) && pageCount >= 0)) {
    throw new RangeError(`pages ${page} + ${pageCount} are not a range`);
  }
}

export class Space {
  private readonly need: Need = { kind: "outside", page: 0, pageCount: 0, source: 0, imagePage: 0 };

  private constructor(private readonly tree: RangeTree) {}

  static empty(): Space {
    return new Space(new RangeTree());
  }

  /** From a layout: entries in any order; where two overlap the later one holds. Throws RangeError for a bad entry. */
  static from(layout: Float64Array): Space {
    const space = Space.empty();
    for (let at = 0; at + LAYOUT_ENTRY_NUMBERS <= layout.length; at += LAYOUT_ENTRY_NUMBERS) {
      const source = layout[at + 2]!;
      if (source === LAYOUT_ZERO) space.addZero(layout[at]!, layout[at + 1]!);
      else if (source === LAYOUT_PRESENT) space.installed(layout[at]!, layout[at + 1]!);
      else space.addImage(layout[at]!, layout[at + 1]!, source, layout[at + 3]!);
    }
    return space;
  }

  /** The child's layout at fork(2). O(1). */
  fork(): Space {
    return new Space(this.tree.fork());
  }

  /** Pages whose image bytes are not installed yet. O(1). */
  get missingPages(): number {
    return this.tree.missingPages;
  }

  addImage(page: number, pageCount: number, source: number, imagePage: number): void {
    checkRange(imagePage, pageCount);
    if (!Number.isInteger(source) || source < 0 || source > SOURCE_MAX) throw new RangeError(`source ${source}`);
    this.set(page, pageCount, source, imagePage);
  }

  addZero(page: number, pageCount: number): void {
    this.set(page, pageCount, ZERO, 0);
  }

  /** What does this page need now? O(log n). */
  at(page: number): Need {
    const { need } = this;
    const range = this.tree.find(page);
    if (range === undefined) {
      need.kind = "outside";
      need.page = page;
      need.pageCount = 1;
      return need;
    }
    return this.describe(range);
  }

  /** The next range with image bytes that ends after `page`, or undefined. O(log n). */
  nextMissing(page: number): Need | undefined {
    const range = this.tree.nextMissing(page);
    return range === undefined ? undefined : this.describe(range);
  }

  /** The next range of the known layout that ends after `page`, or undefined. O(log n). */
  next(page: number): Need | undefined {
    const range = this.tree.next(page);
    return range === undefined ? undefined : this.describe(range);
  }

  /** All that has image bytes to install: LAYOUT_ENTRY_NUMBERS numbers a range, in order of pages. O(n). */
  imageRanges(): Float64Array {
    const numbers: number[] = [];
    for (let range = this.tree.nextMissing(0); range !== undefined; ) {
      numbers.push(range.page, range.pageCount, range.source, range.imagePage);
      range = this.tree.nextMissing(range.page + range.pageCount);
    }
    return Float64Array.from(numbers);
  }

  private describe(range: Range): Need {
    const { need } = this;
    need.kind = range.source >= 0 ? "image" : range.source === ZERO ? "zero" : "installed";
    need.page = range.page;
    need.pageCount = range.pageCount;
    need.source = range.source;
    need.imagePage = range.imagePage;
    return need;
  }

  /** The kernel said that these pages are there. Pages outside the known layout become part of it. O(log n). */
  installed(page: number, pageCount: number): void {
    checkRange(page, pageCount);
    if (pageCount > 0 && this.tree.fillInLeaf(page, pageCount, INSTALLED)) return;
    this.set(page, pageCount, INSTALLED, 0);
  }

  /** madvise(2) dropped the range: zero from now on. Pages outside the known layout stay outside. */
  removed(page: number, pageCount: number): void {
    checkRange(page, pageCount);
    const pieces = this.pieces(page, pageCount);
    for (const piece of pieces) this.set(piece.page, piece.pageCount, ZERO, 0);
  }

  /** The range is no longer mapped. O(log n) and the ranges that it drops. */
  unmapped(page: number, pageCount: number): void {
    checkRange(page, pageCount);
    if (pageCount > 0) this.tree.cut(page, pageCount);
  }

  /**
   * mremap(2) moved [from, from + pageCount) to `to`. What it left behind is zero: with MREMAP_DONTUNMAP it stays
   * mapped and registered; otherwise the UNMAP event that follows takes it out.
   */
  remapped(from: number, to: number, pageCount: number): void {
    checkRange(from, pageCount);
    checkRange(to, pageCount);
    if (pageCount === 0 || from === to) return;
    const pieces = this.pieces(from, pageCount);
    this.tree.cut(to, pageCount);
    for (const piece of pieces) this.set(piece.page, piece.pageCount, ZERO, 0);
    for (const piece of pieces) this.set(piece.page - from + to, piece.pageCount, piece.source, piece.imagePage);
  }

  /** Copies of the known ranges in [page, page + pageCount), clipped to it. */
  private pieces(page: number, pageCount: number): Range[] {
    const end = page + pageCount;
    const pieces: Range[] = [];
    let range = this.tree.next(page);
    while (range !== undefined && range.page < end) {
      const start = Math.max(page, range.page);
      const stop = Math.min(end, range.page + range.pageCount);
      pieces.push({
        page: start,
        pageCount: stop - start,
        source: range.source,
        imagePage: range.imagePage + (start - range.page),
      });
      range = stop < end ? this.tree.next(stop) : undefined;
    }
    return pieces;
  }

  /** Makes the range hold one thing, joined with equal neighbours. */
  private set(page: number, pageCount: number, source: number, imagePage: number): void {
    checkRange(page, pageCount);
    if (pageCount === 0) return;
    const { tree } = this;
    let first = page;
    let end = page + pageCount;
    let image = imagePage;
    const before = page > 0 ? tree.find(page - 1) : undefined;
    if (before !== undefined && before.source === source) {
      const continues = source < 0 || before.imagePage + (page - before.page) === imagePage;
      if (continues) {
        image = source < 0 ? 0 : before.imagePage;
        first = before.page;
      }
    }
    const after = tree.find(end);
    if (after !== undefined && after.source === source) {
      if (source < 0 || after.imagePage + (end - after.page) === imagePage + pageCount)
        end = after.page + after.pageCount;
    }
    tree.cut(first, end - first);
    tree.insert({ page: first, pageCount: end - first, source, imagePage: image });
  }

  /** Ranges and memory, for tests and reports. O(n). */
  measure(): { ranges: number; nodes: number; bytes: number; depth: number } {
    return this.tree.measure();
  }
}
