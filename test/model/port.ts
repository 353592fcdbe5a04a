// The simulated kernel behind the userfaultfd port: what the pager calls. Every call is a scheduling point.
// Blocks are stand-ins: a BlockRef's offset says which image page it begins with (see blockOf).
import assert from "node:assert/strict";
import { FaultlineError } from "../../src/errors";
import { BlockCodec, type BlockRef } from "../../src/images/block";
import { PlainQueue } from "../../src/uffd/plainQueue";
import type {
  InstallOutcome,
  QueueOutcome,
  Served,
  ServePlan,
  Uffd,
  UffdEvent,
  UffdWaiter,
  WaitResult,
} from "../../src/uffd/port";
import type { Context, Message } from "./context";
import { imageToken, type Token } from "./memory";
import type { Machine, SimulatedProcess } from "./scheduler";

const pageBytes = 4096;

/** The stand-in for a block of image pages [imagePage, imagePage + pageCount). */
export function blockOf(imagePage: number, pageCount: number, corrupt = false): BlockRef {
  return {
    fd: -1,
    file: corrupt ? "corrupt" : "simulated",
    codec: BlockCodec.Raw,
    offset: imagePage * pageBytes,
    storedBytes: pageCount * pageBytes,
    pageCount,
    checksum: -1,
  };
}

/** How much one read() may take: the real one is bounded by its buffer. */
export interface ReadPolicy {
  readonly messagesMax: number;
}

export class SimulatedUffd implements Uffd {
  readonly id: number;
  private readonly machine: Machine;
  private readonly context: Context;
  private readonly policy: ReadPolicy;
  private closed = false;
  /** What waits answer by themselves, and what they have read and left. */
  private plan: ServePlan | undefined;
  private unread: UffdEvent[] = [];
  /** The pages of blocks with a fault since the plan began: a second fault brings the rest of a block. */
  private readonly faultedBlocks = new Set<number>();
  /** Image pages installed so far: each belongs to one page of a context, so twice is a mistake (invariant 2). */
  private readonly installed = new Set<Token>();

  constructor(machine: Machine, context: Context, policy: ReadPolicy) {
    this.machine = machine;
    this.context = context;
    this.policy = policy;
    this.id = context.id;
  }

  get readable(): boolean {
    return !this.closed && this.context.readable;
  }

  private enter(): void {
    assert.ok(!this.closed, "a call on a closed userfaultfd");
    this.machine.preempt();
  }

  read(): readonly UffdEvent[] {
    this.enter();
    return [...this.unread.splice(0), ...this.readKernel()];
  }

  serve(plan: ServePlan): void {
    this.plan = plan;
    this.faultedBlocks.clear();
  }

  stopServing(): void {
    this.plan = undefined;
  }

  /** As native/serve.cc: answers what it may, and keeps the rest for read(). True where there is such a rest. */
  serveReady(log: Served[], nowUs: () => number): boolean {
    if (this.plan === undefined) return true;
    this.enter();
    const events = this.readKernel();
    if (events.some(({ kind }) => kind !== "fault")) this.plan = undefined;
    for (const event of events) {
      if (event.kind !== "fault" || !this.answer(event, log, nowUs)) this.unread.push(event);
    }
    return this.unread.length > 0;
  }

  private answer(fault: Extract<UffdEvent, { kind: "fault" }>, log: Served[], nowUs: () => number): boolean {
    const { page, write, threadId } = fault;
    const range = this.plannedRange(page);
    if (range === undefined) return false;
    const { first, end, blockPages, toImage } = range;
    const readUs = nowUs();
    const outcome = this.installPages(page, blockOf(page + toImage, 1), 0, 1);
    if (outcome.kind === "present") this.wake(page, 1);
    else if (outcome.kind !== "installed") return false;
    const block = page + toImage - ((page + toImage) % blockPages);
    const blockFirst = Math.max(first, block - toImage);
    const blockEnd = Math.min(end, block + blockPages - toImage);
    const wholeBlock = this.faultedBlocks.has(block);
    this.faultedBlocks.add(block);
    const pageCount = outcome.kind === "installed" ? 1 : 0;
    const codec = BlockCodec.Raw;
    const about = { uffd: this, codec, blockFirst, blockEnd, wholeBlock, threadId, write, readUs, doneUs: nowUs() };
    log.push({ ...about, isFault: true, page, pageCount });
    for (let at = blockFirst; wholeBlock && at < blockEnd; at++) {
      const more = this.installPages(at, blockOf(at + toImage, 1), 0, 1);
      if (more.kind === "installed") log.push({ ...about, isFault: false, page: at, pageCount: 1 });
      else if (more.kind !== "present") break;
    }
    return true;
  }

  private plannedRange(page: number) {
    const { ranges, tables } = this.plan ?? { ranges: [], tables: [] };
    for (let i = 0; i < ranges.length; i += 4) {
      const first = ranges[i]!;
      const end = first + ranges[i + 1]!;
      if (page < first || page >= end) continue;
      const { blocks } = tables[ranges[i + 2]!]!;
      assert.ok(blocks.kind === "raw");
      return { first, end, blockPages: blocks.pagesPerBlock, toImage: ranges[i + 3]! - first };
    }
    return undefined;
  }

  private readKernel(): UffdEvent[] {
    const events: UffdEvent[] = [];
    while (events.length < this.policy.messagesMax) {
      const message = this.context.readOne();
      if (message === undefined) break;
      events.push(this.toEvent(message));
    }
    return events;
  }

  private toEvent(message: Message): UffdEvent {
    if (message.kind === "fault") {
      const { page, write, threadId } = message.waiter;
      return { kind: "fault", page, write, minor: false, writeProtected: false, threadId };
    }
    if (message.kind === "fork")
      return { kind: "fork", child: new SimulatedUffd(this.machine, message.child, this.policy) };
    return message;
  }

  installPages(page: number, block: BlockRef, skip: number, pageCount: number): InstallOutcome {
    assert.ok(skip >= 0 && pageCount > 0 && skip + pageCount <= block.pageCount, "pages outside the block");
    this.enter();
    if (block.file === "corrupt") throw new FaultlineError("IMAGE_CORRUPT", "a block is corrupt", { file: block.file });
    const first = block.offset / pageBytes + skip;
    const tokens = Array.from({ length: pageCount }, (_, i) => imageToken(first + i));
    const outcome = this.context.copy(page, tokens);
    if (outcome.kind === "installed") this.remember(page, tokens.slice(0, outcome.pageCount));
    return outcome;
  }

  private readonly installs = new PlainQueue(
    (page, block, skip, pageCount) => this.installPages(page, block, skip, pageCount),
    () => this.readable,
  );

  queuePages(page: number, block: BlockRef, skip: number, pageCount: number): boolean {
    return this.installs.queuePages(page, block, skip, pageCount);
  }

  installQueued(runCount: number): QueueOutcome {
    return this.installs.installQueued(runCount);
  }

  dropQueued(): void {
    this.installs.dropQueued();
  }

  private remember(page: number, tokens: readonly Token[]): void {
    for (const [i, token] of tokens.entries()) {
      if (this.installed.has(token))
        this.machine.fail(`image page ${token - 1} was installed twice in context ${this.id}, now at page ${page + i}`);
      this.installed.add(token);
    }
  }

  installBytes(page: number, bytes: Uint8Array, pageCount: number): InstallOutcome {
    this.enter();
    const numbers = new DataView(bytes.buffer, bytes.byteOffset);
    const tokens = Array.from({ length: pageCount }, (_, i) => numbers.getFloat64(i * pageBytes, true));
    return this.context.copy(page, tokens);
  }

  installZero(page: number, pageCount: number): InstallOutcome {
    this.enter();
    return this.context.zeropage(page, pageCount);
  }

  poison(page: number, pageCount: number): InstallOutcome {
    this.enter();
    return this.context.poison(page, pageCount);
  }

  wake(page: number, pageCount: number): void {
    assert.ok(pageCount > 0, "UFFDIO_WAKE of nothing is EINVAL");
    this.enter();
    this.context.wake(page, pageCount);
  }

  unregister(page: number, pageCount: number): "unregistered" | "gone" | "exited" {
    this.enter();
    return this.context.unregister(page, pageCount);
  }

  close(): void {
    if (this.closed) return;
    this.enter();
    this.closed = true;
    this.context.release();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export class SimulatedWaiter implements UffdWaiter {
  private readonly machine: Machine;
  private readonly uffds = new Set<SimulatedUffd>();
  private readonly processes = new Map<number, SimulatedProcess>();
  private control = false;

  constructor(machine: Machine) {
    this.machine = machine;
  }

  add(uffd: Uffd): void {
    assert.ok(uffd instanceof SimulatedUffd);
    this.uffds.add(uffd);
  }

  remove(uffd: Uffd): void {
    assert.ok(uffd instanceof SimulatedUffd);
    this.uffds.delete(uffd);
  }

  /** `pidfd` is the simulated process's pid. */
  addPidfd(pidfd: number, token: number): void {
    const process = this.machine.processes.find((candidate) => candidate.pid === pidfd);
    assert.ok(process !== undefined);
    this.processes.set(token, process);
  }

  removePidfd(token: number): void {
    this.processes.delete(token);
  }

  kill(token: number): void {
    const process = this.processes.get(token);
    if (process !== undefined) this.machine.kill(process);
  }

  private readable(): SimulatedUffd[] {
    return [...this.uffds].filter((uffd) => uffd.readable);
  }

  private exited(): number[] {
    return [...this.processes].filter(([, process]) => process.exited).map(([token]) => token);
  }

  wait(timeoutUs: number): WaitResult {
    this.machine.wait(() => this.control || this.readable().length > 0 || this.exited().length > 0, timeoutUs);
    const served: Served[] = [];
    const readable = this.readable().filter((uffd) => uffd.serveReady(served, () => this.machine.clockUs));
    const result = { served, servedCount: served.length, readable, exited: this.exited(), control: this.control };
    this.control = false;
    return result;
  }

  interrupt(): void {
    this.control = true;
  }

  isContended(): boolean {
    return false;
  }

  nowUs(): number {
    return this.machine.clockUs;
  }

  [Symbol.dispose](): void {
    this.uffds.clear();
    this.processes.clear();
  }
}
