// Does the same thing to the simulated and to the real kernel, step by step, and says where they differ. One thread
// runs at a time and every step is waited for, so that the real kernel's answer is determined. Not for choosing the
// steps: see conformance.test.ts.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checked, errorName } from "../../src/errors";
import { BlockCodec, type BlockRef } from "../../src/images/block";
import { native } from "../../src/native";
import { LAYOUT_FEATURES } from "../../src/uffd/features";
import { KernelUffd } from "../../src/uffd/kernelUffd";
import { PlainQueue } from "../../src/uffd/plainQueue";
import type { Uffd, UffdEvent } from "../../src/uffd/port";
import { processStat } from "../support/processes";
import { repositoryRoot } from "../support/program";
import { hangMs, waitFor } from "../support/wait";
import type { Context, Message } from "./context";
import { AddressSpace, imageToken, type Protection, type Token } from "./memory";
import { type Caller, Kernel, type Pause, type Running } from "./syscalls";

const pageBytes = 4096;
/** Where both kernels have the arena: far from everything that a process has by itself. */
export const ARENA = 0x1000_0000;
export const ARENA_PAGES = 96;
/** Slots 0 and 1 are the threads of the first process; each further one becomes a forked child's. */
export const SLOTS = 6;
const imagePages = ARENA_PAGES;

/** A program's step. Pages are counted from the arena's first. */
export type Call =
  | { readonly kind: "read" | "write"; readonly page: number }
  | {
      readonly kind: "dontneed" | "free" | "advise-remove" | "munmap" | "mmap";
      readonly page: number;
      readonly pageCount: number;
    }
  | { readonly kind: "mprotect"; readonly page: number; readonly pageCount: number; readonly protection: Protection }
  | {
      readonly kind: "mremap";
      readonly page: number;
      readonly pageCount: number;
      readonly newCount: number;
      readonly mayMove: boolean;
      readonly fixedTo?: number;
      readonly dontUnmap?: boolean;
    }
  | { readonly kind: "fork" | "exit" };

/** The pager's step, on the context of that index: 0 is the first process's, the others in order of FORK events read. */
export type Ioctl =
  | { readonly kind: "read-events" }
  | { readonly kind: "copy"; readonly page: number; readonly imagePage: number; readonly pageCount: number }
  | { readonly kind: "zero" | "poison" | "wake" | "unregister"; readonly page: number; readonly pageCount: number }
  /** Copies, of which the first `runCount` are installed and the others dropped again. */
  | { readonly kind: "queue"; readonly runs: readonly QueuedCopy[]; readonly runCount: number }
  | { readonly kind: "close" };

export interface QueuedCopy {
  readonly page: number;
  readonly imagePage: number;
  readonly pageCount: number;
}

export type Step = { readonly slot: number; readonly call: Call } | { readonly context: number; readonly ioctl: Ioctl };

const protections: Record<Protection, number> = { none: 0, read: 1, write: 3 };
const advices = { dontneed: 4, free: 8, "advise-remove": 9 } as const;

interface SlotState {
  space: AddressSpace;
  running: Running<string> | undefined;
  pause: Pause;
  /** The call in progress is a memory access: it sleeps in a fault, others in an event. */
  accesses: boolean;
  sleepsIn: "fault" | "event" | undefined;
}

/** The simulated half: slots, contexts and answers as text. */
class Simulated {
  readonly kernel = new Kernel();
  readonly slots: (SlotState | undefined)[] = [];
  readonly contexts: Context[] = [];
  private readonly children = new Map<AddressSpace, number>();
  private nextToken = 1;

  constructor() {
    const space = new AddressSpace();
    space.insert({
      start: ARENA,
      end: ARENA + ARENA_PAGES,
      protection: "write",
      context: undefined,
      pageOffset: ARENA,
      anon: undefined,
    });
    const context = this.kernel.newContext(space);
    this.kernel.register(context, ARENA, ARENA + ARENA_PAGES);
    this.contexts.push(context);
    for (const slot of [0, 1])
      this.slots[slot] = { space, running: undefined, pause: undefined, accesses: false, sleepsIn: undefined };
  }

  freeSlot(): number | undefined {
    for (let slot = 2; slot < SLOTS; slot++) {
      if (this.slots[slot] === undefined && ![...this.children.values()].includes(slot)) return slot;
    }
    return undefined;
  }

  /** Starts a call and answers what the driver must be told. */
  start(slot: number, call: Call): string {
    const state = this.slots[slot]!;
    assert.ok(state.running === undefined);
    const token = call.kind === "write" ? -this.nextToken++ : 0;
    const child = call.kind === "fork" ? this.freeSlot()! : 0;
    state.running = this.body(state.space, slot, call, token, child);
    state.pause = undefined;
    state.accesses = call.kind === "read" || call.kind === "write";
    return command(call, token, child);
  }

  private *body(space: AddressSpace, slot: number, call: Call, token: Token, child: number): Running<string> {
    const caller: Caller = { threadId: slot, killed: () => false };
    const at = "page" in call ? ARENA + call.page : 0;
    switch (call.kind) {
      case "read":
      case "write": {
        const result = yield* this.kernel.access(space, caller, at, call.kind === "write");
        if (result.kind !== "ok") return result.kind;
        if (call.kind === "write") space.write(at, token);
        return `token ${result.token}`;
      }
      case "dontneed":
      case "free":
        return named(yield* this.kernel.madvise(space, caller, call.kind, at, at + call.pageCount));
      case "advise-remove":
        return "errno EINVAL";
      case "munmap":
        return named(yield* this.kernel.munmap(space, caller, at, at + call.pageCount));
      case "mmap":
        return named(yield* this.kernel.mmapFixed(space, caller, at, at + call.pageCount));
      case "mprotect":
        return named(yield* this.kernel.mprotect(space, at, at + call.pageCount, call.protection));
      case "mremap": {
        const fixedTo = call.fixedTo === undefined ? undefined : ARENA + call.fixedTo;
        const flags = { mayMove: call.mayMove, fixedTo, dontUnmap: call.dontUnmap };
        return named(yield* this.kernel.mremap(space, caller, at, call.pageCount, call.newCount, flags));
      }
      case "fork": {
        const copy = yield* this.kernel.fork(space, caller);
        assert.ok(copy !== "EINTR");
        this.children.set(copy, child);
        this.slots[child] = { space: copy, running: undefined, pause: undefined, accesses: false, sleepsIn: undefined };
        return "value 0";
      }
      case "exit":
        space.alive = false;
        return "ended";
    }
  }

  /** Runs every slot until it sleeps or is done; gives the answers of those that are done, and who ran at all. */
  settle(): { answers: Map<number, string>; ran: Set<number> } {
    const answers = new Map<number, string>();
    const ran = new Set<number>();
    for (const [slot, state] of this.slots.entries()) {
      if (state?.running === undefined) continue;
      for (;;) {
        if (state.pause !== undefined && !state.pause()) break;
        ran.add(slot);
        const step = state.running.next();
        if (step.done) {
          answers.set(slot, step.value);
          state.running = undefined;
          state.sleepsIn = undefined;
          break;
        }
        state.pause = step.value;
      }
      if (state.running !== undefined) state.sleepsIn = state.accesses ? "fault" : "event";
    }
    return { answers, ran };
  }

  readEvents(index: number): string[] {
    const context = this.contexts[index]!;
    const lines: string[] = [];
    for (let message = context.readOne(); message !== undefined; message = context.readOne()) {
      if (message.kind === "fork") this.contexts.push(message.child);
      lines.push(eventLine(message.kind === "fault" ? faultOf(message) : message));
    }
    return lines;
  }

  ioctl(index: number, ioctl: Exclude<Ioctl, { kind: "read-events" }>): string {
    const context = this.contexts[index]!;
    if (ioctl.kind === "close") {
      context.release();
      return "closed";
    }
    if (ioctl.kind === "queue") {
      const copies = new PlainQueue(
        (page, block, skip, pageCount) => {
          const first = block.offset / pageBytes + skip;
          const tokens = Array.from({ length: pageCount }, (_, i) => imageToken(first + i));
          return context.copy(page, tokens);
        },
        () => false,
      );
      return installQueue(copies, ioctl, -1);
    }
    const page = ARENA + ioctl.page;
    switch (ioctl.kind) {
      case "copy": {
        const tokens = Array.from({ length: ioctl.pageCount }, (_, i) => imageToken(ioctl.imagePage + i));
        return outcomeLine(context.copy(page, tokens));
      }
      case "zero":
        return outcomeLine(context.zeropage(page, ioctl.pageCount));
      case "poison":
        return outcomeLine(context.poison(page, ioctl.pageCount));
      case "wake":
        context.wake(page, ioctl.pageCount);
        return "woken";
      case "unregister":
        return context.unregister(page, ioctl.pageCount);
    }
  }
}

function faultOf(message: Extract<Message, { kind: "fault" }>): { kind: "fault"; page: number; write: boolean } {
  return { kind: "fault", page: message.waiter.page, write: message.waiter.write };
}

/** A raw message as native.uffdRead gives it: see addon.d.ts. */
function decode([kind, first, second, third]: Float64Array): UffdEvent {
  const [a, b, c] = [first!, second!, third!].map((bytes) => bytes / pageBytes) as [number, number, number];
  switch (kind) {
    case 0x12: {
      const flags = first!;
      const write = (flags & 1) !== 0;
      return {
        kind: "fault",
        page: Math.floor(b),
        write,
        minor: (flags & 4) !== 0,
        writeProtected: false,
        threadId: 0,
      };
    }
    case 0x13:
      return { kind: "fork", child: KernelUffd.adopt(first!) };
    case 0x14:
      return { kind: "remap", from: a, to: b, pageCount: c };
    case 0x15:
      return { kind: "remove", page: a, pageCount: b - a };
    case 0x16:
      return { kind: "unmap", page: a, pageCount: b - a };
    default:
      return { kind: "unknown", event: kind! };
  }
}

type AnyEvent =
  | Extract<Message, { kind: "remap" | "remove" | "unmap" | "fork" }>
  | UffdEvent
  | { readonly kind: "fault"; readonly page: number; readonly write: boolean };

function eventLine(event: AnyEvent): string {
  switch (event.kind) {
    case "fault":
      return `fault ${event.page - ARENA} ${event.write ? "write" : "read"}`;
    case "fork":
      return "fork";
    case "remap":
      return `remap ${event.from - ARENA} to ${event.to - ARENA} of ${event.pageCount}`;
    case "remove":
    case "unmap":
      return `${event.kind} ${event.page - ARENA} of ${event.pageCount}`;
    case "unknown":
      return `unknown ${event.event}`;
  }
}

function outcomeLine(outcome: { readonly kind: string; readonly pageCount?: number }): string {
  return outcome.pageCount === undefined ? outcome.kind : `${outcome.kind} ${outcome.pageCount}`;
}

export function rawBlock(fd: number, imagePage: number, pageCount: number): BlockRef {
  const storedBytes = pageCount * pageBytes;
  const offset = imagePage * pageBytes;
  return { fd, file: "pages", codec: BlockCodec.Raw, offset, storedBytes, pageCount, checksum: -1 };
}

/** Each run is the end of a block that begins before it, where there is something before it. */
function installQueue(
  to: Pick<Uffd, "queuePages" | "installQueued" | "dropQueued">,
  { runs, runCount }: Extract<Ioctl, { kind: "queue" }>,
  fd: number,
): string {
  for (const { page, imagePage, pageCount } of runs) {
    const skip = Math.min(imagePage, 2);
    to.queuePages(ARENA + page, rawBlock(fd, imagePage - skip, pageCount + skip), skip, pageCount);
  }
  const { runCount: whole, pageCount, stop } = to.installQueued(runCount);
  const line = `${whole} whole, ${pageCount} of the next, ${stop}`;
  to.dropQueued();
  return line;
}

function named(result: number | string): string {
  if (typeof result === "string") return `errno ${result}`;
  return `value ${result === 0 ? 0 : result - ARENA}`;
}

function command(call: Call, token: Token, child: number): string {
  const at = "page" in call ? ARENA + call.page : 0;
  switch (call.kind) {
    case "read":
      return `read ${at}`;
    case "write":
      return `write ${at} ${token}`;
    case "dontneed":
    case "free":
    case "advise-remove":
      return `madvise ${at} ${call.pageCount} ${advices[call.kind]}`;
    case "munmap":
    case "mmap":
      return `${call.kind} ${at} ${call.pageCount}`;
    case "mprotect":
      return `mprotect ${at} ${call.pageCount} ${protections[call.protection]}`;
    case "mremap": {
      const flags = (call.mayMove ? 1 : 0) | (call.fixedTo === undefined ? 0 : 2) | (call.dontUnmap ? 4 : 0);
      return `mremap ${at} ${call.pageCount} ${call.newCount} ${flags} ${ARENA + (call.fixedTo ?? 0)}`;
    }
    case "fork":
      return `fork ${child}`;
    case "exit":
      return "exit";
  }
}

/** One slot's socket to the driver. */
class Line {
  private buffered = "";
  private readonly lines: string[] = [];
  private wanted: ((line: string) => void) | undefined;

  constructor(private readonly socket: Socket) {
    socket.on("data", (chunk: Buffer) => {
      this.buffered += chunk.toString();
      for (let end = this.buffered.indexOf("\n"); end >= 0; end = this.buffered.indexOf("\n")) {
        this.lines.push(this.buffered.slice(0, end));
        this.buffered = this.buffered.slice(end + 1);
      }
      this.deliver();
    });
    socket.on("error", () => this.deliver());
  }

  private deliver(): void {
    if (this.wanted === undefined || this.lines.length === 0) return;
    const wanted = this.wanted;
    this.wanted = undefined;
    wanted(this.lines.shift()!);
  }

  send(text: string): void {
    this.socket.write(`${text}\n`);
  }

  get answered(): boolean {
    return this.lines.length > 0;
  }

  receive(limitMs = hangMs): Promise<string> {
    return new Promise((done) => {
      const timer = setTimeout(() => {
        this.wanted = undefined;
        done("no answer");
      }, limitMs);
      this.wanted = (line) => {
        clearTimeout(timer);
        done(line);
      };
      this.deliver();
    });
  }

  close(): void {
    this.socket.destroy();
  }
}

let driverPath: string | undefined;

/** Compiles the driver once for this process. */
function compileDriver(): string {
  if (driverPath !== undefined) return driverPath;
  const folder = mkdtempSync(join(tmpdir(), "faultline-driver-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  driverPath = join(folder, "driver");
  const source = join(repositoryRoot, "test", "model", "driver.c");
  execFileSync("gcc", ["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", driverPath, source]);
  return driverPath;
}

/** The real half: the driver process, its sockets and its contexts. */
export class Real {
  readonly contexts: KernelUffd[] = [];
  private readonly lines: Line[] = [];
  private readonly threadIds: number[] = [];
  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: string,
    readonly imageFd: number,
  ) {}

  static async start(): Promise<Real> {
    const driver = compileDriver();
    const folder = mkdtempSync(join(tmpdir(), "faultline-lockstep-"));
    const socketPath = join(folder, "uffd");
    const listener = checked(native.unixListen(socketPath, 1), "listen", "the test's socket");
    const sockets = new Array<"pipe">(SLOTS).fill("pipe");
    const child = spawn(driver, [socketPath, `${SLOTS}`, `${ARENA}`, `${ARENA_PAGES}`], {
      stdio: ["ignore", "ignore", "inherit", ...sockets],
      detached: true,
    });
    const real = new Real(child, folder, writeImage(join(folder, "pages")));
    for (let slot = 0; slot < SLOTS; slot++) real.lines.push(new Line(child.stdio[3 + slot] as Socket));
    const connection = await waitFor("the driver to connect", () => {
      const fd = native.socketAccept(listener);
      return fd >= 0 ? fd : undefined;
    });
    const uffd = await waitFor("the driver's userfaultfd", () => {
      const fd = native.socketReceiveDescriptor(connection);
      return fd >= 0 ? fd : undefined;
    });
    native.closeDescriptor(connection);
    native.closeDescriptor(listener);
    const context = KernelUffd.adopt(uffd);
    context.api(LAYOUT_FEATURES);
    context.register(ARENA, ARENA_PAGES);
    real.contexts.push(context);
    for (const slot of [0, 1]) await real.learnThread(slot);
    return real;
  }

  async learnThread(slot: number): Promise<void> {
    this.lines[slot]!.send("tid");
    this.threadIds[slot] = Number((await this.lines[slot]!.receive()).split(" ")[1]);
  }

  send(slot: number, text: string): void {
    this.lines[slot]!.send(text);
  }

  async answer(slot: number): Promise<string> {
    const [kind, value] = (await this.lines[slot]!.receive()).split(" ");
    if (kind === "errno") return `errno ${errorName(Number(value))}`;
    if (kind === "value") return `value ${Number(value) === 0 ? 0 : Number(value) - ARENA}`;
    return value === undefined ? kind! : `${kind} ${Number(value)}`;
  }

  async ended(slot: number): Promise<string> {
    const pid = this.threadIds[slot]!;
    await waitFor("the process to end", () => [undefined, "Z"].includes(processStat(pid)?.state));
    return "ended";
  }

  private sleeps(slot: number): number {
    const status = readFileSync(`/proc/${this.threadIds[slot]}/status`, "latin1");
    return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)![1]);
  }

  /** How often each thread has gone to sleep: a second sleep at the same place looks like the first otherwise. */
  countSleeps(): number[] {
    return this.threadIds.map((id, slot) => (processStat(id) === undefined ? 0 : this.sleeps(slot)));
  }

  /** Waits until the thread sleeps where the model says, by the kernel's own word (proc_pid_wchan(5)). */
  async asleep(slot: number, where: "fault" | "event", sleptBefore: number): Promise<string> {
    const place = where === "fault" ? "handle_userfault" : "userfaultfd_event_wait_completion";
    return await waitFor(`slot ${slot} to sleep in ${place}`, () => {
      if (this.lines[slot]!.answered) return "answered";
      if (this.sleeps(slot) <= sleptBefore) return undefined;
      return readFileSync(`/proc/${this.threadIds[slot]}/wchan`, "latin1") === place ? "asleep" : undefined;
    });
  }

  /**
   * Reads `count` messages, one at a time: a thread that the first one lets go may queue its next before a read of all
   * of them is over. Where there are fewer, what is missing shows as a difference.
   */
  readEvents(index: number, count: number): string[] {
    const lines: string[] = [];
    const message = new Float64Array(4);
    // One more where none is expected: there must be none.
    for (let i = 0; i < Math.max(1, count); i++) {
      if (native.uffdRead(this.contexts[index]!.id, message) !== 1) break;
      const event = decode(message);
      if (event.kind === "fork") this.contexts.push(event.child as KernelUffd);
      lines.push(eventLine(event));
    }
    return lines;
  }

  ioctl(index: number, ioctl: Exclude<Ioctl, { kind: "read-events" }>): string {
    const context = this.contexts[index]!;
    if (ioctl.kind === "close") {
      context.close();
      return "closed";
    }
    if (ioctl.kind === "queue") return installQueue(context, ioctl, this.imageFd);
    const page = ARENA + ioctl.page;
    switch (ioctl.kind) {
      case "copy":
        return outcomeLine(
          context.installPages(page, rawBlock(this.imageFd, ioctl.imagePage, ioctl.pageCount), 0, ioctl.pageCount),
        );
      case "zero":
        return outcomeLine(context.installZero(page, ioctl.pageCount));
      case "poison":
        return outcomeLine(context.poison(page, ioctl.pageCount));
      case "wake":
        context.wake(page, ioctl.pageCount);
        return "woken";
      case "unregister":
        return context.unregister(page, ioctl.pageCount);
    }
  }

  async end(): Promise<void> {
    // The children first: they die with the first process (PR_SET_PDEATHSIG) and need no uffd for that.
    const exit = new Promise<void>((done) => this.child.once("exit", () => done()));
    const running = this.child.exitCode === null && this.child.signalCode === null;
    this.child.kill("SIGKILL");
    if (running) await exit;
    const all = this.threadIds.filter((id) => id !== undefined);
    await waitFor("the driver's processes to end", () =>
      all.every((id) => [undefined, "Z"].includes(processStat(id)?.state)),
    );
    for (const context of this.contexts) context.close();
    for (const line of this.lines) line.close();
    closeSync(this.imageFd);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A pages file in which page i holds the token of image page i at both ends. */
function writeImage(path: string): number {
  const bytes = Buffer.alloc(imagePages * pageBytes);
  for (let page = 0; page < imagePages; page++) {
    bytes.writeBigInt64LE(BigInt(imageToken(page)), page * pageBytes);
    bytes.writeBigInt64LE(BigInt(imageToken(page)), (page + 1) * pageBytes - 8);
  }
  const fd = openSync(path, "w+");
  writeSync(fd, bytes);
  return fd;
}

/** Faults by page; what follows them stays in order. */
function faultsFirst(a: string, b: string): number {
  if (a.startsWith("fault") && b.startsWith("fault")) return a < b ? -1 : a > b ? 1 : 0;
  return 0;
}

export class Lockstep {
  readonly simulated = new Simulated();
  private constructor(private readonly real: Real) {}

  static async start(): Promise<Lockstep> {
    return new Lockstep(await Real.start());
  }

  /** Does one step on both and gives what happened, one line each, the same on both or else an AssertionError. */
  async step(step: Step): Promise<string[]> {
    const here: string[] = [];
    const there: string[] = [];
    const sleeps = this.real.countSleeps();
    if ("slot" in step) this.real.send(step.slot, this.simulated.start(step.slot, step.call));
    else if (step.ioctl.kind === "read-events") {
      here.push(...this.simulated.readEvents(step.context));
      there.push(...this.real.readEvents(step.context, here.length));
      // Threads that one wake let go ask again in an order of their own.
      here.sort(faultsFirst);
      there.sort(faultsFirst);
    } else {
      here.push(this.simulated.ioctl(step.context, step.ioctl));
      there.push(this.real.ioctl(step.context, step.ioctl));
    }
    await this.settle(here, there, sleeps);
    assert.deepEqual(there, here, "the real kernel (actual) and the simulated one (expected) differ");
    return here;
  }

  private async settle(here: string[], there: string[], sleeps: readonly number[]): Promise<void> {
    const before = new Set(this.simulated.slots.flatMap((state, slot) => (state === undefined ? [] : [slot])));
    const { answers, ran } = this.simulated.settle();
    for (const [slot, answer] of answers) {
      here.push(`${slot}: ${answer}`);
      there.push(`${slot}: ${answer === "ended" ? await this.real.ended(slot) : await this.real.answer(slot)}`);
    }
    for (const [slot, state] of this.simulated.slots.entries()) {
      if (state === undefined) continue;
      if (!before.has(slot)) {
        // A fork's child says hello.
        here.push(`${slot}: value 0`);
        there.push(`${slot}: ${await this.real.answer(slot)}`);
        await this.real.learnThread(slot);
      }
      if (state.sleepsIn === undefined || !ran.has(slot)) continue;
      here.push(`${slot}: asleep`);
      there.push(`${slot}: ${await this.real.asleep(slot, state.sleepsIn, sleeps[slot] ?? 0)}`);
    }
  }

  end(): Promise<void> {
    return this.real.end();
  }
}

export function describeStep(step: Step): string {
  return JSON.stringify(step);
}
