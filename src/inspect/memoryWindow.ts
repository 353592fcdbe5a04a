// The bytes around a place in memory, as far as they are known without a gap: across pages, blocks and mappings.
import { PAGE_BYTES } from "../limits";
import type { AddressSpace } from "./addressSpace";
import { PieceReader } from "./memory";

/** Known bytes around a place: `bytes` begins at `address`. */
export interface MemoryWindow {
  readonly address: number;
  readonly bytes: Buffer;
}

export class WindowReader {
  private readonly reader = new PieceReader();

  constructor(private readonly space: AddressSpace) {}

  /** Up to `context` bytes before [address, address + length) to as many after it, less what is not known. */
  around(address: number, length: number, context: number): MemoryWindow {
    const start = Math.max(0, address - context);
    const end = address + length + context;
    const bytes = Buffer.alloc(end - start);
    let [knownStart, knownEnd] = [start, start];
    for (const range of this.space.ranges(Math.floor(start / PAGE_BYTES), Math.ceil(end / PAGE_BYTES))) {
      const rangeStart = range.firstPage * PAGE_BYTES;
      const rangeEnd = rangeStart + range.pageCount * PAGE_BYTES;
      if (range.kind !== "stored" && range.kind !== "untouched") {
        if (rangeStart >= address) break;
        [knownStart, knownEnd] = [rangeEnd, rangeEnd];
        continue;
      }
      if (range.piece !== undefined) {
        const from = Math.max(0, start - rangeStart);
        this.reader.read(range.piece).copy(bytes, Math.max(0, rangeStart - start), from, end - rangeStart);
      }
      knownEnd = rangeEnd;
    }
    const from = Math.max(start, knownStart);
    return { address: from, bytes: bytes.subarray(from - start, Math.min(end, knownEnd) - start) };
  }
}
