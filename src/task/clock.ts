// The clock by which timers are read and set: CLOCK_MONOTONIC, which this process and all tasks see alike.
import type { Batch, BatchResult, Slot } from "./batch";
import { syscalls } from "./constants";

const clockMonotonic = 1;
export const nsPerSecond = 1_000_000_000n;

/** Nanoseconds. */
export function clockNs(): bigint {
  return process.hrtime.bigint();
}

/** A look at the clock by the task itself, for clockValue(). */
export function lookAtClock(batch: Batch): Slot {
  const slot = batch.reserve(16);
  batch.call(syscalls.clock_gettime, [clockMonotonic, slot]);
  return slot;
}

/** What a look at the clock saw, nanoseconds. */
export function clockValue(result: BatchResult, look: Slot): bigint {
  const view = result.data(look);
  return view.getBigInt64(0, true) * nsPerSecond + view.getBigInt64(8, true);
}

/** Whether timers of the clock go on while a task stands: those of CPU time do not (negative ids, or 2 and 3). */
export function goesOn(clock: number): boolean {
  return clock >= 0 && clock !== 2 && clock !== 3;
}
