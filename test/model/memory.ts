// The simulated address space: VMAs that split and merge, a page table, and beside it the oracle's memory, which
// holds what each page would hold had the process never been checkpointed. Not for waiting or for userfaultfd
// queues: see context.ts and syscalls.ts. Rules: mm/vma.c and mm/mremap.c of Linux 6.18 for private anonymous memory.
import assert from "node:assert/strict";
import type { Context } from "./context";

/** What a page holds: 0 for zeros, n + 1 for image page n, a negative number for a program's own n-th write. */
export type Token = number;
/** A page table entry that raises SIGBUS (UFFDIO_POISON). */
export const POISON: Token = Number.MIN_SAFE_INTEGER;

export function imageToken(imagePage: number): Token {
  return imagePage + 1;
}

export type Protection = "none" | "read" | "write";

/** Identifies an anon_vma: which VMAs may merge depends on it (is_mergeable_anon_vma in mm/vma.c). */
interface AnonVma {
  /** Set once a fork linked a second chain to it: such VMAs merge only with their exact likes. */
  shared: boolean;
}

export interface Vma {
  start: number;
  end: number;
  protection: Protection;
  context: Context | undefined;
  pageOffset: number;
  anon: AnonVma | undefined;
}

/** What a page would hold without checkpoint; `orZero`: a madvise was asked for it, so zeros are right as well. */
export interface Expected {
  token: Token;
  orZero: boolean;
}

const topPage = 0x7ffff0000;

export class AddressSpace {
  /** Sorted by start, never overlapping. */
  vmas: Vma[] = [];
  readonly present = new Map<number, Token>();
  /** Present pages that MADV_FREE gave to the kernel and that nobody wrote since: reclaim may take them. */
  readonly freed = new Set<number>();
  readonly expected = new Map<number, Expected>();
  /** Ranges, start and end, of changes whose event nobody read: their caller was killed first, and all other threads too. */
  readonly unreported: [number, number][] = [];
  alive = true;

  // ---- VMAs

  /** The VMA that holds `page`. */
  at(page: number): Vma | undefined {
    const vma = this.firstEndingAfter(page);
    return vma !== undefined && vma.start <= page ? vma : undefined;
  }

  /** find_vma(): the first VMA that ends above `page`. */
  firstEndingAfter(page: number): Vma | undefined {
    let low = 0;
    let high = this.vmas.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.vmas[middle]!.end > page) high = middle;
      else low = middle + 1;
    }
    return this.vmas[low];
  }

  overlapping(start: number, end: number): Vma[] {
    return this.vmas.filter((vma) => vma.start < end && start < vma.end);
  }

  insert(vma: Vma): void {
    assert.ok(vma.start < vma.end && this.overlapping(vma.start, vma.end).length === 0);
    const index = this.vmas.findIndex((other) => other.start > vma.start);
    this.vmas.splice(index < 0 ? this.vmas.length : index, 0, vma);
  }

  private remove(vma: Vma): void {
    this.vmas.splice(this.vmas.indexOf(vma), 1);
  }

  /** Makes `page` a border where it lies inside a VMA. */
  split(page: number): void {
    const vma = this.at(page);
    if (vma === undefined || vma.start === page) return;
    const upper: Vma = { ...vma, start: page, pageOffset: vma.pageOffset + (page - vma.start) };
    vma.end = page;
    this.insert(upper);
  }

  /** Merges the VMAs that touch at `page` where the kernel would. */
  private mergeAt(page: number): void {
    const upper = this.vmas.find((vma) => vma.start === page);
    const lower = this.vmas.find((vma) => vma.end === page);
    if (upper === undefined || lower === undefined || !mergeable(lower, upper)) return;
    lower.end = upper.end;
    lower.anon = lower.anon ?? upper.anon;
    this.remove(upper);
  }

  mergeAround(start: number, end: number): void {
    this.mergeAt(end);
    this.mergeAt(start);
  }

  setProtection(vma: Vma, protection: Protection): void {
    vma.protection = protection;
  }

  /** anon_vma_prepare(): the VMA gets an anon_vma, a neighbour's where that keeps them mergeable. */
  prepareAnon(vma: Vma): void {
    if (vma.anon !== undefined) return;
    const upper = this.vmas.find((other) => other.start === vma.end);
    const lower = this.vmas.find((other) => other.end === vma.start);
    if (upper?.anon && !upper.anon.shared && compatible(vma, upper)) vma.anon = upper.anon;
    else if (lower?.anon && !lower.anon.shared && compatible(lower, vma)) vma.anon = lower.anon;
    else vma.anon = { shared: false };
  }

  /** A free range of `pageCount` pages that touches nothing in `avoid`: the highest, as get_unmapped_area() has it. */
  freeRange(pageCount: number, avoid: readonly (readonly [number, number])[]): number {
    const taken = [...this.vmas.map((vma) => [vma.start, vma.end] as const), ...avoid].sort((a, b) => b[1] - a[1]);
    let top = topPage;
    for (const [start, end] of taken) {
      if (top - end >= pageCount) break;
      top = Math.min(top, start);
    }
    return top - pageCount;
  }

  /** Takes VMAs and pages of the range away. Events are the caller's business. */
  unmap(start: number, end: number): void {
    this.split(start);
    this.split(end);
    for (const vma of this.overlapping(start, end)) this.remove(vma);
    for (let page = start; page < end; page++) this.forget(page);
  }

  private forget(page: number): void {
    this.present.delete(page);
    this.freed.delete(page);
    this.expected.delete(page);
  }

  // ---- pages

  /**
   * The kernel's zap: the page is missing again, and zero is what the program must see. Where image bytes were moved
   * here after the madvise was announced, two system calls of the program race for the page: either order is right.
   * `announced` is what was expected of the page then.
   */
  zap(page: number, announced: Expected | undefined): void {
    const expected = this.expected.get(page);
    this.forget(page);
    if (expected === undefined || expected === announced || expected.token < 0) return;
    this.expected.set(page, { token: expected.token, orZero: true });
  }

  movePage(from: number, to: number): void {
    const token = this.present.get(from);
    const expected = this.expected.get(from);
    const freed = this.freed.has(from);
    this.forget(from);
    this.forget(to);
    if (token !== undefined) this.present.set(to, token);
    if (expected !== undefined) this.expected.set(to, expected);
    if (freed) this.freed.add(to);
  }

  setImagePage(page: number, imagePage: number): void {
    this.expected.set(page, { token: imageToken(imagePage), orZero: false });
  }

  /** From now on zeros are right too, whatever was: a madvise over the page was called. */
  expectOrZero(page: number): Expected | undefined {
    const expected = this.expected.get(page);
    if (expected !== undefined) expected.orZero = true;
    return expected;
  }

  /** Says what is wrong with reading `token` from `page`; zeros seen once must stay. */
  judge(page: number, token: Token): string | undefined {
    const expected = this.expected.get(page) ?? { token: 0, orZero: false };
    if (token === 0 && expected.orZero) {
      this.expected.delete(page);
      return undefined;
    }
    if (token === expected.token) return undefined;
    const or = expected.orZero ? " or zeros" : "";
    return `page ${page} holds ${describeToken(token)}, not ${describeToken(expected.token)}${or}`;
  }

  write(page: number, token: Token): void {
    this.present.set(page, token);
    this.freed.delete(page);
    this.expected.set(page, { token, orZero: false });
  }

  /** dup_mmap(): VMAs, page table and what is expected, copied. Contexts stay the parent's until the caller changes them. */
  duplicate(): AddressSpace {
    const copy = new AddressSpace();
    for (const vma of this.vmas) {
      if (vma.anon !== undefined) vma.anon.shared = true;
      copy.vmas.push({ ...vma, anon: vma.anon === undefined ? undefined : { shared: true } });
    }
    for (const [page, token] of this.present) copy.present.set(page, token);
    for (const [page, expected] of this.expected) copy.expected.set(page, { ...expected });
    for (const page of this.freed) copy.freed.add(page);
    return copy;
  }
}

function mergeable(lower: Vma, upper: Vma): boolean {
  if (lower.protection !== upper.protection || lower.context !== upper.context) return false;
  if (upper.pageOffset !== lower.pageOffset + (lower.end - lower.start)) return false;
  if (lower.anon === upper.anon) return true;
  if (lower.anon !== undefined && upper.anon !== undefined) return false;
  return !(lower.anon ?? upper.anon)!.shared;
}

/** anon_vma_compatible(): as mergeable, but for the access bits and the anon_vma itself. */
function compatible(lower: Vma, upper: Vma): boolean {
  return lower.context === upper.context && upper.pageOffset === lower.pageOffset + (lower.end - lower.start);
}

export function describeToken(token: Token): string {
  if (token === POISON) return "poison";
  if (token === 0) return "zeros";
  return token > 0 ? `image page ${token - 1}` : `write ${-token}`;
}
