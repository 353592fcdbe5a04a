// What `criu restore --lazy-pages` leaves to its daemon: which pages of a task are missing when its userfaultfd arrives.
// The rules are CRIU's (docs/lazy-pages.md): whole private anonymous VMAs are registered, pages marked PE_LAZY in the
// top image are left out, everything else is there.

import type { ImageDirectory } from "../images/directory";
import type { VmaEntry } from "../images/messages";
import { PageFlag } from "../images/pagemap";
import { vmaStatus } from "../images/vmaStatus";
import { PAGE_BYTES } from "../limits";
import { LAYOUT_PRESENT, LAYOUT_ZERO } from "../space/space";

const MAP_PRIVATE = 0x02;
const MAP_ANONYMOUS = 0x20;
const MAP_LOCKED = 0x2000;
const MAP_HUGETLB = 0x40000;

const AREA_VSYSCALL = 1 << 2;
const AREA_VDSO = 1 << 3;
const AREA_VVAR = 1 << 12;

/** Whether CRIU registers the VMA with the userfaultfd. */
export function isLazyVma(vma: VmaEntry): boolean {
  const { flags, status } = vma;
  if ((flags & (MAP_PRIVATE | MAP_ANONYMOUS)) !== (MAP_PRIVATE | MAP_ANONYMOUS)) return false;
  if ((flags & (MAP_LOCKED | MAP_HUGETLB)) !== 0) return false;
  return (status & (AREA_VSYSCALL | AREA_VDSO | AREA_VVAR | vmaStatus.guard)) === 0;
}

/** The layout of a task as CRIU's restore hands it over, in the form of ContextRequest.layout, source 0. */
export function criuLayout(directory: ImageDirectory, pid: number): Float64Array {
  const entries: number[] = [];
  const index = directory.pageIndex(pid);
  for (const vma of directory.vmas(pid)) {
    if (isLazyVma(vma)) {
      const first = Number(vma.start) / PAGE_BYTES;
      const end = Number(vma.end) / PAGE_BYTES;
      entries.push(first, end - first, LAYOUT_ZERO, 0);
      for (let at = index.runFrom(first); at < index.runCount; at++) {
        const run = index.run(at);
        if (run.firstPage >= end) break;
        const from = Math.max(first, run.firstPage);
        const count = Math.min(end, run.firstPage + run.pageCount) - from;
        if ((run.flags & PageFlag.Lazy) !== 0) entries.push(from, count, 0, from);
        else entries.push(from, count, LAYOUT_PRESENT, 0);
      }
    } else if ((vma.status & vmaStatus.guard) !== 0) {
      // UFFDIO_COPY onto a guard page succeeds and destroys the guard: never offer one.
      const first = Number(vma.start) / PAGE_BYTES;
      entries.push(first, Number(vma.end) / PAGE_BYTES - first, LAYOUT_PRESENT, 0);
    }
  }
  return Float64Array.from(entries);
}
