// Reads packed page files, pagez-N.img: opens one in one seek and answers its blocks and pages. Trusts nothing in it.
// Writing is in packedWriter.ts; the bytes of index and trailer in packedIndex.ts; the format in docs/packed.md.
import { closeSync, fstatSync, readSync } from "node:fs";
import { FaultlineError } from "../errors";
import { PACKED_INDEX_BYTES_MAX, PAGE_BYTES } from "../limits";
import { native } from "../native";
import { BlockCodec, type BlockRef } from "./block";
import { openImageFile } from "./openFile";
import { decodeIndex, decodeTrailer, type PackedIndex, TRAILER_BYTES } from "./packedIndex";
import { readBlock } from "./readBlock";

/** An open packed page file. Owns its descriptor. */
export class PackedPagesReader implements Disposable {
  private constructor(
    readonly file: string,
    readonly fd: number,
    readonly index: PackedIndex,
  ) {}

  /**
   * Opens `file` and checks its whole index (not the blocks), or takes the one that was decoded before. Throws a
   * FaultlineError about the file.
   */
  static open(file: string, index?: PackedIndex): PackedPagesReader {
    const fd = openImageFile(file);
    try {
      return new PackedPagesReader(file, fd, index ?? readIndex(fd, file));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Blocks in the file, in page order. */
  get blockCount(): number {
    return this.index.blockCount;
  }

  /** Whole pages in the raw file. */
  get pageCount(): number {
    return this.index.pageCount;
  }

  /** The block that holds image page `page` (0 to pageCount - 1). O(log n). */
  blockOfPage(page: number): number {
    const { firstPages, blockCount } = this.index;
    if (!(page >= 0 && page < this.index.pageCount)) throw new RangeError(`image page ${page} of ${this.file}`);
    let low = 0;
    let high = blockCount;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (firstPages[middle]! <= page) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Image page that block `block` begins with. */
  firstPage(block: number): number {
    return this.index.firstPages[block]!;
  }

  /** Where and how block `block` (0 to blockCount - 1) is stored. */
  block(block: number): BlockRef {
    const { offsets, firstPages, checksums, blockCount, places } = this.index;
    if (!(block >= 0 && block < blockCount)) throw new RangeError(`block ${block} of ${this.file}`);
    const place = places === undefined ? block : places[block]!;
    const offset = offsets[place]!;
    const storedBytes = offsets[place + 1]! - offset;
    const pageCount = firstPages[block + 1]! - firstPages[block]!;
    const codec =
      storedBytes === 0 ? BlockCodec.Zero : storedBytes === pageCount * PAGE_BYTES ? BlockCodec.Raw : BlockCodec.Lz4;
    return { fd: this.fd, file: this.file, codec, offset, storedBytes, pageCount, checksum: checksums[place]! };
  }

  /** Decodes pages [page, page + pageCount) into the start of `out`. Throws where a block is damaged. */
  readPages(page: number, pageCount: number, out: Uint8Array): void {
    if (!(page >= 0 && page + pageCount <= this.pageCount)) throw new RangeError(`image page ${page} of ${this.file}`);
    const end = page + pageCount;
    for (let block = pageCount > 0 ? this.blockOfPage(page) : this.blockCount; page < end; block++) {
      const ref = this.block(block);
      const skip = page - this.firstPage(block);
      const wanted = Math.min(ref.pageCount - skip, end - page);
      const target = out.subarray((page + pageCount - end) * PAGE_BYTES);
      if (wanted === ref.pageCount) readBlock(ref, target);
      else {
        const whole = Buffer.allocUnsafe(ref.pageCount * PAGE_BYTES);
        readBlock(ref, whole);
        target.set(whole.subarray(skip * PAGE_BYTES, (skip + wanted) * PAGE_BYTES));
      }
      page += wanted;
    }
  }

  close(): void {
    closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function readIndex(fd: number, file: string): PackedIndex {
  const fileBytes = fstatSync(fd).size;
  const trailerBytes = Buffer.alloc(TRAILER_BYTES);
  if (fileBytes >= TRAILER_BYTES) readAt(fd, trailerBytes, fileBytes - TRAILER_BYTES, file);
  const trailer = decodeTrailer(trailerBytes, fileBytes, file);
  if (trailer.indexBytes > PACKED_INDEX_BYTES_MAX) {
    throw new FaultlineError("IMAGE_UNSUPPORTED", "the index is larger than this version reads", { file });
  }
  const bytes = Buffer.allocUnsafe(trailer.indexBytes);
  readAt(fd, bytes, trailer.indexOffset, file);
  if (native.xxh32(bytes, 0, bytes.length) !== trailer.indexChecksum) {
    throw new FaultlineError("IMAGE_CORRUPT", "the index's checksum is wrong", { file, offset: trailer.indexOffset });
  }
  return decodeIndex(bytes, trailer, file);
}

function readAt(fd: number, into: Buffer, offset: number, file: string): void {
  let done = 0;
  while (done < into.length) {
    const got = readSync(fd, into, done, into.length - done, offset + done);
    if (got === 0) throw new FaultlineError("IMAGE_TRUNCATED", "the file shrank while it was read", { file, offset });
    done += got;
  }
}
