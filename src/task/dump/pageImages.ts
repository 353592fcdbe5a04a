// Writes copied pages as pagemap and pages images: raw (pages-N.img) or packed (pagez-N.img). Merges neighbours, leaves
// out pages that are all zero where absence means zero.
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { writeImage } from "../../images/framing";
import type { Init } from "../../images/message";
import type { PagemapEntry } from "../../images/messages";
import { PackedPagesWriter } from "../../images/packedWriter";
import { pageSize } from "../constants";
import type { ImageRun } from "./memory";

/** pagemap_entry.flags. */
const pageFlag = { lazy: 2, present: 4 } as const;

/** Raw page files, packed ones, or packed ones that took longer to make and are smaller. */
export type Compression = "lz4" | "lz4-hc" | "none";

/** What `pack --hc` does unless told otherwise. */
const highCompressionLevel = 9;

export interface PageImageSummary {
  readonly pageCount: number;
  readonly lazyPageCount: number;
  readonly zeroPageCount: number;
  /** Bytes of the pages file. */
  readonly fileBytes: number;
}

const zeroPage = Buffer.alloc(pageSize);

function isZero(page: Uint8Array): boolean {
  // The first word tells most pages apart without a call.
  return page[0] === 0 && page[8] === 0 && page[64] === 0 && zeroPage.equals(page);
}

/** Splits runs at zero pages that may be absent. */
export function* withoutZeroPages(runs: readonly ImageRun[]): Generator<ImageRun> {
  for (const run of runs) {
    if (!run.zeroIsAbsent) {
      yield run;
      continue;
    }
    let start = 0;
    for (let page = 0; page <= run.pageCount; page++) {
      const ends = page === run.pageCount || isZero(run.bytes.subarray(page * pageSize, (page + 1) * pageSize));
      if (!ends) continue;
      if (page > start) yield slice(run, start, page);
      start = page + 1;
    }
  }
}

function slice(run: ImageRun, from: number, to: number): ImageRun {
  return {
    ...run,
    address: run.address + from * pageSize,
    pageCount: to - from,
    bytes: run.bytes.subarray(from * pageSize, to * pageSize),
  };
}

/** Runs that continue each other in the address space with the same flags: one pagemap entry. */
export interface PageEntry {
  readonly address: number;
  readonly lazy: boolean;
  readonly pieces: readonly Uint8Array[];
}

interface GrowingEntry extends PageEntry {
  readonly pieces: Uint8Array[];
  bytes: number;
}

export function* mergeRuns(runs: Iterable<ImageRun>): Generator<PageEntry> {
  let last: GrowingEntry | undefined;
  for (const run of runs) {
    if (last !== undefined && last.address + last.bytes === run.address && last.lazy === run.lazy) {
      last.pieces.push(run.bytes);
      last.bytes += run.bytes.length;
      continue;
    }
    if (last !== undefined) yield last;
    last = { address: run.address, lazy: run.lazy, bytes: run.bytes.length, pieces: [run.bytes] };
  }
  if (last !== undefined) yield last;
}

function pagemapEntry(entry: PageEntry): Init<PagemapEntry> {
  const pages = entry.pieces.reduce((sum, piece) => sum + piece.length / pageSize, 0);
  return {
    vaddr: BigInt(entry.address),
    compat_nr_pages: pages,
    flags: entry.lazy ? pageFlag.lazy | pageFlag.present : pageFlag.present,
    nr_pages: BigInt(pages),
  };
}

/**
 * Writes one pages file into `directory` and the pagemap image (`name`) that tells of it. `check` is called between entries.
 * The first pages are on their way before the last are looked at.
 */
export async function writePageImages(
  directory: string,
  name: string,
  pagesId: number,
  runs: readonly ImageRun[],
  compression: Compression,
  check: () => void,
): Promise<PageImageSummary> {
  const records: Init<PagemapEntry>[] = [];
  function* entries(): Generator<PageEntry> {
    for (const entry of mergeRuns(withoutZeroPages(runs))) {
      check();
      records.push(pagemapEntry(entry));
      yield entry;
    }
    writeImage(directory, name, "PAGEMAP", records, { head: { pages_id: pagesId } });
  }
  const fileBytes =
    compression === "none"
      ? await writeRaw(join(directory, `pages-${pagesId}.img`), entries())
      : await writePacked(join(directory, `pagez-${pagesId}.img`), entries(), compression);
  const count = (list: readonly Init<PagemapEntry>[]): number =>
    list.reduce((sum, record) => sum + (record.compat_nr_pages ?? 0), 0);
  const pageCount = count(records);
  return {
    pageCount,
    lazyPageCount: count(records.filter((record) => ((record.flags ?? 0) & pageFlag.lazy) !== 0)),
    zeroPageCount: runs.reduce((sum, run) => sum + run.pageCount, 0) - pageCount,
    fileBytes,
  };
}

async function writeRaw(path: string, entries: Iterable<PageEntry>): Promise<number> {
  const handle: FileHandle = await open(path, "wx", 0o600);
  try {
    let offset = 0;
    for (const { pieces } of entries) {
      for (const piece of pieces) {
        for (let done = 0; done < piece.length; ) {
          const { bytesWritten } = await handle.write(piece, done, piece.length - done, offset);
          done += bytesWritten;
          offset += bytesWritten;
        }
      }
    }
    await handle.sync();
    return offset;
  } finally {
    await handle.close();
  }
}

async function writePacked(path: string, entries: Iterable<PageEntry>, compression: "lz4" | "lz4-hc"): Promise<number> {
  const writer = await PackedPagesWriter.create(path, { level: compression === "lz4" ? 0 : highCompressionLevel });
  try {
    for (const { pieces } of entries) await addEntry(writer, pieces);
    return (await writer.finish()).fileBytes;
  } catch (error) {
    await writer.abort().catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}

/** The copied pages stay until the dump is over: they are packed from where they are. */
async function addEntry(writer: PackedPagesWriter, pieces: readonly Uint8Array[]): Promise<void> {
  const whole = joined(pieces);
  await writer.addSteadyRun(whole, whole.length / pageSize);
}

/** Pieces that follow each other in memory as one view; others are copied together. */
function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const first = pieces[0]!;
  if (pieces.length === 1) return first;
  let end = first.byteOffset;
  for (const piece of pieces) {
    if (piece.buffer !== first.buffer || piece.byteOffset !== end) return Buffer.concat(pieces);
    end += piece.length;
  }
  return new Uint8Array(first.buffer, first.byteOffset, end - first.byteOffset);
}
