// One simulated userfaultfd context: its wait queues, its ioctls, its release. Follows fs/userfaultfd.c and
// mm/userfaultfd.c of Linux 6.18. Not for system calls of the program (syscalls.ts) nor for who runs next (scheduler.ts).
import assert from "node:assert/strict";
import { type AddressSpace, POISON, type Token } from "./memory";

/** A thread asleep in handle_userfault(). */
export interface Waiter {
  readonly page: number;
  readonly write: boolean;
  readonly threadId: number;
  woken: boolean;
}

export type LayoutMessage =
  | { readonly kind: "fork"; readonly child: Context }
  | { readonly kind: "remap"; readonly from: number; readonly to: number; readonly pageCount: number }
  | { readonly kind: "remove"; readonly page: number; readonly pageCount: number }
  | { readonly kind: "unmap"; readonly page: number; readonly pageCount: number };

/** A thread asleep in userfaultfd_event_wait_completion(). */
export interface PendingEvent {
  readonly message: LayoutMessage;
  completed: boolean;
}

export type Message = { readonly kind: "fault"; readonly waiter: Waiter } | LayoutMessage;

export type IoctlOutcome =
  | { readonly kind: "installed"; readonly pageCount: number }
  | { readonly kind: "present" | "changing" | "gone" | "exited" };

export class Context {
  readonly id: number;
  readonly space: AddressSpace;
  /** fault_pending_wqh: not read yet, oldest first. */
  readonly pendingFaults: Waiter[] = [];
  /** fault_wqh: read and not woken. */
  readonly readFaults: Waiter[] = [];
  /** event_wqh: not read yet, oldest first. */
  readonly events: PendingEvent[] = [];
  /** mmap_changing: layout changes announced whose callers have not run on yet. */
  changing = 0;
  released = false;

  constructor(id: number, space: AddressSpace) {
    this.id = id;
    this.space = space;
  }

  /** userfaultfd_poll(): EPOLLIN. */
  get readable(): boolean {
    return this.pendingFaults.length > 0 || this.events.length > 0;
  }

  /** userfaultfd_ctx_read(): the next message. Faults before events; a fault is moved to the read ones. */
  readOne(): Message | undefined {
    const waiter = this.pendingFaults.shift();
    if (waiter !== undefined) {
      this.readFaults.push(waiter);
      return { kind: "fault", waiter };
    }
    const event = this.events.shift();
    if (event === undefined) return undefined;
    event.completed = true;
    return event.message;
  }

  /** userfaultfd_copy(): tokens for consecutive pages. */
  copy(page: number, tokens: readonly Token[]): IoctlOutcome {
    return this.fill(page, tokens, true);
  }

  zeropage(page: number, pageCount: number): IoctlOutcome {
    return this.fill(page, new Array<Token>(pageCount).fill(0), false);
  }

  poison(page: number, pageCount: number): IoctlOutcome {
    return this.fill(page, new Array<Token>(pageCount).fill(POISON), false);
  }

  /** mfill_atomic(): all in one VMA that is registered, and none of it present, up to the first that is. */
  private fill(page: number, tokens: readonly Token[], healsPoison: boolean): IoctlOutcome {
    assert.ok(!this.released, "an ioctl on a closed userfaultfd");
    assert.ok(tokens.length > 0 && page >= 0, "EINVAL: an empty or negative range");
    if (this.changing > 0) return { kind: "changing" };
    if (!this.space.alive) return { kind: "exited" };
    const vma = this.space.at(page);
    if (vma === undefined || page + tokens.length > vma.end || vma.context === undefined) return { kind: "gone" };
    this.space.prepareAnon(vma);
    let done = 0;
    // For COPY alone a poison marker counts as nothing there (pte_none_mostly): that is how poison is healed.
    const isMissing = (at: number): boolean => {
      const token = this.space.present.get(at);
      return token === undefined || (healsPoison && token === POISON);
    };
    while (done < tokens.length && isMissing(page + done)) {
      this.space.present.set(page + done, tokens[done]!);
      done++;
    }
    if (done === 0) return { kind: "present" };
    this.wake(page, done);
    return { kind: "installed", pageCount: done };
  }

  /** wake_userfault(): wakes and unlinks the waiters of the range, read or not. */
  wake(page: number, pageCount: number): void {
    for (const queue of [this.pendingFaults, this.readFaults]) {
      for (let i = queue.length - 1; i >= 0; i--) {
        const waiter = queue[i]!;
        if (waiter.page < page || waiter.page >= page + pageCount) continue;
        waiter.woken = true;
        queue.splice(i, 1);
      }
    }
  }

  unlink(waiter: Waiter): void {
    for (const queue of [this.pendingFaults, this.readFaults]) {
      const index = queue.indexOf(waiter);
      if (index >= 0) queue.splice(index, 1);
    }
  }

  unlinkEvent(event: PendingEvent): void {
    const index = this.events.indexOf(event);
    if (index >= 0) this.events.splice(index, 1);
  }

  /** userfaultfd_unregister(): -EINVAL where nothing is mapped, -ENOMEM after exit. */
  unregister(page: number, pageCount: number): "unregistered" | "gone" | "exited" {
    if (!this.space.alive) return "exited";
    const end = page + pageCount;
    if (this.space.overlapping(page, end).length === 0) return "gone";
    this.space.split(page);
    this.space.split(end);
    for (const vma of this.space.overlapping(page, end)) {
      if (vma.context === undefined) continue;
      this.wake(vma.start, vma.end - vma.start);
      vma.context = undefined;
    }
    this.space.mergeAround(page, end);
    return "unregistered";
  }

  /** userfaultfd_release(), the last close: the VMAs forget the context, everybody runs on, and missing means zero. */
  release(): void {
    if (this.released) return;
    this.released = true;
    for (const vma of this.space.vmas) if (vma.context === this) vma.context = undefined;
    for (const waiter of [...this.pendingFaults, ...this.readFaults]) waiter.woken = true;
    this.pendingFaults.length = 0;
    this.readFaults.length = 0;
    // The child of a fork that nobody read is let go with it (release_new_ctx).
    for (const event of this.events) {
      event.completed = true;
      if (event.message.kind === "fork") event.message.child.release();
    }
    this.events.length = 0;
  }
}
