// Compares the stored pages of two address spaces over one range. Not for mappings or tasks: diff.ts.
import { fstatSync } from "node:fs";
import type { BlockRef } from "../images/block";
import type { PagePiece } from "../images/pageIndex";
import { PAGE_BYTES } from "../limits";
import { isZeroPiece, type Memory, PieceReader } from "./memory";

/** Pages of a range by what became of them from the first checkpoint to the second. */
export interface PageChanges {
  /** Stored in both, with other bytes. */
  readonly changed: number;
  /** Stored in the second only: touched since then. */
  readonly added: number;
  /** Stored in the first only: freed or unmapped since then. */
  readonly gone: number;
  /** Stored in both with the same bytes. */
  readonly same: number;
  /** One of the two has no bytes for them in its directory. */
  readonly unknown: number;
}

export const noChanges: PageChanges = { changed: 0, added: 0, gone: 0, same: 0, unknown: 0 };

type Counts = { -readonly [K in keyof PageChanges]: number };

/** Pieces of two streams cut to pieces of the same pages; one side may have none. */
interface Pair {
  readonly pageCount: number;
  readonly before: PagePiece | undefined;
  readonly after: PagePiece | undefined;
}

function clip(piece: PagePiece, firstPage: number, pageCount: number): PagePiece {
  return { ...piece, firstPage, pageCount, skip: piece.skip + firstPage - piece.firstPage };
}

function* paired(before: Iterable<PagePiece>, after: Iterable<PagePiece>): Generator<Pair> {
  const [left, right] = [before[Symbol.iterator](), after[Symbol.iterator]()];
  const pull = (from: Iterator<PagePiece>): PagePiece | undefined => {
    const next = from.next();
    return next.done === true ? undefined : next.value;
  };
  // What is left of `piece` from `page` on.
  const rest = (piece: PagePiece, page: number, from: Iterator<PagePiece>) => {
    const end = piece.firstPage + piece.pageCount;
    return page >= end ? pull(from) : clip(piece, page, end - page);
  };
  let [a, b] = [pull(left), pull(right)];
  while (a !== undefined || b !== undefined) {
    const page = Math.min(a?.firstPage ?? Infinity, b?.firstPage ?? Infinity);
    let end = Infinity;
    for (const piece of [a, b]) {
      if (piece === undefined) continue;
      end = Math.min(end, piece.firstPage > page ? piece.firstPage : piece.firstPage + piece.pageCount);
    }
    const pageCount = end - page;
    const here = (piece: PagePiece | undefined) =>
      piece !== undefined && piece.firstPage === page ? clip(piece, page, pageCount) : undefined;
    yield { pageCount, before: here(a), after: here(b) };
    if (a !== undefined && a.firstPage === page) a = rest(a, end, left);
    if (b !== undefined && b.firstPage === page) b = rest(b, end, right);
  }
}

/** Compares pages; keeps two block buffers, so one of it serves a whole comparison. */
export class PageComparer {
  private readonly left = new PieceReader();
  private readonly right = new PieceReader();
  private readonly inodes = new Map<number, string>();
  private readonly allBytes: boolean;

  /** With `allBytes`, bytes are compared even where the checksums of both blocks agree. */
  constructor(allBytes: boolean) {
    this.allBytes = allBytes;
  }

  compare(before: Memory | undefined, after: Memory | undefined, firstPage: number, endPage: number): PageChanges {
    const counts: Counts = { ...noChanges };
    const pieces = (memory: Memory | undefined) => memory?.pieces(firstPage, endPage) ?? [];
    for (const pair of paired(pieces(before), pieces(after))) {
      if (pair.before === undefined) counts.added += pair.pageCount;
      else if (pair.after === undefined) counts.gone += pair.pageCount;
      else if (pair.before.block === undefined || pair.after.block === undefined) counts.unknown += pair.pageCount;
      else if (this.knownSame(pair.before, pair.after)) counts.same += pair.pageCount;
      else this.compareBytes(pair.before, pair.after, counts);
    }
    return counts;
  }

  /** Whether two pieces hold the same bytes, without reading them. */
  private knownSame(before: PagePiece, after: PagePiece): boolean {
    if (isZeroPiece(before) && isZeroPiece(after)) return true;
    if (before.skip !== after.skip || before.block === undefined || after.block === undefined) return false;
    const [a, b] = [before.block, after.block];
    if (a.codec !== b.codec || a.pageCount !== b.pageCount || a.storedBytes !== b.storedBytes) return false;
    if (a.offset === b.offset && this.inode(a) === this.inode(b)) return true;
    return !this.allBytes && a.checksum >= 0 && a.checksum === b.checksum;
  }

  /** Two directories may have one parent: then a page is in the same file for both. */
  private inode(block: BlockRef): string {
    let name = this.inodes.get(block.fd);
    if (name === undefined) {
      const { dev, ino } = fstatSync(block.fd, { bigint: true });
      name = `${dev}:${ino}`;
      this.inodes.set(block.fd, name);
    }
    return name;
  }

  private compareBytes(before: PagePiece, after: PagePiece, counts: Counts): void {
    const [a, b] = [this.left.read(before), this.right.read(after)];
    for (let at = 0; at < a.length; at += PAGE_BYTES) {
      if (a.compare(b, at, at + PAGE_BYTES, at, at + PAGE_BYTES) === 0) counts.same++;
      else counts.changed++;
    }
  }
}
