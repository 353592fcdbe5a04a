// A pagemap image as typed arrays, 29 bytes per run: decoded by hand because a general decoder makes an object of each of
// a million runs. The rules are CRIU's: docs/images.md, "Pagemaps". Not for finding the bytes of a page (pageIndex.ts).
import { FaultlineError } from "../errors";
import { ADDRESS_PAGES_MAX, PAGE_BYTES } from "../limits";
import { readMagic } from "./framing";
import { decodeMessage, unknownFields } from "./message";
import type { PagemapEntry } from "./messages";

/** The bits of a run's flags. */
export const PageFlag = {
  /** The bytes are in the parent image. */
  Parent: 1,
  /** A restore may serve the pages later. */
  Lazy: 2,
  /** The bytes are in this image's pages file. */
  Present: 4,
} as const;

const knownFlags = PageFlag.Parent | PageFlag.Lazy | PageFlag.Present;

/** Runs in address order; run i has pages [starts[i], starts[i] + counts[i]). */
export interface Pagemap {
  readonly file: string;
  /** N of pages-N.img or pagez-N.img. */
  readonly pagesId: number;
  readonly runCount: number;
  /** First page number of each run. */
  readonly starts: Float64Array;
  readonly counts: Float64Array;
  readonly flags: Uint8Array;
  /** Where a present run begins in the pages file, pages; runs that are not present take no room. */
  readonly filePages: Float64Array;
  /** Pages that the pages file holds. */
  readonly presentPages: number;
  /** Pages of all runs. */
  readonly pageCount: number;
}

/**
 * Decodes a pagemap image.
 * Throws IMAGE_CORRUPT where runs overlap, go back or leave the address space, IMAGE_UNSUPPORTED for fields or flags of a
 * newer CRIU (they change where bytes lie), IMAGE_TRUNCATED.
 */
export function decodePagemap(buffer: Buffer, file: string): Pagemap {
  const { kind, start } = readMagic(buffer, file);
  if (kind !== "PAGEMAP") {
    throw new FaultlineError("IMAGE_CORRUPT", `a ${kind} image where PAGEMAP is expected`, { file, offset: 0 });
  }
  const recordCount = countRecords(buffer, file, start);
  if (recordCount === 0) {
    throw new FaultlineError("IMAGE_TRUNCATED", "a pagemap without its first record", { file, offset: start });
  }
  const headEnd = start + 4 + buffer.readUInt32LE(start);
  const head = decodeMessage("pagemap_head", buffer, { file, record: 0 }, start + 4, headEnd);
  return new PagemapReader(buffer, file, head.pages_id, recordCount - 1).read(headEnd);
}

/** Walks the lengths, so that the arrays can be made exactly as large as needed. */
function countRecords(buffer: Buffer, file: string, start: number): number {
  let count = 0;
  let at = start;
  while (at < buffer.length) {
    const left = buffer.length - at - 4;
    if (left < 0 || buffer.readUInt32LE(at) > left) {
      throw new FaultlineError("IMAGE_TRUNCATED", "a pagemap ends inside a record", {
        file,
        record: count,
        offset: at,
      });
    }
    at += 4 + buffer.readUInt32LE(at);
    count += 1;
  }
  return count;
}

class PagemapReader {
  private readonly starts: Float64Array;
  private readonly counts: Float64Array;
  private readonly flags: Uint8Array;
  private readonly filePages: Float64Array;
  private runCount = 0;
  private presentPages = 0;
  private pageCount = 0;
  private lastEnd = 0;

  // The entry being read: an address as two words, and what its optional fields said.
  private addressLow = 0;
  private addressHigh = 0;
  private pages = 0;
  private entryFlags = 0;

  // The varint read last.
  private low = 0;
  private high = 0;

  constructor(
    private readonly buffer: Buffer,
    private readonly file: string,
    private readonly pagesId: number,
    entries: number,
  ) {
    this.starts = new Float64Array(entries);
    this.counts = new Float64Array(entries);
    this.flags = new Uint8Array(entries);
    this.filePages = new Float64Array(entries);
  }

  read(start: number): Pagemap {
    const { buffer } = this;
    let record = 1;
    for (let at = start; at < buffer.length; record++) {
      const end = at + 4 + buffer.readUInt32LE(at);
      if (!this.usualEntry(at + 4, end)) this.unusualEntry(at + 4, end, record);
      this.addRun(at, record);
      at = end;
    }
    const { file, pagesId, runCount, presentPages, pageCount } = this;
    const cut = <T extends Float64Array | Uint8Array>(array: T) => array.subarray(0, runCount) as T;
    return {
      file,
      pagesId,
      runCount,
      starts: cut(this.starts),
      counts: cut(this.counts),
      flags: cut(this.flags),
      filePages: cut(this.filePages),
      presentPages,
      pageCount,
    };
  }

  /** Reads an entry that CRIU wrote: known fields, each once. False for anything else, which the general codec then judges. */
  private usualEntry(start: number, end: number): boolean {
    const { buffer } = this;
    let seen = 0;
    let compatPages = 0;
    let parent = false;
    for (let at = start; at < end; ) {
      const tag = buffer[at]!;
      at = this.varint(at + 1, end);
      if (at < 0) return false;
      const bit = 1 << (tag >>> 3);
      if ((seen & bit) !== 0 || (tag & 7) !== 0) return false;
      seen |= bit;
      if (tag === 0x08) {
        this.addressLow = this.low;
        this.addressHigh = this.high;
      } else if (tag === 0x10) compatPages = this.low;
      else if (tag === 0x18) parent = this.low !== 0 || this.high !== 0;
      else if (tag === 0x20) this.entryFlags = this.low;
      else if (tag === 0x28) this.pages = this.high * 0x1_0000_0000 + this.low;
      else return false;
    }
    if ((seen & 0b110) !== 0b110) return false;
    if ((seen & 0b10_0000) === 0) this.pages = compatPages;
    if (parent) this.entryFlags = PageFlag.Parent;
    else if ((seen & 0b1_0000) === 0) this.entryFlags = PageFlag.Present;
    return true;
  }

  private unusualEntry(start: number, end: number, record: number): void {
    const { buffer, file } = this;
    const entry: PagemapEntry = decodeMessage("pagemap_entry", buffer, { file, record }, start, end);
    const unknown = entry[unknownFields]?.[0];
    if (unknown !== undefined) {
      throw new FaultlineError(
        "IMAGE_UNSUPPORTED",
        `a pagemap with field ${unknown.number}, which may move its bytes`,
        {
          file,
          record,
          offset: start,
          advice: "this image is of a newer CRIU; dump again without compression",
        },
      );
    }
    this.addressLow = Number(entry.vaddr & 0xffff_ffffn);
    this.addressHigh = Number(entry.vaddr >> 32n);
    this.pages = entry.nr_pages === undefined ? entry.compat_nr_pages : Number(entry.nr_pages);
    if (entry.in_parent === true) this.entryFlags = PageFlag.Parent;
    else this.entryFlags = entry.flags ?? PageFlag.Present;
  }

  private addRun(offset: number, record: number): void {
    const { file, pages, entryFlags } = this;
    const corrupt = (what: string) => {
      const address = (BigInt(this.addressHigh) << 32n) | BigInt(this.addressLow);
      return new FaultlineError("IMAGE_CORRUPT", `a pagemap run ${what}`, { file, record, offset, address });
    };
    if ((this.addressLow & (PAGE_BYTES - 1)) !== 0) throw corrupt("that does not begin at a page");
    const start = this.addressHigh * 0x10_0000 + (this.addressLow >>> 12);
    // Old readers saw runs of no pages in images of newer CRIUs; they say nothing.
    if (pages === 0) return;
    if (start < this.lastEnd) throw corrupt("that overlaps or precedes the one before it");
    if (start + pages > ADDRESS_PAGES_MAX) throw corrupt("that leaves the address space");
    if ((entryFlags & ~knownFlags) !== 0) {
      throw new FaultlineError("IMAGE_UNSUPPORTED", `a pagemap run with flags 0x${entryFlags.toString(16)}`, {
        file,
        record,
        offset,
        advice: "this image is of a newer CRIU",
      });
    }
    const both = PageFlag.Present | PageFlag.Parent;
    if ((entryFlags & both) === both) throw corrupt("that is both here and in the parent");
    const run = this.runCount;
    this.starts[run] = start;
    this.counts[run] = pages;
    this.flags[run] = entryFlags;
    this.filePages[run] = this.presentPages;
    if ((entryFlags & PageFlag.Present) !== 0) this.presentPages += pages;
    this.pageCount += pages;
    this.lastEnd = start + pages;
    this.runCount = run + 1;
  }

  /** Reads a varint into low and high and returns where it ends, or -1 where it is not whole or too long. */
  private varint(start: number, end: number): number {
    const { buffer } = this;
    let low = 0;
    let high = 0;
    let at = start;
    for (let shift = 0; shift < 63; shift += 7) {
      if (at >= end) return -1;
      const byte = buffer[at]!;
      at += 1;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return at;
      }
    }
    return -1;
  }
}
