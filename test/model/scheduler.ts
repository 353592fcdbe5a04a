// Who runs next in a simulated machine: its threads, the pager (which is the code that calls the port), and time.
// Every port call is a point where threads may run first; a port wait() runs them until the pager goes on. All choices
// come from one Chooser, so a seed (or a list of choices) replays a run. Not for what threads do: see program.ts.
import assert from "node:assert/strict";
import type { Context } from "./context";
import type { AddressSpace } from "./memory";
import { Kernel, type Pause } from "./syscalls";

/** Where every choice of a run comes from. */
export interface Chooser {
  /** A number from 0 to count - 1. `weightOfFirst` is how likely 0 should be where the chooser draws at random. */
  pick(count: number, weightOfFirst?: number): number;
  /** Whether finite waits may end although a thread could still run. */
  readonly timeIsFree: boolean;
}

/** xorshift128+ seeded by splitmix32: fast and the same everywhere. */
export class RandomChooser implements Chooser {
  readonly timeIsFree = true;
  private state: Uint32Array;

  constructor(seed: number) {
    let mixed = seed >>> 0;
    this.state = Uint32Array.from({ length: 4 }, () => {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let value = mixed;
      value = Math.imul(value ^ (value >>> 16), 0x21f0aaad);
      value = Math.imul(value ^ (value >>> 15), 0x735a2d97);
      return (value ^ (value >>> 15)) >>> 0;
    });
  }

  /** xoshiro128**, 32 bits. */
  private next(): number {
    const state = this.state;
    const scrambled = Math.imul(state[1]!, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = state[1]! << 9;
    state[2]! ^= state[0]!;
    state[3]! ^= state[1]!;
    state[1]! ^= state[2]!;
    state[0]! ^= state[3]!;
    state[2]! ^= shifted;
    state[3] = (state[3]! << 11) | (state[3]! >>> 21);
    return result;
  }

  pick(count: number, weightOfFirst?: number): number {
    assert.ok(count > 0);
    if (count === 1) return 0;
    if (weightOfFirst === undefined) return this.next() % count;
    if (this.next() / 0x1_0000_0000 < weightOfFirst) return 0;
    return 1 + (this.next() % (count - 1));
  }
}

/** Follows a prefix of choices, then takes the first option each time, and remembers what was open. */
export class EnumeratingChooser implements Chooser {
  readonly timeIsFree = false;
  readonly taken: number[] = [];
  readonly counts: number[] = [];
  private readonly prefix: readonly number[];

  constructor(prefix: readonly number[]) {
    this.prefix = prefix;
  }

  pick(count: number): number {
    if (count === 1) return 0;
    const choice = this.prefix[this.taken.length] ?? 0;
    assert.ok(choice < count, "the run is not deterministic: a choice of the prefix is not open");
    this.taken.push(choice);
    this.counts.push(count);
    return choice;
  }

  /** The prefix of the next run in depth-first order, or undefined when all were run. */
  nextPrefix(): number[] | undefined {
    for (let i = this.taken.length - 1; i >= 0; i--) {
      if (this.taken[i]! + 1 < this.counts[i]!) return [...this.taken.slice(0, i), this.taken[i]! + 1];
    }
    return undefined;
  }
}

export interface SimulatedProcess {
  readonly pid: number;
  space: AddressSpace;
  /** A fatal signal or exit_group: every thread ends at its next chance. */
  killed: boolean;
  exited: boolean;
  /** The address space dies before the process does (execve). */
  lingers: boolean;
  threadCount: number;
}

export interface SimulatedThread {
  readonly threadId: number;
  readonly process: SimulatedProcess;
  readonly run: Generator<Pause, void, void>;
  pause: Pause;
}

/** The run cannot go on: the program hangs. Thrown through the pager. */
export class Hang extends Error {}

/** Waits in a row that bring nothing, after which the pager is held to have lost a fault. */
const idleWaitsMax = 5_000;

export class Machine {
  readonly kernel = new Kernel();
  readonly chooser: Chooser;
  readonly processes: SimulatedProcess[] = [];
  readonly threads: SimulatedThread[] = [];
  clockUs = 1;
  steps = 0;
  /** How likely the pager goes on where a thread could run instead. */
  pagerWeight = 0.5;
  /** The first violation; the run stops at it. */
  failure: string | undefined;
  /** Called when the last thread of a process has ended, before its memory goes. */
  onEnd: ((process: SimulatedProcess) => void) | undefined;
  private idleWaits = 0;
  /** Processes whose old space is gone and that have not exited yet. */
  private readonly lingering: SimulatedProcess[] = [];
  private nextId = 100;

  constructor(chooser: Chooser) {
    this.chooser = chooser;
  }

  newId(): number {
    return this.nextId++;
  }

  startProcess(space: AddressSpace): SimulatedProcess {
    const process = { pid: this.newId(), space, killed: false, exited: false, lingers: false, threadCount: 0 };
    this.processes.push(process);
    return process;
  }

  startThread(process: SimulatedProcess, body: (threadId: number) => Generator<Pause, void, void>): void {
    const threadId = this.newId();
    process.threadCount++;
    this.threads.push({ threadId, process, run: body(threadId), pause: undefined });
  }

  kill(process: SimulatedProcess): void {
    process.killed = true;
  }

  /** execve(): the other threads end and the old space with them; the process itself lives on a little. */
  exec(process: SimulatedProcess): void {
    process.killed = true;
    process.lingers = true;
  }

  fail(message: string): void {
    this.failure ??= message;
  }

  get finished(): boolean {
    return this.threads.length === 0;
  }

  private runnable(): SimulatedThread[] {
    return this.threads.filter((thread) => thread.pause === undefined || thread.process.killed || thread.pause());
  }

  private step(thread: SimulatedThread): void {
    this.steps++;
    this.clockUs++;
    this.idleWaits = 0;
    const { done, value } = thread.run.next();
    if (!done) {
      thread.pause = value;
      return;
    }
    this.threads.splice(this.threads.indexOf(thread), 1);
    const process = thread.process;
    if (--process.threadCount > 0) return;
    this.onEnd?.(process);
    // exit_mm() of the last thread: no event, no POLLHUP; the pidfd becomes readable.
    process.space.alive = false;
    if (process.lingers) this.lingering.push(process);
    else process.exited = true;
  }

  /** Before a port call: threads may run first. */
  preempt(): void {
    this.steps++;
    this.clockUs++;
    for (;;) {
      const runnable = this.runnable();
      const choice = this.chooser.pick(1 + runnable.length, this.pagerWeight);
      if (choice === 0) return;
      this.step(runnable[choice - 1]!);
    }
  }

  /** A port wait(): threads run until `ready` holds and the pager is chosen, or the time is over. */
  wait(ready: () => boolean, timeoutUs: number): void {
    const end = this.clockUs + timeoutUs;
    for (;;) {
      const runnable = this.runnable();
      if (ready() || timeoutUs === 0) {
        const choice = this.chooser.pick(1 + runnable.length, this.pagerWeight);
        if (choice === 0) break;
        this.step(runnable[choice - 1]!);
      } else if (runnable.length === 0 && this.lingering.length > 0) {
        this.lingering.shift()!.exited = true;
      } else if (runnable.length === 0) {
        this.idle(end);
        break;
      } else {
        const mayTimeOut = Number.isFinite(timeoutUs) && this.chooser.timeIsFree;
        if (mayTimeOut && (this.clockUs >= end || this.chooser.pick(8) === 0)) {
          this.clockUs = Math.max(this.clockUs, end);
          break;
        }
        this.step(runnable[this.chooser.pick(runnable.length)]!);
      }
    }
    if (ready()) this.idleWaits = 0;
  }

  private idle(end: number): void {
    this.idleWaits++;
    if (!Number.isFinite(end) || this.idleWaits > idleWaitsMax) throw new Hang(this.describeSleepers());
    this.clockUs = Math.max(this.clockUs, end);
  }

  private describeSleepers(): string {
    if (this.finished) return "hang: every thread has ended and the pager still waits";
    const ids = this.threads.map((thread) => thread.threadId).join(", ");
    return `hang: threads ${ids} sleep and nothing will wake them`;
  }

  /** Runs the threads on without a pager, after it has let go of everything. */
  runAlone(): void {
    for (;;) {
      const runnable = this.runnable();
      if (runnable.length === 0) break;
      this.step(runnable[this.chooser.pick(runnable.length)]!);
    }
    if (!this.finished) throw new Hang(this.describeSleepers());
  }

  contextsOf(process: SimulatedProcess): Set<Context> {
    return new Set(process.space.vmas.flatMap((vma) => vma.context ?? []));
  }
}
