// The userfaultfd port: the one interface between the pager and a kernel, real or simulated.
// Kernel side: kernelUffd.ts over the addon. Simulated side: test/model. No policy here.
//
// Addresses are page numbers (address / 4096), exact below 2^53. Semantics: ioctl_userfaultfd(2) and
// Documentation/admin-guide/mm/userfaultfd.rst; the table of outcomes in docs/kernel.md.
import type { FaultlineError } from "../errors";
import type { BlockCodec, BlockRef } from "../images/block";
import type { PageTable } from "../images/pageTable";

export interface FaultEvent {
  readonly kind: "fault";
  readonly page: number;
  readonly write: boolean;
  /** UFFD_PAGEFAULT_FLAG_MINOR: the page is in the page cache but not mapped. */
  readonly minor: boolean;
  /** UFFD_PAGEFAULT_FLAG_WP: a write to a write-protected page. */
  readonly writeProtected: boolean;
  /** The faulting thread where UFFD_FEATURE_THREAD_ID was negotiated, else 0. */
  readonly threadId: number;
}

/** fork(2) of the owner: the child's context as an owned descriptor; the reader must close it. */
export interface ForkEvent {
  readonly kind: "fork";
  readonly child: Uffd;
}

/** mremap(2) moved [from, from + pageCount) to `to`; pageCount is the old length. */
export interface RemapEvent {
  readonly kind: "remap";
  readonly from: number;
  readonly to: number;
  readonly pageCount: number;
}

/** madvise(MADV_DONTNEED, MADV_FREE or MADV_REMOVE) of [page, page + pageCount). */
export interface RemoveEvent {
  readonly kind: "remove";
  readonly page: number;
  readonly pageCount: number;
}

/** munmap(2), a shrinking or moving mremap(2), or a mapping over the range. */
export interface UnmapEvent {
  readonly kind: "unmap";
  readonly page: number;
  readonly pageCount: number;
}

/** An event number that this version does not know, kept so that nothing is lost in silence. */
export interface UnknownEvent {
  readonly kind: "unknown";
  readonly event: number;
}

export type LayoutEvent = ForkEvent | RemapEvent | RemoveEvent | UnmapEvent;
export type UffdEvent = FaultEvent | LayoutEvent | UnknownEvent;

/** What the kernel did with an install. Never a bare number. */
export type InstallOutcome =
  /** pageCount >= 1 pages were installed; fewer than asked means: go on after them. */
  | { readonly kind: "installed"; readonly pageCount: number }
  /** EEXIST: the first page is already there. Its waiters still need a wake. */
  | { readonly kind: "present" }
  /** EAGAIN without progress: an event is unread, or a madvise has not returned. Read events, then plan again. */
  | { readonly kind: "changing" }
  /** ENOENT: the range leaves its VMA or crosses a split. For one page: the page is gone. */
  | { readonly kind: "gone" }
  /** ESRCH: the address space is gone. */
  | { readonly kind: "exited" };

/** What installQueued did. Valid until the next call. */
export interface QueueOutcome {
  /** Runs that are there whole, from the head on: they have left the queue. */
  runCount: number;
  /** Pages installed of the run behind them. */
  pageCount: number;
  /** interrupted: a message waits. error: the block of the run behind cannot be read. Otherwise as an install says. */
  stop: "done" | "interrupted" | "error" | Exclude<InstallOutcome["kind"], "installed">;
  error: FaultlineError | undefined;
}

/** What wait() may answer by itself: plain faults on pages whose image bytes are missing. */
export interface ServePlan {
  /** Four numbers a range, in order of pages: first page, page count, number of its table, image page of the first. */
  readonly ranges: Float64Array;
  readonly tables: readonly PageTable[];
}

/** What wait() did by itself. One fault may make several: its own page, then more of the block around it. */
export interface Served {
  uffd: Uffd;
  /** Whether it is the fault, or more pages of its block. */
  isFault: boolean;
  page: number;
  /** Pages installed from `page` on; 0 where the page was there already, and its threads were woken. */
  pageCount: number;
  codec: BlockCodec;
  /** Of a fault: the pages of its block that one range of the plan holds. */
  blockFirst: number;
  blockEnd: number;
  /** Of a fault: whether the whole of them came with it, as it was not the first in the block lately. */
  wholeBlock: boolean;
  threadId: number;
  write: boolean;
  /** When the fault was read, and when it was answered; nowUs. */
  readUs: number;
  doneUs: number;
}

/** One userfaultfd context. Owns its descriptor. */
export interface Uffd extends Disposable {
  /** Distinguishes contexts within one pager; the descriptor number for the kernel's. */
  readonly id: number;
  /**
   * All queued messages, in the order the kernel gave them (which puts faults before older events), first those that a wait()
   * has read and not answered.
   */
  read(): readonly UffdEvent[];
  /**
   * From now on wait() answers by itself what the plan holds, until it reads anything but a fault, or is told otherwise: it
   * must be wherever the layout changes without an event. For a context that is waited on.
   */
  serve(plan: ServePlan): void;
  /** From now on every fault is reported. */
  stopServing(): void;
  /**
   * Decodes `block` and installs its pages [skip, skip + pageCount) at `page` (UFFDIO_COPY), waking the waiters.
   * Throws a FaultlineError where the block cannot be read or its checksum is wrong.
   * A BlockRef is immutable: calls in a row with the same object may decode once.
   */
  installPages(page: number, block: BlockRef, skip: number, pageCount: number): InstallOutcome;
  /**
   * Puts such an install behind those that wait for installQueued. The blocks of the first of them may be read and decoded
   * meanwhile, so their descriptors stay open until they are installed or dropped. False where the queue is full, or the
   * block is too large for it.
   */
  queuePages(page: number, block: BlockRef, skip: number, pageCount: number): boolean;
  /**
   * Installs the first `runCount` runs of the queue in their order, until one is not installed whole, or a message waits on
   * a context that is waited on together with this one.
   */
  installQueued(runCount: number): QueueOutcome;
  /** Empties the queue. close() does that too. */
  dropQueued(): void;
  /** Installs the first `pageCount` pages of `bytes` at `page` (UFFDIO_COPY), waking the waiters: for remote sources. */
  installBytes(page: number, bytes: Uint8Array, pageCount: number): InstallOutcome;
  /** Installs zero pages (UFFDIO_ZEROPAGE), waking the waiters. */
  installZero(page: number, pageCount: number): InstallOutcome;
  /** Makes later touches of the range raise SIGBUS (UFFDIO_POISON). */
  poison(page: number, pageCount: number): InstallOutcome;
  /** Wakes the threads waiting on the range without installing anything (UFFDIO_WAKE). */
  wake(page: number, pageCount: number): void;
  /** Ends the registration of the range (UFFDIO_UNREGISTER); what is missing there reads as zero afterwards. */
  unregister(page: number, pageCount: number): "unregistered" | "gone" | "exited";
  /** Closes the descriptor. The last close of a context zero-fills everything still missing in it. */
  close(): void;
}

/** Waits on many contexts, pidfds and a control descriptor at once. */
export interface UffdWaiter extends Disposable {
  add(uffd: Uffd): void;
  remove(uffd: Uffd): void;
  /** Watches a process for exit by its pidfd; `token` is what wait() reports. */
  addPidfd(pidfd: number, token: number): void;
  removePidfd(token: number): void;
  /** Sends SIGKILL to the process behind the pidfd of `token`. Does nothing where it has exited already. */
  kill(token: number): void;
  /**
   * Returns what is ready, having answered what it may (Uffd.serve). Spins for at most the configured time after recent activity, then sleeps, for at most
   * `timeoutUs` (0 polls; Infinity waits for ever). Where it answered a fault it looks on for the next one, a little while,
   * and a shorter one where the caller is `hurried`: much work waits in the background.
   */
  wait(timeoutUs: number, hurried?: boolean): WaitResult;
  /** Makes a wait() in progress, or the next one, return with `control` set. Callable from any thread. */
  interrupt(): void;
  /** Whether others want the processor that this thread keeps busy. */
  isContended(): boolean;
  /** Monotonic time, microseconds. Simulated kernels have a clock of their own. */
  nowUs(): number;
}

/** Valid until the next wait(): an implementation may reuse it. */
export interface WaitResult {
  /** The first `servedCount` hold, in the order in which they were done: all before the messages that read() gives now. */
  readonly served: readonly Served[];
  readonly servedCount: number;
  readonly readable: readonly Uffd[];
  /** Tokens of the pidfds whose processes have exited. */
  readonly exited: readonly number[];
  readonly control: boolean;
}
