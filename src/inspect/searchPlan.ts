// Cuts the stored pages of an address space into chunks that are decoded and searched at once. Pages known to be zero
// cost nothing: of a long stretch only the page at either end is looked at, since a match may reach into it.
// Not for what a match is: searchMatch.ts.
import { BlockCodec, type BlockRef } from "../images/block";
import type { PagePiece } from "../images/pageIndex";
import { BLOCK_PAGES_MAX, PAGE_BYTES } from "../limits";
import { native } from "../native";
import type { Memory } from "./memory";

/** Pages decoded by one native call, 4 MiB: room for any block, long enough to hide its cost, short enough to give hits soon. */
export const CHUNK_PAGES = BLOCK_PAGES_MAX;
/** Zero pieces joined before what was found so far is handed on: walking 100 GiB of them takes seconds. */
const JOINED_PIECES_MAX = 16_384;

/** Pages of a chunk whose addresses follow each other, in bytes of the chunk. */
export interface ChunkSpan {
  readonly offset: number;
  readonly length: number;
  /** Address of the first byte. */
  readonly address: number;
  /** Whether it goes on where the span before it ended, in the chunk before. */
  readonly follows: boolean;
}

/** A piece of work for native.searchBlocks. */
export interface Chunk {
  readonly plan: Float64Array;
  readonly blocks: readonly BlockRef[];
  readonly spans: readonly ChunkSpan[];
  readonly byteCount: number;
}

export interface PlanCounts {
  /** Pages looked at or known to be zero. */
  pages: number;
  zeroPages: number;
  absentPages: number;
}

class ChunkBuilder {
  private numbers: number[] = [];
  private blocks: BlockRef[] = [];
  private spans: { offset: number; length: number; address: number; follows: boolean }[] = [];
  private pageCount = 0;
  private nextPage = -1;

  get room(): number {
    return CHUNK_PAGES - this.pageCount;
  }

  /** Adds pages [skip, skip + count) of a block at page `page`. There must be room. */
  add(block: BlockRef, page: number, skip: number, count: number): void {
    const follows = page === this.nextPage;
    const last = this.spans.at(-1);
    if (follows && last !== undefined) last.length += count * PAGE_BYTES;
    else {
      const offset = this.pageCount * PAGE_BYTES;
      this.spans.push({ offset, length: count * PAGE_BYTES, address: page * PAGE_BYTES, follows });
    }
    const { fd, codec, offset, storedBytes, checksum, pageCount } = block;
    this.numbers.push(fd, codec, offset, storedBytes, checksum, pageCount, skip, count, follows ? 1 : 0);
    this.blocks.push(block);
    this.pageCount += count;
    this.nextPage = page + count;
  }

  /** What was added since the last call; undefined where that is nothing. */
  take(): Chunk | undefined {
    if (this.blocks.length === 0) return undefined;
    const chunk = {
      plan: Float64Array.from(this.numbers),
      blocks: this.blocks,
      spans: this.spans,
      byteCount: this.pageCount * PAGE_BYTES,
    };
    this.numbers = [];
    this.blocks = [];
    this.spans = [];
    this.pageCount = 0;
    return chunk;
  }
}

/** Where the data and the holes of raw pages files are: lseek(2). */
class Holes {
  private fd = -1;
  private start = 0;
  private end = 0;
  private isHole = false;

  /** Whether all of [offset, offset + length) is a hole, and so zero. */
  covers(fd: number, offset: number, length: number): boolean {
    if (fd !== this.fd || offset < this.start || offset >= this.end) this.look(fd, offset);
    return this.isHole && offset + length <= this.end;
  }

  private look(fd: number, offset: number): void {
    const data = native.seekExtent(fd, offset, 0);
    this.fd = fd;
    this.start = offset;
    this.isHole = data !== offset && (data > 0 || data === -ENXIO);
    // An error of any other kind makes the rest of the file data, to be read.
    const end = this.isHole ? data : native.seekExtent(fd, offset, 1);
    this.end = end > offset ? end : Number.POSITIVE_INFINITY;
  }
}

const ENXIO = 6;

/** The chunks of pages [firstPage, endPage) of `memory`, in address order. Counts into `counts` as it goes. */
export function* planChunks(
  memory: Memory,
  firstPage: number,
  endPage: number,
  counts: PlanCounts,
): Generator<Chunk, void> {
  const builder = new ChunkBuilder();
  for (const part of joinZeros(memory.pieces(firstPage, endPage))) {
    counts.pages += part.pageCount;
    if (part.block === undefined) {
      counts.absentPages += part.pageCount;
      continue;
    }
    const { block, pageCount } = part;
    const isZero = block.codec === BlockCodec.Zero;
    if (isZero) counts.zeroPages += pageCount;
    if (builder.room < Math.min(pageCount, isZero ? 2 : BLOCK_PAGES_MAX)) {
      const full = builder.take();
      if (full !== undefined) yield full;
    }
    if (!isZero || pageCount <= 2) builder.add(block, part.firstPage, part.skip, pageCount);
    else {
      builder.add(block, part.firstPage, 0, 1);
      builder.add(block, part.firstPage + pageCount - 1, 0, 1);
      const found = pageCount >= CHUNK_PAGES ? builder.take() : undefined;
      if (found !== undefined) yield found;
    }
  }
  const rest = builder.take();
  if (rest !== undefined) yield rest;
}

type Part = Pick<PagePiece, "firstPage" | "pageCount" | "block" | "skip">;

/** The pieces with neighbouring zero ones as one, holes in raw files being zero too. */
function* joinZeros(pieces: Iterable<PagePiece>): Generator<Part> {
  const holes = new Holes();
  let zero: { firstPage: number; pageCount: number; block: BlockRef; skip: number } | undefined;
  let joined = 0;
  for (const piece of pieces) {
    if (piece.block === undefined || !isZero(piece, piece.block, holes)) {
      if (zero !== undefined) yield zero;
      zero = undefined;
      yield piece;
      continue;
    }
    const adjoins = zero !== undefined && zero.firstPage + zero.pageCount === piece.firstPage;
    if (zero !== undefined && adjoins && joined++ < JOINED_PIECES_MAX) {
      zero.pageCount += piece.pageCount;
      continue;
    }
    if (zero !== undefined) yield zero;
    joined = 0;
    const block = { ...piece.block, codec: BlockCodec.Zero, storedBytes: 0, checksum: -1 };
    zero = { firstPage: piece.firstPage, pageCount: piece.pageCount, block, skip: 0 };
  }
  if (zero !== undefined) yield zero;
}

function isZero(piece: PagePiece, block: BlockRef, holes: Holes): boolean {
  if (block.codec === BlockCodec.Zero) return true;
  if (block.codec !== BlockCodec.Raw || block.checksum >= 0) return false;
  return holes.covers(block.fd, block.offset + piece.skip * PAGE_BYTES, piece.pageCount * PAGE_BYTES);
}
