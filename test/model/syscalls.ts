// What a simulated thread can do: memory accesses and system calls, as generators that yield wherever another thread
// or the pager may run in between. Follows mm/memory.c, mm/madvise.c, mm/mremap.c, mm/vma.c and fs/userfaultfd.c of
// Linux 6.18. Not for choosing what a thread does (program.ts) nor who runs (scheduler.ts).
import { Context, type LayoutMessage, type PendingEvent, type Waiter } from "./context";
import { type AddressSpace, type Expected, POISON, type Protection, type Token, type Vma } from "./memory";

/** A yield: the thread may run on once the condition holds, at once where there is none. */
export type Pause = (() => boolean) | undefined;
export type Running<T> = Generator<Pause, T, void>;

/** What the program sees of a system call: the value, or the errno's name. */
export type Result = number | "EINVAL" | "EFAULT" | "ENOMEM" | "EINTR";
export type AccessResult =
  | { readonly kind: "ok"; readonly token: Token }
  | { readonly kind: "segv" | "bus" | "killed" };

export interface MremapFlags {
  readonly mayMove: boolean;
  /** MREMAP_FIXED with this destination. */
  readonly fixedTo?: number | undefined;
  readonly dontUnmap?: boolean | undefined;
}

/** The thread that runs a system call, as far as the kernel cares. */
export interface Caller {
  readonly threadId: number;
  /** A fatal signal is pending: sleeps end and the thread dies. */
  readonly killed: () => boolean;
}

/** The pages, start and end, that an event is about. */
function rangesOf(message: LayoutMessage): [number, number][] {
  if (message.kind === "fork") return [];
  if (message.kind !== "remap") return [[message.page, message.page + message.pageCount]];
  return [message.from, message.to].map((page) => [page, page + message.pageCount]);
}

/** What outlives one system call of one address space. */
export class Kernel {
  private nextContext = 1;
  private nextWrite = 1;
  /** Ranges that a multi-event mremap is still about; others keep off (docs/simulation.md, "Races of the kernel"). */
  private readonly inFlight = new Map<AddressSpace, [number, number][]>();

  newContext(space: AddressSpace): Context {
    return new Context(this.nextContext++, space);
  }

  newWrite(): Token {
    return -this.nextWrite++;
  }

  /** userfaultfd_register(MISSING) over whole VMAs. */
  register(context: Context, start: number, end: number): void {
    context.space.split(start);
    context.space.split(end);
    for (const vma of context.space.overlapping(start, end)) vma.context = context;
    context.space.mergeAround(start, end);
  }

  /** Until no multi-event mremap is about any of the ranges, all of them at the same time. */
  private keepOff(space: AddressSpace, ...ranges: readonly (readonly [number, number])[]): Pause {
    const meets = ([from, to]: readonly [number, number]) => ranges.some(([start, end]) => from < end && start < to);
    return () => !(this.inFlight.get(space) ?? []).some(meets);
  }

  // ---- accesses

  /** Reads or writes one page; a write also reads, as a program that changes one word of it does. */
  *access(space: AddressSpace, caller: Caller, page: number, write: boolean): Running<AccessResult> {
    for (;;) {
      if (caller.killed()) return { kind: "killed" };
      const vma = space.at(page);
      if (vma === undefined || vma.protection === "none" || (write && vma.protection !== "write"))
        return { kind: "segv" };
      if (write) space.prepareAnon(vma);
      if (!space.present.has(page) && vma.context !== undefined) {
        yield* this.handleUserfault(vma.context, caller, page, write);
        continue;
      }
      const token = space.present.get(page) ?? 0;
      if (token === POISON) return { kind: "bus" };
      space.present.set(page, token);
      return { kind: "ok", token };
    }
  }

  private *handleUserfault(context: Context, caller: Caller, page: number, write: boolean): Running<void> {
    const waiter: Waiter = { page, write, threadId: caller.threadId, woken: false };
    context.pendingFaults.push(waiter);
    yield () => waiter.woken || caller.killed();
    if (!waiter.woken) context.unlink(waiter);
  }

  // ---- events

  /** Announces a change under the mmap lock: installs are refused from here on (userfaultfd_*_prep). */
  private announce(context: Context, message: LayoutMessage): { context: Context; message: LayoutMessage } {
    context.changing++;
    return { context, message };
  }

  /** userfaultfd_event_wait_completion(): asleep until the event is read; installs work again when it runs on. */
  private *deliver(caller: Caller, context: Context, message: LayoutMessage): Running<void> {
    if (!context.released) {
      const event: PendingEvent = { message, completed: false };
      context.events.push(event);
      yield () => event.completed || context.released || caller.killed();
      if (!event.completed) {
        context.unlinkEvent(event);
        if (!context.released) context.space.unreported.push(...rangesOf(message));
        if (message.kind === "fork") message.child.release();
      }
    }
    context.changing--;
  }

  /** userfaultfd_unmap_prep(): one UNMAP for each context, with the range of the call, not of its VMAs. */
  private announceUnmap(space: AddressSpace, start: number, end: number) {
    const contexts = new Set(space.overlapping(start, end).flatMap((vma) => vma.context ?? []));
    return [...contexts].map((context) =>
      this.announce(context, { kind: "unmap", page: start, pageCount: end - start }),
    );
  }

  // ---- system calls

  *munmap(space: AddressSpace, caller: Caller, start: number, end: number): Running<Result> {
    yield this.keepOff(space, [start, end]);
    const announced = this.announceUnmap(space, start, end);
    space.unmap(start, end);
    for (const { context, message } of announced) yield* this.deliver(caller, context, message);
    return 0;
  }

  /** mmap(MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED): the new VMA belongs to no context. */
  *mmapFixed(space: AddressSpace, caller: Caller, start: number, end: number): Running<Result> {
    yield this.keepOff(space, [start, end]);
    const announced = this.announceUnmap(space, start, end);
    space.unmap(start, end);
    space.insert({ start, end, protection: "write", context: undefined, pageOffset: start, anon: undefined });
    space.mergeAround(start, end);
    for (const { context, message } of announced) yield* this.deliver(caller, context, message);
    return start;
  }

  *mprotect(space: AddressSpace, start: number, end: number, protection: Protection): Running<Result> {
    yield this.keepOff(space, [start, end]);
    for (let page = start; page < end; ) {
      const vma = space.at(page);
      if (vma === undefined) return "ENOMEM";
      const to = Math.min(vma.end, end);
      if (vma.protection !== protection) {
        space.split(page);
        space.split(to);
        space.setProtection(space.at(page)!, protection);
        space.mergeAround(page, to);
      }
      page = to;
    }
    return 0;
  }

  /** madvise(MADV_DONTNEED or MADV_FREE): one REMOVE for each VMA, with the mmap lock dropped while it is unread. */
  *madvise(
    space: AddressSpace,
    caller: Caller,
    advice: "dontneed" | "free",
    start: number,
    end: number,
  ): Running<Result> {
    let result: Result = 0;
    for (let page = start; page < end; ) {
      yield this.keepOff(space, [page, end]);
      const found = space.firstEndingAfter(page);
      if (found === undefined || found.start >= end) return "ENOMEM";
      if (found.start > page) {
        result = "ENOMEM";
        page = found.start;
      }
      let to = Math.min(found.end, end);
      const announced = new Map<number, Expected | undefined>();
      for (let each = page; each < to; each++) announced.set(each, space.expectOrZero(each));
      if (found.context !== undefined) {
        const removed = this.announce(found.context, { kind: "remove", page, pageCount: to - page });
        yield* this.deliver(caller, removed.context, removed.message);
        // The thread runs on before it has the lock again: others come in between.
        yield undefined;
        if (caller.killed()) return "EINTR";
        const vma = space.at(page);
        if (vma === undefined) return "ENOMEM";
        to = Math.min(to, vma.end);
      }
      for (let each = page; each < to; each++) this.dropPage(space, advice, each, announced.get(each));
      page = to;
    }
    return result;
  }

  private dropPage(
    space: AddressSpace,
    advice: "dontneed" | "free",
    page: number,
    announced: Expected | undefined,
  ): void {
    if (advice === "dontneed") space.zap(page, announced);
    else if (space.present.has(page)) {
      space.expectOrZero(page);
      space.freed.add(page);
    }
  }

  /** Memory pressure takes a page that MADV_FREE gave: it is missing again, without any event. */
  reclaim(space: AddressSpace, page: number): void {
    space.zap(page, space.expectOrZero(page));
  }

  *mremap(
    space: AddressSpace,
    caller: Caller,
    from: number,
    oldCount: number,
    newCount: number,
    flags: MremapFlags,
  ): Running<Result> {
    const { mayMove, fixedTo, dontUnmap } = flags;
    if ((fixedTo !== undefined || dontUnmap) && !mayMove) return "EINVAL";
    if (oldCount <= 0 || newCount <= 0 || (dontUnmap && oldCount !== newCount)) return "EINVAL";
    if (fixedTo !== undefined && from < fixedTo + newCount && fixedTo < from + oldCount) return "EINVAL";
    const ranges: [number, number][] = [[from, from + Math.max(oldCount, newCount)]];
    if (fixedTo !== undefined) ranges.push([fixedTo, fixedTo + newCount]);
    yield this.keepOff(space, ...ranges);
    const vma = space.at(from);
    if (vma === undefined) return "EFAULT";
    if (fixedTo === undefined && !dontUnmap) {
      if (newCount < oldCount) {
        yield* this.munmap(space, caller, from + newCount, from + oldCount);
        return from;
      }
      if (from + oldCount > vma.end) return "EFAULT";
      if (newCount === oldCount) return from;
      if (this.growInPlace(space, vma, from + oldCount, newCount - oldCount)) return from;
      if (!mayMove) return "ENOMEM";
    }
    return yield* this.moveMapping(space, caller, vma, from, oldCount, newCount, flags);
  }

  private growInPlace(space: AddressSpace, vma: Vma, oldEnd: number, pageCount: number): boolean {
    if (vma.end !== oldEnd || space.overlapping(vma.end, vma.end + pageCount).length > 0) return false;
    vma.end += pageCount;
    space.mergeAround(vma.end, vma.end);
    return true;
  }

  private *moveMapping(
    space: AddressSpace,
    caller: Caller,
    source: Vma,
    from: number,
    oldCount: number,
    newCount: number,
    flags: MremapFlags,
  ): Running<Result> {
    const reserved = this.inFlight.get(space) ?? [];
    this.inFlight.set(space, reserved);
    const to = flags.fixedTo ?? space.freeRange(newCount, reserved);
    const early = flags.fixedTo === undefined ? [] : this.announceUnmap(space, to, to + newCount);
    if (early.length > 0 || flags.fixedTo !== undefined) space.unmap(to, to + newCount);
    const late: { context: Context; message: LayoutMessage }[] = [];
    let moved = oldCount;
    if (newCount < oldCount) {
      late.push(...this.announceUnmap(space, from + newCount, from + oldCount));
      space.unmap(from + newCount, from + oldCount);
      moved = newCount;
    }
    const vma = space.at(from) ?? source;
    if (from + moved > vma.end || from < vma.start) {
      for (const { context, message } of [...early, ...late]) yield* this.deliver(caller, context, message);
      return "EFAULT";
    }
    const remap =
      vma.context === undefined ? undefined : this.announce(vma.context, { kind: "remap", from, to, pageCount: moved });
    this.relocate(space, vma, from, to, moved, newCount, flags.dontUnmap === true, late);
    const mine: [number, number][] = [
      [from, from + oldCount],
      [to, to + newCount],
    ];
    reserved.push(...mine);
    for (const { context, message } of early) yield* this.deliver(caller, context, message);
    if (remap !== undefined) yield* this.deliver(caller, remap.context, remap.message);
    for (const { context, message } of late) yield* this.deliver(caller, context, message);
    for (const range of mine) reserved.splice(reserved.indexOf(range), 1);
    return to;
  }

  /** move_vma(): the new VMA, the pages, and the end of the old one. */
  private relocate(
    space: AddressSpace,
    vma: Vma,
    from: number,
    to: number,
    moved: number,
    newCount: number,
    dontUnmap: boolean,
    late: { context: Context; message: LayoutMessage }[],
  ): void {
    // An anonymous VMA without pages takes the new place's offset (copy_vma).
    const pageOffset = vma.anon === undefined ? to : vma.pageOffset + (from - vma.start);
    const wholeVma = vma.start === from && vma.end === from + moved;
    space.insert({
      start: to,
      end: to + newCount,
      protection: vma.protection,
      context: vma.context,
      pageOffset,
      anon: vma.anon,
    });
    for (let i = 0; i < moved; i++) space.movePage(from + i, to + i);
    if (dontUnmap) {
      if (wholeVma) vma.anon = undefined;
    } else {
      late.push(...this.announceUnmap(space, from, from + moved));
      space.unmap(from, from + moved);
    }
    space.mergeAround(to, to + newCount);
  }

  /** fork(): the child's space; its context reaches the pager with the event. The caller starts the child afterwards. */
  *fork(space: AddressSpace, caller: Caller): Running<AddressSpace | "EINTR"> {
    // A fork between the steps of a moving mremap tells the two apart in no way: see docs/simulation.md.
    yield () => (this.inFlight.get(space) ?? []).length === 0;
    const child = space.duplicate();
    const contexts = new Map<Context, Context>();
    for (const vma of child.vmas) {
      if (vma.context === undefined) continue;
      const own = contexts.get(vma.context) ?? this.newContext(child);
      contexts.set(vma.context, own);
      vma.context = own;
    }
    const announced = [...contexts].map(([parent, own]) => this.announce(parent, { kind: "fork", child: own }));
    for (const { context, message } of announced) yield* this.deliver(caller, context, message);
    if (caller.killed()) {
      child.alive = false;
      return "EINTR";
    }
    return child;
  }
}
