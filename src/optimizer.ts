// Keeps V8 from optimizing functions while a process restores and while its first faults come, and from forgetting what it
// compiled. An optimization takes from 1 to 10 ms of a core: in the
// pager's thread, which compiles by itself (pagerThread.ts), the restore waits for all of it, and of two cores the other one
// is that of the task being made. Code that is optimized stays so, and what grows hot meanwhile is optimized afterwards.
import { setFlagsFromString } from "node:v8";

/** Restores under way: V8 has one flag for all threads. */
let holders = 0;

/** From here until the returned function is called. */
export function holdOptimizer(): () => void {
  if (holders++ === 0) setFlagsFromString("--no-opt");
  return () => {
    if (--holders === 0) setFlagsFromString("--opt");
  };
}

/**
 * Compiled code is kept from now on, in the whole process: between two restores that lie minutes apart, garbage collections
 * throw it away as old. To be called when no script is loaded with a code cache any more.
 */
export function keepCompiledCode(): void {
  setFlagsFromString("--no-flush-bytecode");
}
