// Installs that wait in a queue, over native/ahead.cc: a helper thread of the addon's reads and decodes the first of them
// while this thread installs those before. What is installed where was decided by whoever queued it; drops what is stale.
import type { FaultlineError } from "../errors";
import { BlockCodec, type BlockRef } from "../images/block";
import { AHEAD_BLOCK_PAGES_MAX, AHEAD_SLOTS, PAGE_BYTES, QUEUED_RUNS_MAX } from "../limits";
import { native } from "../native";
import type { QueueOutcome } from "./port";

/** Numbers of a run, see addon.d.ts. */
const RUN = 10;

/** What native code says a run ended with, for the context to name: see KernelUffd. */
export interface QueueNames {
  /** An errno of UFFDIO_COPY. */
  stop(result: number): QueueOutcome["stop"];
  blockError(result: number, block: BlockRef): FaultlineError;
}

const facts = new Float64Array(2);
let started = false;

/** Once for each thread. Without memory for the slots nothing is queued. */
function startHelper(): boolean {
  if (!started) started = native.aheadStart(AHEAD_SLOTS, AHEAD_BLOCK_PAGES_MAX * PAGE_BYTES) !== -ENOMEM;
  return started;
}

const ENOMEM = 12;

/** Ends this thread's helper, when every queue is empty: the next one that is filled starts another. */
export function stopHelper(): void {
  native.aheadStop();
  started = false;
}

export class KernelQueue {
  /** Runs [head, tail) wait; those before `pushed` are with the helper, or were. */
  private readonly runs = new Float64Array(QUEUED_RUNS_MAX * RUN);
  private readonly blocks: (BlockRef | undefined)[] = new Array(QUEUED_RUNS_MAX);
  private head = 0;
  private tail = 0;
  private pushed = 0;
  private readonly outcome: QueueOutcome = { runCount: 0, pageCount: 0, stop: "done", error: undefined };

  constructor(
    private readonly uffd: number,
    private readonly names: QueueNames,
  ) {}

  queue(page: number, block: BlockRef, skip: number, pageCount: number): boolean {
    if (block.pageCount > AHEAD_BLOCK_PAGES_MAX || block.storedBytes > AHEAD_BLOCK_PAGES_MAX * PAGE_BYTES) return false;
    if (this.tail === QUEUED_RUNS_MAX && !this.makeRoom()) return false;
    if (!startHelper()) return false;
    const { runs } = this;
    const at = this.tail * RUN;
    runs[at] = page * PAGE_BYTES;
    runs[at + 1] = block.codec === BlockCodec.Zero ? -1 : block.fd;
    runs[at + 2] = block.codec;
    runs[at + 3] = block.offset;
    runs[at + 4] = block.storedBytes;
    runs[at + 5] = block.pageCount;
    runs[at + 6] = block.checksum;
    runs[at + 7] = skip;
    runs[at + 8] = pageCount;
    runs[at + 9] = -1;
    this.blocks[this.tail++] = block;
    return true;
  }

  private makeRoom(): boolean {
    const { head, tail } = this;
    if (head === 0) return false;
    this.runs.copyWithin(0, head * RUN, tail * RUN);
    this.blocks.copyWithin(0, head, tail);
    this.head = 0;
    this.tail = tail - head;
    this.pushed = Math.max(0, this.pushed - head);
    return true;
  }

  /** `watched`: the descriptor that is readable when a message waits. */
  install(runCount: number, watched: number): QueueOutcome {
    const { outcome, runs } = this;
    this.push(runCount);
    const end = Math.min(this.head + runCount, this.tail);
    outcome.runCount = native.installRuns(this.uffd, watched, runs, this.head, end, facts);
    outcome.pageCount = facts[0]!;
    outcome.error = undefined;
    this.head += outcome.runCount;
    const stop = facts[1]!;
    if (stop === 0) outcome.stop = "done";
    else if (stop === 1) outcome.stop = "interrupted";
    else if (stop > -10000) outcome.stop = this.names.stop(stop);
    else {
      outcome.stop = "error";
      outcome.error = this.names.blockError(stop, this.blocks[this.head]!);
    }
    if (this.head === this.tail) this.clear();
    return outcome;
  }

  /** To the helper, as far as it has slots; nothing where no more is queued than is installed now anyway. */
  private push(runCount: number): void {
    this.pushed = Math.max(this.pushed, this.head);
    if (this.pushed === this.tail || (this.pushed === this.head && this.tail - this.head <= Math.min(runCount, 1)))
      return;
    this.pushed += native.aheadPush(this.runs, this.pushed, this.tail);
  }

  drop(): void {
    if (this.head < this.pushed) native.aheadDrop(this.runs, this.head, this.pushed);
    this.clear();
  }

  private clear(): void {
    this.blocks.fill(undefined, 0, this.tail);
    this.head = 0;
    this.tail = 0;
    this.pushed = 0;
  }
}
