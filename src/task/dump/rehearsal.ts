// What comes before the first freeze of a process of ours: the same steps with a process made for them (native/understudy).
// Code that runs for the first time is compiled, and learns what it works on, many times as slowly as it runs later;
// here no program stands meanwhile. What is found is thrown away.
import { join } from "node:path";
import { checked, FaultlineError } from "../../errors";
import { addonPath, native } from "../../native";
import { signals } from "../constants";
import { threadState, threadsOf } from "../proc";
import { collect } from "./collect";
import { FrozenTree, pause } from "./freeze";
import type { ObstacleOptions } from "./obstacles";
import { PageStore } from "./pageStore";

const program = join(addonPath, "..", "faultline-understudy");
/** How many it has when it is complete (native/understudy). */
const threadCount = 8;
const reserveBytes = 1024 * 1024;
const pollMs = 1;
/** How long a dump waits for the understudy to be there, and for each of its threads to stop: on a busy machine it goes without. */
const patienceMs = 200;

/** The process to practise on. It ends with our thread, at the latest. */
export class Understudy implements Disposable {
  readonly pid: number;

  private constructor(pid: number) {
    this.pid = pid;
  }

  /** Starts it without waiting for it. */
  static start(): Understudy {
    return new Understudy(
      checked(native.spawnAside(program, String(process.pid)), "posix_spawn", "the understudy cannot be started", {
        file: program,
      }),
    );
  }

  /**
   * Freezes it and reads all of it, as a dump does with `options`. Throws where a dump would, and TIMEOUT where its start or a
   * stop takes longer than `timeoutMs`.
   */
  rehearse(options: ObstacleOptions, timeoutMs: number): void {
    this.#awaitReady(timeoutMs);
    using store = new PageStore();
    store.reserve(reserveBytes);
    store.ready();
    using tree = FrozenTree.freeze(this.pid, timeoutMs);
    const collected = collect(tree, store, options);
    collected.links[Symbol.dispose]();
    collected.connections[Symbol.dispose]();
  }

  #awaitReady(timeoutMs: number): void {
    for (let waitedMs = 0; ; waitedMs += pollMs) {
      const state = threadState(this.pid, this.pid);
      if (state === "S" && threadsOf(this.pid).length === threadCount) return;
      if (state === "Z" || waitedMs > timeoutMs) {
        throw new FaultlineError("TIMEOUT", "the understudy does not start", { pid: this.pid });
      }
      pause(pollMs);
    }
  }

  /** Ends and reaps it. No thread of it may be traced any more. */
  [Symbol.dispose](): void {
    native.tgkill(this.pid, this.pid, signals.SIGKILL);
    native.reap(this.pid, true);
  }
}

/** Whether there was one in this process: all later dumps have what they need. */
let isDone = false;

/** Runs what may fail for a reason that has a name: FaultlineErrors and Node's of system calls. What has none is a bug, and thrown. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof FaultlineError || (error as NodeJS.ErrnoException).syscall !== undefined) return undefined;
    throw error;
  }
}

/** The rehearsal of one dump. Where it cannot be, the dump is as good without, and the program stands longer. */
export class Rehearsal implements Disposable {
  #understudy: Understudy | undefined;

  /** Starts the understudy, which gets ready while others go on. */
  constructor() {
    if (!isDone) this.#understudy = attempt(() => Understudy.start());
  }

  run(options: ObstacleOptions): void {
    isDone = true;
    attempt(() => this.#understudy?.rehearse(options, patienceMs));
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#understudy?.[Symbol.dispose]();
    this.#understudy = undefined;
  }
}
