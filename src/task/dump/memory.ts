// The memory of one address space: which pages an image must hold (PAGEMAP_SCAN of ioctl_pagemap_scan(2)), their copies,
// and the contents of shared memory objects. Runs while the task is frozen; writing is pageImages.ts's.
import { closeSync, openSync } from "node:fs";
import { checked } from "../../errors";
import { native } from "../../native";
import { pageSize, protection } from "../constants";
import { parseMappings, readProc } from "../proc";
import type { CopiedRun, PageStore } from "./pageStore";
import { classifyMappings, type Vma } from "./vmas";

/** Page categories (linux/fs.h). */
const category = { file: 1 << 2, present: 1 << 3, swapped: 1 << 4, zeroPage: 1 << 5, guard: 1 << 8 } as const;
const regionsPerScan = 4096;
const addressMax = 0x7ffffffff000;
const seekData = 3;
const seekHole = 4;
const enxio = 6;

export interface PageRegion {
  /** Bytes. */
  readonly start: number;
  readonly end: number;
  readonly guard: boolean;
}

/** A run of copied pages with what the pagemap says of them. */
export interface ImageRun extends CopiedRun {
  readonly lazy: boolean;
  /** Zero pages may be left out: what is not in the image reads as zero there. */
  readonly zeroIsAbsent: boolean;
}

export interface AddressSpaceCopy {
  readonly runs: readonly CopiedRun[];
  readonly guards: readonly PageRegion[];
  readonly pagesScanned: number;
}

/** All pages of the process that are its own: anonymous, or copied on write from a file; and its guard pages. */
export function scanPages(pid: number): PageRegion[] {
  const fd = openSync(`/proc/${pid}/pagemap`, "r");
  try {
    const own = category.zeroPage | category.file;
    const masks = new Float64Array([own, own, category.present | category.swapped, category.guard]);
    const found = new BigUint64Array(regionsPerScan * 3);
    const walkEnd = new Float64Array(1);
    const regions: PageRegion[] = [];
    for (let at = 0; at < addressMax; ) {
      const count = checked(
        native.pagemapScan(fd, at, addressMax, masks, found, walkEnd),
        "ioctl",
        "cannot scan the task's pages (PAGEMAP_SCAN needs Linux 6.7)",
        { pid },
      );
      const next = walkEnd[0] as number;
      for (let index = 0; index < count; index++) {
        const [start, end, what] = found.subarray(index * 3, index * 3 + 3) as unknown as [bigint, bigint, bigint];
        // A walk that ends early (seen from 512 regions on) may report a region beyond its end: the next walk has it again.
        if (Number(start) >= next) continue;
        const guard = (Number(what) & category.guard) !== 0;
        regions.push({ start: Number(start), end: Math.min(Number(end), next), guard });
      }
      if (next <= at) break;
      at = next;
    }
    return regions;
  } finally {
    closeSync(fd);
  }
}

interface WantedRun {
  readonly address: number;
  readonly bytes: number;
  readonly vma: Vma;
}

function holdsOwnPages(vma: Vma): boolean {
  return (
    vma.isPrivate && vma.kind !== "vvar" && vma.kind !== "vsyscall" && vma.kind !== "vdso" && vma.kind !== "socket"
  );
}

/** Cuts the regions at the borders of mappings; adds the vdso, which restores need whole to compare, and AIO rings. */
export function wantedRuns(vmas: readonly Vma[], regions: readonly PageRegion[]): WantedRun[] {
  const runs: WantedRun[] = [];
  let next = 0;
  for (const vma of vmas) {
    const start = Number(vma.start);
    const end = Number(vma.end);
    if (vma.kind === "vdso" || vma.kind === "aio") runs.push({ address: start, bytes: end - start, vma });
    if (!holdsOwnPages(vma)) continue;
    while (next < regions.length && (regions[next] as PageRegion).end <= start) next++;
    for (let index = next; index < regions.length; index++) {
      const region = regions[index] as PageRegion;
      if (region.start >= end) break;
      if (region.guard) continue;
      const from = Math.max(start, region.start);
      runs.push({ address: from, bytes: Math.min(end, region.end) - from, vma });
    }
  }
  return runs;
}

/**
 * Begins to copy all pages of one frozen address space; the bytes are there when the store has settled. Of the mappings it
 * needs only what maps tells at once: for smaps the kernel walks through all pages, and may do so beside the copy.
 */
export function copyAddressSpace(pid: number, store: PageStore): AddressSpaceCopy {
  const regions = scanPages(pid);
  const wanted = wantedRuns(classifyMappings(parseMappings(readProc(pid, "maps"))), regions);
  const isReadable = (run: WantedRun): boolean => (run.vma.protection & protection.read) !== 0;
  const runs = [
    ...store.copyMemory(pid, wanted.filter(isReadable)),
    ...store.copyFile(
      `/proc/${pid}/mem`,
      pid,
      wanted.filter((run) => !isReadable(run)),
    ),
  ].sort((a, b) => a.address - b.address);
  return {
    runs,
    guards: regions.filter((region) => region.guard),
    pagesScanned: regions.reduce((sum, region) => sum + (region.end - region.start) / pageSize, 0),
  };
}

/** What the pagemap says of copied runs. Both in address order; the mappings as smaps tells of them. */
export function imageRuns(runs: readonly CopiedRun[], vmas: readonly Vma[]): ImageRun[] {
  let at = 0;
  return runs.map((run) => {
    while (at < vmas.length && Number((vmas[at] as Vma).end) <= run.address) at++;
    const vma = vmas[at] as Vma;
    return { ...run, lazy: vma.lazy, zeroIsAbsent: vma.kind === "anonymous" };
  });
}

/** Copies what a shared memory object (any seekable file) holds, holes left out; addresses are file offsets. */
export function copySharedObject(path: string, pid: number, store: PageStore): ImageRun[] {
  const runs = dataRuns(path);
  return store.copyFile(path, pid, runs).map((run) => ({ ...run, lazy: false, zeroIsAbsent: true }));
}

function dataRuns(path: string): { address: number; bytes: number }[] {
  const fd = openSync(path, "r");
  try {
    const runs: { address: number; bytes: number }[] = [];
    for (let at = 0; ; ) {
      const data = native.seekTo(fd, at, seekData);
      if (data === -enxio) return runs;
      checked(data, "lseek", "cannot look for data in shared memory", { file: path });
      const hole = checked(native.seekTo(fd, data, seekHole), "lseek", "cannot look for data in shared memory", {
        file: path,
      });
      const start = Math.floor(data / pageSize) * pageSize;
      const end = Math.ceil(hole / pageSize) * pageSize;
      runs.push({ address: start, bytes: end - start });
      at = end;
    }
  } finally {
    closeSync(fd);
  }
}
