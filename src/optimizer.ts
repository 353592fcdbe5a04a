// Keeps V8 from working beside us while a process restores and while its first faults come, and while a dumped program
// stands, and from forgetting what it compiled. An optimization takes from 1 to 10 ms of a core: in the
// pager's thread, which compiles by itself (pagerThread.ts), the restore waits for all of it, and of two cores the other one
// is that of the task being made. Code that is optimized stays so, and what grows hot meanwhile is optimized afterwards.
import { setFlagsFromString } from "node:v8";

/** Those under way for each flag: V8 has one set of flags for all threads. */
const holders = new Map<string, number>();

function hold(flags: readonly string[]): () => void {
  for (const flag of flags) {
    const others = holders.get(flag) ?? 0;
    holders.set(flag, others + 1);
    if (others === 0) setFlagsFromString(`--no-${flag}`);
  }
  return () => {
    for (const flag of flags) {
      const others = (holders.get(flag) ?? 1) - 1;
      holders.set(flag, others);
      if (others === 0) setFlagsFromString(`--${flag}`);
    }
  };
}

/** From here until the returned function is called. */
export function holdOptimizer(): () => void {
  return hold(["opt"]);
}

/**
 * Holds the collector's helpers too, from its making to its end. Buffers as large as a program make V8 mark the heap, a little
 * at a time, and finish in one of 5 to 10 ms while the program stands; without steps it collects at once, as they are made. With
 * all cores copying pages, a collection that is shared waits milliseconds for threads that get none; alone it takes less than one.
 * A restore has two cores for itself, the task and the pager, and waited up to 8 ms for two threads that marked.
 */
export class BackgroundHold implements Disposable {
  #release: (() => void) | undefined = hold(["opt", "incremental-marking", "parallel-scavenge"]);

  [Symbol.dispose](): void {
    this.#release?.();
    this.#release = undefined;
  }
}

/** For `restore -d`, which begins with flags that keep V8 from compiling (bin/faultline): from here on it may. */
export function releaseCompilers(): void {
  for (const flag of ["--sparkplug", "--opt"]) setFlagsFromString(flag);
}

/**
 * Compiled code is kept from now on, in the whole process: between two restores that lie minutes apart, garbage collections
 * throw it away as old. To be called when no script is loaded with a code cache any more.
 */
export function keepCompiledCode(): void {
  setFlagsFromString("--no-flush-bytecode");
}
