// The part of verify that looks at memory: mappings in order, runs inside mappings, pages files as long as their pagemaps
// say, parents that have what is asked of them, blocks that decode.

import { statSync } from "node:fs";
import { join } from "node:path";
import { BLOCK_PAGES_MAX, PAGE_BYTES } from "../limits";
import type { ImageDirectory } from "./directory";
import type { Findings } from "./finding";
import { imageName } from "./formats";
import type { VmaEntry } from "./messages";
import { PackedPagesReader } from "./packed";
import type { PageIndex } from "./pageIndex";
import { PageFlag } from "./pagemap";
import { readBlock } from "./readBlock";
import { verifyForCriu } from "./verifyForCriu";
import { vmaStatus } from "./vmaStatus";

/** Bits of vma_entry.status. */
const FILE_MAPPING = (1 << 6) | (1 << 7);
const ANON_SHARED = 1 << 8;
const MEMFD = 1 << 14;
const SYSV_IPC = 1 << 10;

/** Adds what is wrong with the memory in `directory` to `findings`; returns the number of pages read. */
export function verifyMemory(directory: ImageDirectory, findings: Findings): number {
  const owners = new Map<number, string>();
  for (const name of directory.names()) {
    if (imageName(name)?.kind !== "PAGEMAP") continue;
    findings.attempt(name, () => verifyPagemap(directory, name, owners, findings));
  }
  findings.attempt("pstree.img", () => {
    for (const task of directory.tasks) {
      if (task.dead || directory.memoryOwner(task.pid) !== task.pid) continue;
      findings.attempt(`mm-${task.pid}.img`, () => verifyMappings(directory, task.pid, findings));
    }
  });
  findings.attempt("memfd.img", () => verifyMemoryFiles(directory, findings));
  verifyForCriu(directory, findings);
  return verifyPackedFiles(directory, findings);
}

function indexOf(directory: ImageDirectory, name: string): PageIndex {
  const shmem = name.startsWith("pagemap-shmem-");
  const id = imageName(name)!.id!;
  return shmem ? directory.shmemPageIndex(id) : directory.pageIndex(id);
}

function verifyPagemap(directory: ImageDirectory, name: string, owners: Map<number, string>, findings: Findings): void {
  const index = indexOf(directory, name);
  const other = owners.get(index.pagesId);
  if (other !== undefined)
    findings.add({ file: name, record: 0 }, `its pages file ${index.pagesId} is also that of ${other}`);
  owners.set(index.pagesId, name);
  if (index.presentPages > 0) verifyPagesLength(directory, index, name, findings);
  for (let run = 0; run < index.runCount; run++) {
    const { firstPage, pageCount, flags } = index.run(run);
    if ((flags & PageFlag.Parent) === 0) continue;
    findings.attempt(name, () => {
      for (const piece of index.pieces(firstPage, firstPage + pageCount)) void piece;
    });
  }
}

function verifyPagesLength(directory: ImageDirectory, index: PageIndex, name: string, findings: Findings): void {
  const raw = `pages-${index.pagesId}.img`;
  const packed = `pagez-${index.pagesId}.img`;
  if (directory.has(packed)) {
    using reader = PackedPagesReader.open(join(directory.path, packed));
    if (reader.pageCount !== index.presentPages) {
      findings.add({ file: packed }, `it holds ${reader.pageCount} pages where ${name} has ${index.presentPages}`);
    }
    const tail = reader.index.tail.length;
    if (tail > 0)
      findings.add({ file: packed }, `it was packed from a file with ${tail} bytes after its last whole page`);
    return;
  }
  if (!directory.has(raw)) {
    findings.add({ file: name, record: 0 }, `its pages file ${raw} is missing`);
    return;
  }
  const { size } = statSync(join(directory.path, raw));
  const expected = index.presentPages * PAGE_BYTES;
  if (size !== expected) {
    findings.add({ file: raw, offset: Math.min(size, expected) }, `${size} bytes where ${name} has ${expected}`);
  }
}

function verifyMappings(directory: ImageDirectory, pid: number, findings: Findings): void {
  const file = `mm-${pid}.img`;
  const vmas = directory.vmas(pid);
  const starts: number[] = [];
  const ends: number[] = [];
  let last = 0n;
  for (const vma of vmas) {
    const what = `the mapping at 0x${vma.start.toString(16)}`;
    if (vma.start >= vma.end || (vma.start | vma.end) % BigInt(PAGE_BYTES) !== 0n) {
      findings.add({ file, record: 0 }, `${what} has no whole pages`);
    }
    if ((vma.status & vmaStatus.guard) === 0) {
      if (vma.start < last) findings.add({ file, record: 0 }, `${what} overlaps or precedes the one before it`);
      last = vma.end;
      starts.push(Number(vma.start / BigInt(PAGE_BYTES)));
      ends.push(Number(vma.end / BigInt(PAGE_BYTES)));
    }
    verifyMapping(directory, file, vma, what, findings);
  }
  const pagemap = `pagemap-${pid}.img`;
  if (!directory.has(pagemap)) findings.add({ file: pagemap }, "an image is missing");
  else findings.attempt(pagemap, () => verifyRunsAreMapped(directory.pageIndex(pid), pagemap, starts, ends, findings));
}

function verifyMapping(directory: ImageDirectory, file: string, vma: VmaEntry, what: string, findings: Findings): void {
  const { status, shmid } = vma;
  if ((status & FILE_MAPPING) !== 0) {
    if (directory.files.find(Number(shmid)) === undefined) {
      findings.add({ file, record: 0 }, `${what} is of file ${shmid}, which is nowhere`);
    }
    return;
  }
  const shared = (status & ANON_SHARED) !== 0 && (status & (SYSV_IPC | MEMFD)) === 0;
  if (shared && !directory.has(`pagemap-shmem-${shmid}.img`)) {
    findings.add({ file, record: 0 }, `${what} is shared memory ${shmid}, whose pagemap is missing`);
  }
}

/** Every page of every run must be in a mapping; a run may span several that touch. Both lists are in order. */
function verifyRunsAreMapped(
  index: PageIndex,
  file: string,
  starts: readonly number[],
  ends: readonly number[],
  findings: Findings,
): void {
  let mapping = 0;
  for (const { firstPage, pageCount } of index.runs()) {
    const end = firstPage + pageCount;
    let page = firstPage;
    while (page < end) {
      while (mapping < ends.length && ends[mapping]! <= page) mapping += 1;
      if (mapping === ends.length || starts[mapping]! > page) break;
      page = ends[mapping]!;
    }
    if (page < end) findings.add({ file }, `page 0x${(page * PAGE_BYTES).toString(16)} is in no mapping`);
  }
}

function verifyMemoryFiles(directory: ImageDirectory, findings: Findings): void {
  const file = "memfd.img";
  for (const [record, { message, offset }] of (directory.optionalImage("MEMFD_INODE", file)?.records ?? []).entries()) {
    const place = { file, record, offset };
    if (!directory.hasShmemPages(message.shmid)) {
      findings.add(place, `memory file ${message.inode_id} has no pagemap-shmem-${message.shmid}.img`);
      continue;
    }
    const index = directory.shmemPageIndex(message.shmid);
    const { firstPage, pageCount } =
      index.runCount === 0 ? { firstPage: 0, pageCount: 0 } : index.run(index.runCount - 1);
    if (BigInt(firstPage + pageCount) * BigInt(PAGE_BYTES) > message.size + BigInt(PAGE_BYTES - 1)) {
      findings.add(place, `memory file ${message.inode_id} has pages beyond its ${message.size} bytes`);
    }
  }
}

/** Reads every block, so that checksums and LZ4 are checked. */
function verifyPackedFiles(directory: ImageDirectory, findings: Findings): number {
  const bytes = Buffer.allocUnsafe(BLOCK_PAGES_MAX * PAGE_BYTES);
  let pageCount = 0;
  for (const name of directory.names()) {
    if (!name.startsWith("pagez-") || imageName(name) === undefined) continue;
    findings.attempt(name, () => {
      using reader = PackedPagesReader.open(join(directory.path, name));
      for (let block = 0; block < reader.blockCount; block++) {
        findings.attempt(name, () => readBlock(reader.block(block), bytes));
      }
      pageCount += reader.pageCount;
    });
  }
  return pageCount;
}
