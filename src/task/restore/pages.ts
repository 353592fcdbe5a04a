// Contents of a task's memory: what must be there before it runs is written through /proc/PID/mem, whatever the
// protection of the mapping; what may come later is described for the pager. Reads page indexes, makes no mappings.
import { closeSync, ftruncateSync, futimesSync, openSync } from "node:fs";
import { checked, FaultlineError } from "../../errors";
import type { ImageDirectory } from "../../images/directory";
import type { Timeval } from "../../images/messages";
import type { PageIndex } from "../../images/pageIndex";
import { native } from "../../native";
import type { ContextRequest, SourceName } from "../../pager/requests";
import { LAYOUT_ZERO } from "../../space/space";
import { pageSize } from "../constants";
import type { Range } from "./layout";
import type { Mapping, SpacePlan } from "./spacePlan";
import type { GhostFile } from "./treeImage";

/** Pages read and written at a time. */
const piecePages = 256;

/** Up to so many eager pages of a task are read at once and can be kept; of more, a piece at a time is in memory. */
const keptPagesMax = 1024;

/** What a task's memory holds from the start. */
export interface EagerPages {
  readonly pageCount: number;
  /** (first page, pages) of each run. */
  readonly runs: Float64Array;
  /** The bytes of all runs, one after the other; undefined where they are read when they are written. */
  readonly bytes: Buffer | undefined;
}

/** The pages of the index that lie in the mappings. */
export function collectEagerPages(index: PageIndex, mappings: readonly Mapping[]): EagerPages {
  const runs: number[] = [];
  let pageCount = 0;
  for (const mapping of mappings) {
    for (const [first, end] of runsWithin(index, mapping.start / pageSize, mapping.end / pageSize)) {
      runs.push(first, end - first);
      pageCount += end - first;
    }
  }
  const bytes = pageCount > keptPagesMax ? undefined : Buffer.allocUnsafeSlow(pageCount * pageSize);
  if (bytes !== undefined) {
    let at = 0;
    for (let run = 0; run < runs.length; run += 2) {
      const [first, count] = [runs[run] as number, runs[run + 1] as number];
      index.readPages(first, count, bytes.subarray(at, at + count * pageSize));
      at += count * pageSize;
    }
  }
  return { pageCount, runs: new Float64Array(runs), bytes };
}

/** Writes them into the task's memory. Returns how many. */
export function writePages(pid: number, index: () => PageIndex, { pageCount, runs, bytes }: EagerPages): number {
  if (pageCount === 0) return 0;
  const memory = openSync(`/proc/${pid}/mem`, "r+");
  try {
    if (bytes !== undefined) writeRuns(memory, runs, bytes, pid);
    else {
      const buffer = Buffer.allocUnsafe(piecePages * pageSize);
      for (let run = 0; run < runs.length; run += 2) {
        const end = (runs[run] as number) + (runs[run + 1] as number);
        for (let page = runs[run] as number; page < end; page += piecePages) {
          const count = Math.min(piecePages, end - page);
          index().readPages(page, count, buffer);
          writeAll(memory, page * pageSize, buffer.subarray(0, count * pageSize), pid);
        }
      }
    }
  } finally {
    closeSync(memory);
  }
  return pageCount;
}

function writeRuns(memory: number, runs: Float64Array, bytes: Buffer, pid: number): void {
  const ranges = runs.map((value) => value * pageSize);
  const done = checked(native.writeRanges(memory, ranges, bytes), "pwrite", "the task's memory cannot be written", {
    pid,
  });
  if (done !== bytes.length) throw new FaultlineError("SYSTEM", "the task's memory cannot be written", { pid });
}

/** Writes all pages of a shared object through a descriptor in which it begins at `base`. */
export function writeObject(descriptor: number, index: PageIndex, bytesMax: number, pid: number, base = 0): number {
  let written = 0;
  const buffer = Buffer.allocUnsafe(piecePages * pageSize);
  for (const [first, end] of runsWithin(index, 0, Math.ceil(bytesMax / pageSize))) {
    for (let page = first; page < end; page += piecePages) {
      const count = Math.min(piecePages, end - page);
      index.readPages(page, count, buffer);
      // A memory file may end inside its last page.
      const bytes = Math.min(count * pageSize, bytesMax - page * pageSize);
      writeAll(descriptor, base + page * pageSize, buffer.subarray(0, bytes), pid);
      written += count;
    }
  }
  return written;
}

/** Writes a deleted file's content; what no piece covers stays a hole. */
export function writeGhost(descriptor: number, ghost: GhostFile): void {
  for (const { offset, bytes } of ghost.pieces) writeAll(descriptor, offset, bytes, 0);
  if (ghost.entry.size !== undefined) ftruncateSync(descriptor, Number(ghost.entry.size));
  const { atim, mtim } = ghost.entry;
  if (atim === undefined || mtim === undefined) return;
  const seconds = (time: Timeval): number => Number(time.tv_sec) + Number(time.tv_usec) / 1e6;
  futimesSync(descriptor, seconds(atim), seconds(mtim));
}

function writeAll(descriptor: number, offset: number, bytes: Uint8Array, pid: number): void {
  for (let at = 0; at < bytes.length; ) {
    const done = native.writeAt(descriptor, offset + at, bytes.subarray(at));
    checked(done, "pwrite", "the task's memory cannot be written", { pid, address: offset + at });
    if (done === 0) throw new FaultlineError("SYSTEM", "the task's memory cannot be written", { pid, address: offset });
    at += done;
  }
}

function* runsWithin(index: PageIndex, first: number, end: number): Generator<[number, number]> {
  for (let number = index.runFrom(first); number < index.runCount; number++) {
    const run = index.run(number);
    if (run.firstPage >= end) return;
    yield [Math.max(run.firstPage, first), Math.min(run.firstPage + run.pageCount, end)];
  }
}

/** Pages that the index has for the mappings. */
export function countPages(index: PageIndex, mappings: readonly Range[]): number {
  let count = 0;
  for (const mapping of mappings) {
    for (const [first, end] of runsWithin(index, mapping.start / pageSize, mapping.end / pageSize))
      count += end - first;
  }
  return count;
}

/** The page at `address` as the image has it: its bytes, or undefined where it is zero. */
export function pageBytes(index: PageIndex, page: number): Uint8Array | undefined {
  if (index.lookup(page).kind === "none") return undefined;
  const bytes = Buffer.alloc(pageSize);
  index.readPages(page, 1, bytes);
  return bytes;
}

/**
 * What the pager serves: every lazy mapping less its guard pages, zero but for the pages that the image has, of the task
 * or of a shared object.
 */
export function lazyLayout(
  pid: number,
  plan: SpacePlan,
  images: ImageDirectory,
): Required<Pick<ContextRequest, "layout" | "sources">> {
  const entries: number[] = [];
  const sources: SourceName[] = [{ kind: "task", id: pid }];
  const shared = new Map<number, number>();
  for (const mapping of plan.mappings) {
    if (!mapping.lazy) continue;
    const shmid = Number(mapping.vma.shmid);
    const isShared = mapping.kind === "shared";
    const index = isShared ? sharedIndex(images, shmid) : images.pageIndex(pid);
    if (isShared && index !== undefined && !shared.has(shmid)) {
      shared.set(shmid, sources.length);
      sources.push({ kind: "shmem", id: shmid });
    }
    const source = isShared ? (shared.get(shmid) ?? 0) : 0;
    // Where page p of the address space is page p - shift of the source.
    const shift = isShared ? (mapping.start - Number(mapping.vma.pgoff)) / pageSize : 0;
    for (const part of withoutGuards(mapping, plan.guards)) {
      const first = part.start / pageSize;
      const end = part.end / pageSize;
      entries.push(first, end - first, LAYOUT_ZERO, 0);
      if (index === undefined) continue;
      for (const [from, to] of runsWithin(index, first - shift, end - shift)) {
        entries.push(from + shift, to - from, source, from);
      }
    }
  }
  return { layout: new Float64Array(entries), sources };
}

function sharedIndex(images: ImageDirectory, shmid: number): PageIndex | undefined {
  return images.hasShmemPages(shmid) ? images.shmemPageIndex(shmid) : undefined;
}

function withoutGuards(range: Range, guards: readonly Range[]): Range[] {
  const inside = guards.filter((guard) => guard.end > range.start && guard.start < range.end);
  inside.sort((a, b) => a.start - b.start);
  const parts: Range[] = [];
  let start = range.start;
  for (const guard of inside) {
    if (guard.start > start) parts.push({ start, end: guard.start });
    start = Math.max(start, guard.end);
  }
  if (start < range.end) parts.push({ start, end: range.end });
  return parts;
}
