// One userfaultfd context of the real kernel: the port over the addon. Checks arguments, then crosses; names outcomes.
// No policy and no retries: those are the pager's.

import { checked, FaultlineError } from "../errors";
import { BlockCodec, type BlockRef } from "../images/block";
import { BLOCK_PAGES_MAX, MESSAGES_READ_MAX, PAGE_BYTES } from "../limits";
import { native } from "../native";
import { UffdMode } from "./features";
import { KernelQueue } from "./kernelQueue";
import type { InstallOutcome, QueueOutcome, ServePlan, Uffd, UffdEvent } from "./port";

const EAGAIN = 11;
const EEXIST = 17;
const ENOENT = 2;
const ENOMEM = 12;
const ENOSPC = 28;
const ESRCH = 3;

const FLAG_WRITE = 1;
const FLAG_WRITE_PROTECTED = 2;
const FLAG_MINOR = 4;

// One set of buffers for each thread (each worker loads this module anew). `staged` is the block whose pages
// [stagedFrom, stagedTo) `staging` holds: a fault's own page and then the rest of its block decode once.
const staging = new Uint8Array(BLOCK_PAGES_MAX * PAGE_BYTES);
const scratch = new Uint8Array(BLOCK_PAGES_MAX * PAGE_BYTES);
const messages = new Float64Array(MESSAGES_READ_MAX * 4);
let staged: BlockRef | undefined;
let stagedFrom = 0;
let stagedTo = 0;

const noBlocks = { offsets: undefined, firstPages: undefined, checksums: undefined, places: undefined };

const present: InstallOutcome = { kind: "present" };
const changing: InstallOutcome = { kind: "changing" };
const gone: InstallOutcome = { kind: "gone" };
const exited: InstallOutcome = { kind: "exited" };
const onePage: InstallOutcome = { kind: "installed", pageCount: 1 };

function outcome(result: number, ioctl: string): InstallOutcome {
  if (result === PAGE_BYTES) return onePage;
  if (result > 0) return { kind: "installed", pageCount: Math.floor(result / PAGE_BYTES) };
  switch (-result) {
    case EEXIST:
      return present;
    case EAGAIN:
      return changing;
    case ENOENT:
      return gone;
    case ESRCH:
    case ENOSPC: // what kernels before 4.11 say instead of ESRCH
      return exited;
    default:
      throw new FaultlineError("SYSTEM", "the kernel refused to install pages", { syscall: ioctl, errno: -result });
  }
}

/** Throws for a block that could not be read or decoded; see blockLoad in addon.d.ts for the numbers. */
function blockError(result: number, block: BlockRef): FaultlineError {
  const where = { file: block.file, offset: block.offset };
  const advice =
    "the page file has changed since it was opened, or is damaged; run `faultline verify` on its directory";
  if (result === -10001) return new FaultlineError("IMAGE_TRUNCATED", "the page file ends early", { ...where, advice });
  if (result === -10002)
    return new FaultlineError("IMAGE_CORRUPT", "a page block has a wrong checksum", { ...where, advice });
  if (result === -10003)
    return new FaultlineError("IMAGE_CORRUPT", "a page block does not decode", { ...where, advice });
  return new FaultlineError("SYSTEM", "the page file cannot be read", {
    ...where,
    syscall: "pread",
    errno: -result - 20000,
  });
}

const queueNames = {
  stop(result: number): QueueOutcome["stop"] {
    const { kind } = outcome(result, "UFFDIO_COPY");
    if (kind === "installed") throw new Error(`${result} is no reason to stop`);
    return kind;
  },
  blockError,
};

function checkPages(page: number, pageCount: number): void {
  if (!Number.isSafeInteger(page) || page < 0) throw new RangeError(`page ${page} is not a page number`);
  if (!Number.isSafeInteger(pageCount) || pageCount < 1) throw new RangeError(`${pageCount} pages cannot be a range`);
}

/** A context of the kernel. `close` (or `using`) gives the descriptor back. */
export class KernelUffd implements Uffd {
  readonly id: number;
  private open = true;
  private queue: KernelQueue | undefined;
  /** The epoll set that waits on this context and others, and its token there, or -1: KernelWaiter says so. */
  waitedOnBy = -1;
  waitToken = -1;
  private planned = false;

  private constructor(fd: number) {
    this.id = fd;
  }

  /** Takes over a descriptor whose UFFDIO_API has been done, by CRIU or by `create`. It must not block (O_NONBLOCK). */
  static adopt(fd: number): KernelUffd {
    if (!Number.isInteger(fd) || fd < 0) throw new RangeError(`${fd} is not a descriptor`);
    return new KernelUffd(fd);
  }

  /** userfaultfd(2) for the calling process's own memory, and UFFDIO_API with `features`. */
  static create(features: number, flags = 0): KernelUffd {
    const fd = checked(native.uffdCreate(flags), "userfaultfd", "userfaultfd is refused", {
      advice: "run as root or with CAP_SYS_PTRACE",
    });
    const uffd = new KernelUffd(fd);
    try {
      uffd.api(features);
    } catch (error) {
      uffd.close();
      throw error;
    }
    return uffd;
  }

  /** UFFDIO_API: once for each context, before any other call. Returns the kernel's features. */
  api(features: number): number {
    const out = new Float64Array(2);
    checked(native.uffdApi(this.id, features, out), "UFFDIO_API", "the kernel refused the userfaultfd features asked", {
      advice: "EVENT_FORK needs CAP_SYS_PTRACE",
    });
    return out[0]!;
  }

  /** UFFDIO_REGISTER. Register whole VMAs: a part splits the VMA, and the program's own mremap() of it then fails. */
  register(page: number, pageCount: number, mode: number = UffdMode.Missing): void {
    checkPages(page, pageCount);
    const result = native.uffdRegister(this.id, page * PAGE_BYTES, pageCount * PAGE_BYTES, mode);
    checked(result, "UFFDIO_REGISTER", "the range cannot be registered", { address: page * PAGE_BYTES });
  }

  read(): readonly UffdEvent[] {
    const events: UffdEvent[] = [];
    const count = native.uffdRead(this.id, messages);
    checked(count, "read", "the userfaultfd cannot be read");
    for (let i = 0; i < count; i++) events.push(this.event(i * 4));
    return events;
  }

  serve({ ranges, tables }: ServePlan): void {
    if (this.waitToken < 0) throw new Error("a context that is not waited on cannot be served by a wait");
    this.planned = true;
    // Without memory for it every fault is reported.
    if (native.serveBegin(this.id, this.waitToken, ranges) < 0) return;
    for (const { runCount, starts, counts, flags, filePages, fd, blocks } of tables) {
      const { offsets, firstPages, checksums, places, blockCount } =
        blocks.kind === "packed" ? blocks : { ...noBlocks, blockCount: 0 };
      const pagesPerBlock = blocks.kind === "raw" ? blocks.pagesPerBlock : 0;
      native.serveTable(
        this.id,
        starts,
        counts,
        flags,
        filePages,
        runCount,
        fd,
        pagesPerBlock,
        offsets,
        firstPages,
        checksums,
        places,
        blockCount,
      );
    }
    if (native.serveStart(this.id) < 0) throw new RangeError("a range of a table that is not in the plan");
  }

  stopServing(): void {
    if (this.planned) native.servePause(this.id);
  }

  private event(at: number): UffdEvent {
    const kind = messages[at]!;
    const first = messages[at + 1]!;
    const second = messages[at + 2]!;
    const third = messages[at + 3]!;
    switch (kind) {
      case 0x12:
        return {
          kind: "fault",
          page: Math.floor(second / PAGE_BYTES),
          write: (first & FLAG_WRITE) !== 0,
          minor: (first & FLAG_MINOR) !== 0,
          writeProtected: (first & FLAG_WRITE_PROTECTED) !== 0,
          threadId: third,
        };
      case 0x13:
        return { kind: "fork", child: KernelUffd.adopt(first) };
      case 0x14:
        return { kind: "remap", from: first / PAGE_BYTES, to: second / PAGE_BYTES, pageCount: third / PAGE_BYTES };
      case 0x15:
        return { kind: "remove", page: first / PAGE_BYTES, pageCount: (second - first) / PAGE_BYTES };
      case 0x16:
        return { kind: "unmap", page: first / PAGE_BYTES, pageCount: (second - first) / PAGE_BYTES };
      default:
        return { kind: "unknown", event: kind };
    }
  }

  installPages(page: number, block: BlockRef, skip: number, pageCount: number): InstallOutcome {
    checkPages(page, pageCount);
    if (skip < 0 || skip + pageCount > block.pageCount) throw new RangeError("the pages are not all in the block");
    if (block.pageCount > BLOCK_PAGES_MAX) throw new RangeError(`a block of ${block.pageCount} pages is too large`);
    if (block.storedBytes > scratch.length) throw new RangeError(`a block of ${block.storedBytes} bytes is too large`);
    const address = page * PAGE_BYTES;
    const length = pageCount * PAGE_BYTES;
    if (block === staged && skip >= stagedFrom && skip + pageCount <= stagedTo) {
      return outcome(native.uffdCopy(this.id, address, staging, skip * PAGE_BYTES, length), "UFFDIO_COPY");
    }
    staged = undefined;
    const { fd, codec, offset, storedBytes, checksum } = block;
    const result = native.uffdInstall(
      this.id,
      address,
      fd,
      codec,
      offset,
      storedBytes,
      block.pageCount,
      checksum,
      skip,
      pageCount,
      scratch,
      staging,
    );
    if (result <= -10000) throw blockError(result, block);
    const whole = codec === BlockCodec.Lz4 || (codec === BlockCodec.Raw && checksum >= 0);
    staged = block;
    stagedFrom = whole ? 0 : skip;
    stagedTo = whole ? block.pageCount : skip + pageCount;
    return outcome(result, "UFFDIO_COPY");
  }

  queuePages(page: number, block: BlockRef, skip: number, pageCount: number): boolean {
    checkPages(page, pageCount);
    if (skip < 0 || skip + pageCount > block.pageCount) throw new RangeError("the pages are not all in the block");
    this.queue ??= new KernelQueue(this.id, queueNames);
    return this.queue.queue(page, block, skip, pageCount);
  }

  installQueued(runCount: number): QueueOutcome {
    if (this.queue === undefined) throw new Error("nothing was queued");
    return this.queue.install(runCount, this.waitedOnBy);
  }

  dropQueued(): void {
    this.queue?.drop();
  }

  installBytes(page: number, bytes: Uint8Array, pageCount: number): InstallOutcome {
    checkPages(page, pageCount);
    if (bytes.length < pageCount * PAGE_BYTES) throw new RangeError("fewer bytes than pages");
    const result = native.uffdCopy(this.id, page * PAGE_BYTES, bytes, 0, pageCount * PAGE_BYTES);
    return outcome(result, "UFFDIO_COPY");
  }

  installZero(page: number, pageCount: number): InstallOutcome {
    checkPages(page, pageCount);
    return outcome(native.uffdZero(this.id, page * PAGE_BYTES, pageCount * PAGE_BYTES), "UFFDIO_ZEROPAGE");
  }

  /** Linux 6.6; throws SYSTEM with EINVAL on an older kernel. */
  poison(page: number, pageCount: number): InstallOutcome {
    checkPages(page, pageCount);
    return outcome(native.uffdPoison(this.id, page * PAGE_BYTES, pageCount * PAGE_BYTES), "UFFDIO_POISON");
  }

  /** UFFDIO_CONTINUE: maps pages that the page cache of shared memory already holds (minor faults). */
  installContinue(page: number, pageCount: number): InstallOutcome {
    checkPages(page, pageCount);
    return outcome(native.uffdContinue(this.id, page * PAGE_BYTES, pageCount * PAGE_BYTES), "UFFDIO_CONTINUE");
  }

  /** UFFDIO_WRITEPROTECT: protects, or lifts the protection and wakes. The range is registered for it. */
  writeProtect(page: number, pageCount: number, isProtected: boolean): void {
    checkPages(page, pageCount);
    const mode = isProtected ? 1 : 0;
    const result = native.uffdWriteProtect(this.id, page * PAGE_BYTES, pageCount * PAGE_BYTES, mode);
    checked(result, "UFFDIO_WRITEPROTECT", "the range cannot be write-protected", { address: page * PAGE_BYTES });
  }

  wake(page: number, pageCount: number): void {
    checkPages(page, pageCount);
    const result = native.uffdWake(this.id, page * PAGE_BYTES, pageCount * PAGE_BYTES);
    checked(result, "UFFDIO_WAKE", "the waiting threads cannot be woken", { address: page * PAGE_BYTES });
  }

  unregister(page: number, pageCount: number): "unregistered" | "gone" | "exited" {
    checkPages(page, pageCount);
    const result = native.uffdUnregister(this.id, page * PAGE_BYTES, pageCount * PAGE_BYTES);
    if (result >= 0) return "unregistered";
    // ENOMEM is how UNREGISTER says that the address space has gone (mmget_not_zero in fs/userfaultfd.c).
    return result === -ENOMEM || result === -ESRCH ? "exited" : "gone";
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.dropQueued();
    if (this.planned) native.serveEnd(this.id);
    native.closeDescriptor(this.id);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
