// The working set of a task: which pages its restores touched early. Merging of recordings, and the file
// workingset-PID.img. It is a hint: whoever uses it must be right whatever it says. Not for installing (src/pager).
import { closeSync, fstatSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { FaultlineError } from "../errors";
import { ADDRESS_PAGES_MAX, WORKING_SET_BYTES_MAX, WORKING_SET_PAGES_MAX, WORKING_SET_RANGES_MAX } from "../limits";
import { DirectoryChange } from "./directoryChange";
import { decodeImageOf, encodeImage } from "./framing";
import { openImageFile } from "./openFile";

export const WORKING_SET_VERSION = 1;
/** Restores that a working set tells apart; what none of them touched is forgotten. */
export const WORKING_SET_RUNS_MAX = 32;
/** Pages first touched one after the other that count as touched at the same time. */
const BUCKET_PAGES = 64;

/** Pages in a row, touched in the same runs at about the same time. */
export interface WorkingSetRange {
  readonly firstPage: number;
  readonly pageCount: number;
  /** Bit i: touched in the i-th newest run. Never 0. */
  readonly runs: number;
  /** First touched among the 64 pages number `bucket` of a run; the earliest of all runs. */
  readonly bucket: number;
}

export interface WorkingSet {
  /** 1 to 32. */
  readonly runCount: number;
  /** Touched in most runs first, then in order of first touch. No page is in two. */
  readonly ranges: readonly WorkingSetRange[];
}

export function workingSetName(pid: number): string {
  return `workingset-${pid}.img`;
}

/** Runs of a mask. */
export function runsIn(mask: number): number {
  let count = 0;
  for (let rest = mask >>> 0; rest !== 0; rest = (rest & (rest - 1)) >>> 0) count++;
  return count;
}

interface Known {
  readonly page: number;
  runs: number;
  bucket: number;
}

/**
 * The working set after one more run: `touched` are its pages in order of first touch, each once. What 32 runs in a row did
 * not touch is dropped, and what does not fit (see limits.ts) is the least useful.
 */
export function mergeWorkingSet(before: WorkingSet | undefined, touched: Iterable<number>): WorkingSet {
  const known = new Map<number, Known>();
  for (const { firstPage, pageCount, runs, bucket } of before?.ranges ?? []) {
    const aged = (runs << 1) >>> 0;
    if (aged === 0) continue;
    for (let page = firstPage; page < firstPage + pageCount; page++) known.set(page, { page, runs: aged, bucket });
  }
  let order = 0;
  for (const page of touched) {
    const bucket = Math.floor(order++ / BUCKET_PAGES);
    const entry = known.get(page);
    if (entry === undefined) known.set(page, { page, runs: 1, bucket });
    else {
      entry.runs = (entry.runs | 1) >>> 0;
      entry.bucket = Math.min(entry.bucket, bucket);
    }
  }
  const runCount = Math.min((before?.runCount ?? 0) + 1, WORKING_SET_RUNS_MAX);
  return { runCount, ranges: joined([...known.values()]) };
}

function joined(pages: Known[]): WorkingSetRange[] {
  pages.sort((a, b) => runsIn(b.runs) - runsIn(a.runs) || a.bucket - b.bucket || a.runs - b.runs || a.page - b.page);
  const ranges: { firstPage: number; pageCount: number; runs: number; bucket: number }[] = [];
  let count = 0;
  for (const { page, runs, bucket } of pages) {
    if (count++ === WORKING_SET_PAGES_MAX) break;
    const last = ranges[ranges.length - 1];
    const follows = last !== undefined && last.runs === runs && last.bucket === bucket;
    if (follows && last.firstPage + last.pageCount === page) last.pageCount++;
    else if (ranges.length === WORKING_SET_RANGES_MAX) break;
    else ranges.push({ firstPage: page, pageCount: 1, runs, bucket });
  }
  return ranges;
}

export function encodeWorkingSet(set: WorkingSet): Buffer {
  const records = set.ranges.map(({ firstPage, pageCount, runs, bucket }) => ({
    message: { first_page: BigInt(firstPage), page_count: pageCount, runs, bucket },
  }));
  return encodeImage("WORKINGSET", records, { head: { version: WORKING_SET_VERSION, run_count: set.runCount } });
}

/**
 * A working set from a file's bytes. Ranges that no address space has, that say nothing, or that are over the limits are
 * left out. Throws the errors of any image, and IMAGE_UNSUPPORTED for a version that is not known.
 */
export function decodeWorkingSet(bytes: Buffer, file: string): WorkingSet {
  const { head, records } = decodeImageOf("WORKINGSET", bytes, file);
  if (head.version !== WORKING_SET_VERSION) {
    throw new FaultlineError("IMAGE_UNSUPPORTED", `working sets of version ${head.version} are not known`, { file });
  }
  const ranges: WorkingSetRange[] = [];
  let left = WORKING_SET_PAGES_MAX;
  for (const { message } of records) {
    const firstPage = Number(message.first_page);
    const pageCount = Math.min(message.page_count, left, ADDRESS_PAGES_MAX - firstPage);
    if (pageCount <= 0 || message.runs === 0) continue;
    if (ranges.length === WORKING_SET_RANGES_MAX) break;
    ranges.push({ firstPage, pageCount, runs: message.runs, bucket: message.bucket });
    left -= pageCount;
  }
  return { runCount: Math.min(Math.max(head.run_count, 1), WORKING_SET_RUNS_MAX), ranges };
}

/** The working set of a task, or undefined where none was recorded. Throws what an image throws. */
export function readWorkingSet(directory: string, pid: number): WorkingSet | undefined {
  const file = join(directory, workingSetName(pid));
  let fd: number;
  try {
    fd = openImageFile(file);
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "IMAGE_MISSING") return undefined;
    throw error;
  }
  try {
    const { size } = fstatSync(fd);
    if (size > WORKING_SET_BYTES_MAX) {
      throw new FaultlineError("IMAGE_UNSUPPORTED", `a working set of ${size} bytes is too large`, { file });
    }
    return decodeWorkingSet(readFileSync(fd), file);
  } finally {
    closeSync(fd);
  }
}

/**
 * Merges one more run into workingset-PID.img: the whole new file appears or nothing. A damaged file is replaced.
 * Throws BUSY where the directory is being packed or another recording written, PERMISSION, SYSTEM.
 */
export function recordWorkingSet(directory: string, pid: number, touched: Iterable<number>): WorkingSet {
  const name = workingSetName(pid);
  using change = DirectoryChange.begin(directory);
  const merged = mergeWorkingSet(readOrForget(directory, pid), touched);
  change.write(name, encodeWorkingSet(merged));
  // As open or as closed as the images that it tells of.
  change.commit(name, statSync(join(directory, "inventory.img")));
  change.sync();
  return merged;
}

function readOrForget(directory: string, pid: number): WorkingSet | undefined {
  try {
    return readWorkingSet(directory, pid);
  } catch (error) {
    if (error instanceof FaultlineError) return undefined;
    throw error;
  }
}
