// Writes a task of a checkpoint as an ELF core file for debuggers. Streams the memory; a page of zeros becomes a hole.
// Not for the format: elfCore.ts.

import { ftruncateSync, writeSync } from "node:fs";
import { FaultlineError } from "../errors";
import type { TaskNode } from "../images/directory";
import { type CoreEntry, type MmEntry, UserX86RegsMode, type VmaEntry } from "../images/messages";
import { vmaStatus } from "../images/vmaStatus";
import { PAGE_BYTES } from "../limits";
import type { Checkpoint } from "./checkpoint";
import { type CoreFileMapping, type CoreProcess, type CoreSegment, coreHead } from "./elfCore";
import { describeVma, stackPointers, storedPages } from "./mappings";
import { isZeroPiece, type Memory, PieceReader } from "./memory";
import { threadRegisters } from "./registers";
import { commandLine } from "./tasks";
import { executable, isFileBacked, readable, writable } from "./vma";
import { writeAside } from "./writeAside";

export interface CoreSummary {
  readonly file: string;
  readonly threads: number;
  readonly segments: number;
  /** The file's length, and the bytes of it that are not holes. */
  readonly fileBytes: number;
  readonly writtenBytes: number;
  /** Pages that the image says exist but has no bytes for (left at the source by a lazy dump): not in the core. */
  readonly absentPages: number;
}

/** Untouched anonymous memory shorter than this is written as a hole of its segment; longer makes segments of its own. */
const gapPagesMax = 256;

interface PlannedSegment extends CoreSegment {
  readonly source: Memory;
}

/** Writes `file` (whole, or not at all). Throws NOT_FOUND, SYSTEM, and what reading the image throws. */
export function writeCoreFile(checkpoint: Checkpoint, pid: number, file: string): CoreSummary {
  const mm = checkpoint.mm(pid);
  const memory = checkpoint.memory(pid);
  if (mm === undefined) {
    throw new FaultlineError("NOT_FOUND", "a dead task has no memory to write", { file: checkpoint.path, pid });
  }
  if (checkpoint.core(pid).thread_info?.gpregs.mode === UserX86RegsMode.COMPAT) {
    throw new FaultlineError("IMAGE_UNSUPPORTED", "core files of 32-bit tasks are not written", {
      file: checkpoint.path,
      pid,
    });
  }
  const threads = threadRegisters(checkpoint, pid);
  const { segments, absentPages } = planSegments(checkpoint, mm, memory);
  const head = coreHead(
    processOf(checkpoint.task(pid), checkpoint.core(pid), mm, memory),
    threads,
    fileMappings(checkpoint, mm, pid),
    segments,
  );
  const writtenBytes = writeAside(file, (fd) => {
    ftruncateSync(fd, head.fileBytes);
    writeAll(fd, head.bytes, 0);
    let written = head.bytes.length;
    segments.forEach((segment, index) => {
      if (segment.stored) written += writeSegment(fd, segment, head.offsets[index]!);
    });
    return written;
  });
  return {
    file,
    threads: threads.length,
    segments: segments.length,
    fileBytes: head.fileBytes,
    writtenBytes,
    absentPages,
  };
}

function processOf(node: TaskNode, core: CoreEntry, mm: MmEntry, memory: Memory): CoreProcess {
  return {
    pid: node.pid,
    parentPid: node.ppid,
    processGroup: node.pgid,
    session: node.sid,
    userId: core.thread_core?.creds?.uid ?? 0,
    groupId: core.thread_core?.creds?.gid ?? 0,
    nice: core.thread_core?.sched_nice ?? 0,
    flags: core.tc?.flags ?? 0,
    command: core.tc?.comm ?? "?",
    commandLine: commandLine(mm, memory).join(" "),
    auxiliaryVector: mm.mm_saved_auxv,
  };
}

function fileMappings(checkpoint: Checkpoint, mm: MmEntry, pid: number): CoreFileMapping[] {
  const stacks = stackPointers(checkpoint, pid);
  return mm.vmas.filter(isFileBacked).map((vma) => {
    const { start, offset, name, pageCount } = describeVma(checkpoint, mm, vma, stacks);
    return { firstPage: start / PAGE_BYTES, pageCount, filePage: Math.floor(offset / PAGE_BYTES), path: name };
  });
}

/** Mappings that a core never holds: the kernel's own, and guard ranges, which are parts of other mappings. */
const leftOut = vmaStatus.vsyscall | vmaStatus.vvar | vmaStatus.guard;

function planSegments(checkpoint: Checkpoint, mm: MmEntry, memory: Memory) {
  const segments: PlannedSegment[] = [];
  let absentPages = 0;
  for (const vma of mm.vmas) {
    if ((vma.status & leftOut) !== 0) continue;
    const planned = segmentsOf(vma, storedPages(checkpoint, memory, vma));
    segments.push(...planned.segments);
    absentPages += planned.absentPages;
  }
  return { segments, absentPages };
}

/**
 * Cuts a mapping into stored and unstored segments. Unstored file pages are for the debugger to read from the file;
 * unstored anonymous pages read as zero. Absent pages are in no segment, so that nobody takes them for zeros.
 */
function segmentsOf(vma: VmaEntry, source: Memory): { segments: PlannedSegment[]; absentPages: number } {
  const segments: PlannedSegment[] = [];
  const rights = { readable: readable(vma), writable: writable(vma), executable: executable(vma), source };
  const firstPage = Number(vma.start) / PAGE_BYTES;
  const endPage = Number(vma.end) / PAGE_BYTES;
  const fromFile = isFileBacked(vma) && (vma.status & vmaStatus.memfd) === 0;
  const gapMax = fromFile ? 0 : gapPagesMax;
  let absentPages = 0;
  // What is decided so far ends at `page`; [storedFrom, page) is a stored segment that may still grow.
  let page = firstPage;
  let storedFrom = firstPage;
  const closeStored = () => {
    if (page > storedFrom)
      segments.push({ ...rights, firstPage: storedFrom, pageCount: page - storedFrom, stored: true });
  };
  const skipTo = (next: number) => {
    closeStored();
    if (next > page) segments.push({ ...rights, firstPage: page, pageCount: next - page, stored: false });
    page = next;
    storedFrom = next;
  };
  for (const piece of source.pieces(firstPage, endPage)) {
    const growing = page > storedFrom;
    if (piece.firstPage - page > (growing ? gapMax : 0)) skipTo(piece.firstPage);
    page = piece.firstPage;
    if (piece.block === undefined) {
      skipTo(page);
      page += piece.pageCount;
      storedFrom = page;
      absentPages += piece.pageCount;
    } else page += piece.pageCount;
  }
  skipTo(endPage);
  return { segments, absentPages };
}

const zeroPage = Buffer.alloc(PAGE_BYTES);

/** Writes a segment's pages that are not zero at their place; returns the bytes written. */
function writeSegment(fd: number, segment: PlannedSegment, offset: number): number {
  const reader = new PieceReader();
  let written = 0;
  for (const piece of segment.source.pieces(segment.firstPage, segment.firstPage + segment.pageCount)) {
    if (isZeroPiece(piece)) continue;
    const bytes = reader.read(piece);
    const at = offset + (piece.firstPage - segment.firstPage) * PAGE_BYTES;
    for (let start = 0; start < bytes.length; ) {
      let end = start;
      while (end < bytes.length && bytes.compare(zeroPage, 0, PAGE_BYTES, end, end + PAGE_BYTES) !== 0)
        end += PAGE_BYTES;
      if (end > start) writeAll(fd, bytes.subarray(start, end), at + start);
      written += end - start;
      start = end + PAGE_BYTES;
    }
  }
  return written;
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}
