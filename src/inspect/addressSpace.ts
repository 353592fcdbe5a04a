// One task's memory by address, with shared objects where they are mapped: what is stored of a range, and what the rest of
// it is. Not for reading bytes: memory.ts.

import type { MmEntry, VmaEntry } from "../images/messages";
import type { PagePiece } from "../images/pageIndex";
import { vmaStatus } from "../images/vmaStatus";
import { PAGE_BYTES } from "../limits";
import type { Checkpoint } from "./checkpoint";
import { describeVma, type StackPointer, stackPointers, storedPages } from "./mappings";
import type { Memory } from "./memory";
import { isFileBacked } from "./vma";

/**
 * What pages are: "stored" in the image, "absent" (left at the source by a lazy dump), "untouched" (zero), "file" (what the
 * mapped file says), "kernel" (made by the kernel), "unmapped".
 */
export type RangeKind = "stored" | "absent" | "untouched" | "file" | "kernel" | "unmapped";

/** Pages in a row of one kind; stored ones within one block. */
export interface PageRange {
  readonly firstPage: number;
  readonly pageCount: number;
  readonly kind: RangeKind;
  /** Of "stored" ones. */
  readonly piece: PagePiece | undefined;
  /** The mapping they are in; undefined where unmapped. */
  readonly vma: VmaEntry | undefined;
}

interface Span {
  readonly firstPage: number;
  readonly endPage: number;
  readonly vma: VmaEntry;
  readonly pages: Memory;
}

const KERNEL_MADE = vmaStatus.vvar | vmaStatus.vsyscall | vmaStatus.vdso;

export class AddressSpace implements Memory {
  private readonly spans: readonly Span[];
  private readonly mm: MmEntry | undefined;
  private stacks: readonly StackPointer[] | undefined;

  constructor(
    private readonly checkpoint: Checkpoint,
    readonly pid: number,
  ) {
    this.mm = checkpoint.mm(pid);
    this.spans = spansOf(checkpoint, pid, this.mm?.vmas ?? []);
  }

  *pieces(firstPage: number, endPage: number): Generator<PagePiece> {
    for (let at = this.spanFrom(firstPage); at < this.spans.length; at++) {
      const span = this.spans[at]!;
      if (span.firstPage >= endPage) return;
      yield* span.pages.pieces(Math.max(span.firstPage, firstPage), Math.min(span.endPage, endPage));
    }
  }

  /** All of [firstPage, endPage), in address order. */
  *ranges(firstPage: number, endPage: number): Generator<PageRange> {
    let page = firstPage;
    for (let at = this.spanFrom(firstPage); at < this.spans.length && page < endPage; at++) {
      const span = this.spans[at]!;
      const start = Math.min(span.firstPage, endPage);
      if (start > page) yield unmapped(page, start);
      page = Math.max(page, start);
      const end = Math.min(span.endPage, endPage);
      if (page < end) yield* spanRanges(span, page, end);
      page = Math.max(page, end);
    }
    if (page < endPage) yield unmapped(page, endPage);
  }

  /** The first and the last page of all mappings, as [first, end). */
  get bounds(): readonly [number, number] {
    return [this.spans[0]?.firstPage ?? 0, this.spans.at(-1)?.endPage ?? 0];
  }

  /** What `maps` calls the mapping that holds `page`: its protection and its name. */
  mappingAt(page: number): { readonly protection: string; readonly name: string } | undefined {
    const span = this.spans[this.spanFrom(page)];
    if (this.mm === undefined || span === undefined || span.firstPage > page) return undefined;
    this.stacks ??= stackPointers(this.checkpoint, this.pid);
    const { protection, name } = describeVma(this.checkpoint, this.mm, span.vma, this.stacks);
    return { protection, name };
  }

  /** The first span that ends after `page`. */
  private spanFrom(page: number): number {
    let low = 0;
    let high = this.spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.spans[middle]!.endPage <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Mappings in order and apart, whatever the image says: a damaged one may have them overlap. Guard ranges lie inside others. */
function spansOf(checkpoint: Checkpoint, pid: number, vmas: readonly VmaEntry[]): Span[] {
  const memory = checkpoint.memory(pid);
  const plain = vmas.filter((vma) => (vma.status & vmaStatus.guard) === 0);
  const spans: Span[] = [];
  let last = 0;
  for (const vma of plain.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))) {
    const firstPage = Math.max(Number(vma.start) / PAGE_BYTES, last);
    const endPage = Number(vma.end) / PAGE_BYTES;
    if (firstPage >= endPage) continue;
    spans.push({ firstPage, endPage, vma, pages: storedPages(checkpoint, memory, vma) });
    last = endPage;
  }
  return spans;
}

function unmapped(firstPage: number, endPage: number): PageRange {
  return { firstPage, pageCount: endPage - firstPage, kind: "unmapped", piece: undefined, vma: undefined };
}

function* spanRanges(span: Span, firstPage: number, endPage: number): Generator<PageRange> {
  const { vma } = span;
  const rest = restKind(vma);
  const unstored = (from: number, to: number): PageRange => ({
    firstPage: from,
    pageCount: to - from,
    kind: rest,
    piece: undefined,
    vma,
  });
  let page = firstPage;
  for (const piece of span.pages.pieces(firstPage, endPage)) {
    if (piece.firstPage > page) yield unstored(page, piece.firstPage);
    const kind = piece.block === undefined ? "absent" : "stored";
    yield { firstPage: piece.firstPage, pageCount: piece.pageCount, kind, piece, vma };
    page = piece.firstPage + piece.pageCount;
  }
  if (page < endPage) yield unstored(page, endPage);
}

function restKind(vma: VmaEntry): RangeKind {
  if ((vma.status & KERNEL_MADE) !== 0) return "kernel";
  return isFileBacked(vma) && (vma.status & vmaStatus.memfd) === 0 ? "file" : "untouched";
}
