// The stored pages of one address space or shared object, walked block by block and read in bounded memory.
// Not for what mappings they belong to: mappings.ts.
import { BlockCodec, type BlockRef } from "../images/block";
import type { PagePiece } from "../images/pageIndex";
import { readBlock } from "../images/readBlock";
import { PAGE_BYTES } from "../limits";

/** What inspection needs of stored pages: a PageIndex, or a part of one at other addresses. */
export interface Memory {
  /** All pieces within [firstPage, endPage), in address order; pages of no piece were never touched. */
  pieces(firstPage: number, endPage: number): Iterable<PagePiece>;
}

/** Reads pieces through one buffer that is reused: what read() returns holds until the next call. */
export class PieceReader {
  private bytes = Buffer.allocUnsafe(16 * PAGE_BYTES);
  private last: BlockRef | undefined;

  /** The piece's bytes. Throws what readBlock throws; the piece must have a block. */
  read(piece: PagePiece): Buffer {
    const { block } = piece;
    if (block === undefined) throw new Error("an absent piece has no bytes");
    if (block.pageCount * PAGE_BYTES > this.bytes.length) {
      this.bytes = Buffer.allocUnsafe(block.pageCount * PAGE_BYTES);
      this.last = undefined;
    }
    if (!sameBlock(block, this.last)) {
      this.last = undefined;
      readBlock(block, this.bytes);
      this.last = block;
    }
    return this.bytes.subarray(piece.skip * PAGE_BYTES, (piece.skip + piece.pageCount) * PAGE_BYTES);
  }
}

function sameBlock(a: BlockRef, b: BlockRef | undefined): boolean {
  return b !== undefined && a.fd === b.fd && a.offset === b.offset && a.storedBytes === b.storedBytes;
}

/** Whether the piece is stored packed: only then has its block a checksum, and a stored size that says something. */
export function isPackedPiece(piece: PagePiece): boolean {
  return piece.block !== undefined && piece.block.checksum >= 0;
}

/** Whether the piece is known to be zero without reading it. */
export function isZeroPiece(piece: PagePiece): boolean {
  return piece.block?.codec === BlockCodec.Zero;
}

/**
 * Copies memory at byte `address` into `out`: stored bytes, zero where nothing is stored. Returns false where an absent
 * page is in the range (its bytes are unknown; they read as zero in `out`).
 */
export function readMemory(memory: Memory, address: number, out: Buffer): boolean {
  out.fill(0);
  const firstPage = Math.floor(address / PAGE_BYTES);
  const endPage = Math.ceil((address + out.length) / PAGE_BYTES);
  const reader = new PieceReader();
  let known = true;
  for (const piece of memory.pieces(firstPage, endPage)) {
    if (piece.block === undefined) {
      known = false;
      continue;
    }
    const bytes = reader.read(piece);
    const at = piece.firstPage * PAGE_BYTES - address;
    bytes.copy(out, Math.max(at, 0), Math.max(-at, 0));
  }
  return known;
}
