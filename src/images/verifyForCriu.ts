// The part of verify that looks at what `pack --for-criu` left for CRIU: its pagemap agrees with the kept one, its eager
// pages file has the eager pages, and the empty parent image that makes a plain restore fail is there.
import { readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { PAGE_BYTES } from "../limits";
import {
  criuPagemap,
  EAGER_PAGES_OFFSET,
  EMPTY_PARENT,
  emptyPagemap,
  isEager,
  KEPT_PREFIX,
  PARENT_LINK,
} from "./criuPagemap";
import type { ImageDirectory } from "./directory";
import type { Findings } from "./finding";
import { decodeImageOf, readImageFile } from "./framing";
import { decodePagemap } from "./pagemap";
import { openRawPages } from "./pagesFile";
import { readBlock } from "./readBlock";

/** Adds what is wrong with CRIU's side of `directory`; nothing where it was not packed for CRIU. */
export function verifyForCriu(directory: ImageDirectory, findings: Findings): void {
  const kept = directory.names().filter((name) => name.startsWith(`${KEPT_PREFIX}pagemap-`));
  if (kept.length === 0) return;
  verifyEmptyParent(directory, kept, findings);
  for (const name of kept) findings.attempt(name, () => verifyKept(directory, name, findings));
}

function verifyKept(directory: ImageDirectory, kept: string, findings: Findings): void {
  const name = kept.slice(KEPT_PREFIX.length);
  const keptFile = join(directory.path, kept);
  const bytes = readImageFile(keptFile);
  const pagemap = decodePagemap(bytes, keptFile);
  const expected = criuPagemap(decodeImageOf("PAGEMAP", bytes, keptFile));
  findings.attempt(name, () => {
    const present = readImageFile(join(directory.path, name));
    const at = firstDifference(present, expected);
    if (at >= 0) findings.add({ file: name, offset: at }, `it is not what CRIU must see of ${kept}`);
  });
  const eagerName = `pages-${pagemap.pagesId + EAGER_PAGES_OFFSET}.img`;
  if (!directory.has(eagerName)) {
    findings.add({ file: kept }, `the eager pages file ${eagerName} is missing`);
    return;
  }
  let eagerPages = 0;
  for (let run = 0; run < pagemap.runCount; run++) {
    if (isEager(pagemap.flags[run]!)) eagerPages += pagemap.counts[run]!;
  }
  const { size } = statSync(join(directory.path, eagerName));
  if (size !== eagerPages * PAGE_BYTES) {
    findings.add(
      { file: eagerName, offset: Math.min(size, eagerPages * PAGE_BYTES) },
      `${size} bytes where ${kept} has ${eagerPages * PAGE_BYTES} of eager pages`,
    );
    return;
  }
  verifyEagerBytes(directory, name, eagerName, pagemap, findings);
}

/** Eager pages are stored twice, for CRIU and packed: both must be the same. */
function verifyEagerBytes(
  directory: ImageDirectory,
  name: string,
  eagerName: string,
  pagemap: ReturnType<typeof decodePagemap>,
  findings: Findings,
): void {
  const id = Number(/(\d+)\.img$/.exec(name)![1]);
  const index = name.startsWith("pagemap-shmem-") ? directory.shmemPageIndex(id) : directory.pageIndex(id);
  using eager = openRawPages(join(directory.path, eagerName));
  const [mine, criu] = [Buffer.allocUnsafe(STEP_PAGES * PAGE_BYTES), Buffer.allocUnsafe(STEP_PAGES * PAGE_BYTES)];
  let filePage = 0;
  for (let run = 0; run < pagemap.runCount; run++) {
    if (!isEager(pagemap.flags[run]!)) continue;
    const count = pagemap.counts[run]!;
    for (let page = 0; page < count; page += STEP_PAGES) {
      const pages = Math.min(STEP_PAGES, count - page);
      index.readPages(pagemap.starts[run]! + page, pages, mine);
      readBlock(eager.locate(filePage + page, filePage + page, pages).block, criu);
      const at = firstDifference(mine.subarray(0, pages * PAGE_BYTES), criu.subarray(0, pages * PAGE_BYTES));
      if (at >= 0) {
        const offset = (filePage + page) * PAGE_BYTES + at;
        findings.add({ file: eagerName, offset }, "an eager page differs from the packed one");
        return;
      }
    }
    filePage += count;
  }
}

/** Pages compared at a time: what openRawPages calls a block. */
const STEP_PAGES = 16;

function verifyEmptyParent(directory: ImageDirectory, kept: readonly string[], findings: Findings): void {
  const place = { file: PARENT_LINK };
  findings.attempt(PARENT_LINK, () => {
    if (!directory.has(PARENT_LINK) || readlinkSync(join(directory.path, PARENT_LINK)) !== EMPTY_PARENT) {
      findings.add(place, `it does not lead to ${EMPTY_PARENT}: a plain criu restore would give zeros`);
    }
  });
  if (!directory.has(EMPTY_PARENT)) {
    findings.add({ file: EMPTY_PARENT }, "the empty parent image is missing");
    return;
  }
  for (const name of kept) {
    const file = join(EMPTY_PARENT, name.slice(KEPT_PREFIX.length));
    findings.attempt(EMPTY_PARENT, () => {
      if (!readImageFile(join(directory.path, file)).equals(emptyPagemap())) {
        findings.add({ file }, "it is not the empty pagemap of a parent image");
      }
    });
  }
}

/** Where two buffers differ first, or -1. */
function firstDifference(a: Buffer, b: Buffer): number {
  if (a.equals(b)) return -1;
  for (let at = 0; ; at++) if (a[at] !== b[at]) return at;
}
