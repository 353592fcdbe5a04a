// Where the agent lies in a task under restore: one page of code, then the area for records and data, in a hole that
// is free in every address space of the tree and in the stub. Pure.
import { FaultlineError } from "../../errors";
import { pageSize } from "../constants";

/** The area for one batch: records and their data, bytes. */
export const agentAreaBytes = 1 << 20;
/** Code and area together, bytes. */
export const agentBytes = pageSize + agentAreaBytes;

/** The stub's own mappings end below this (native/spawn.cc links it at 64 KiB); the usual program starts above 4 MiB. */
const lowestHole = 0x100000;
/** The stub's stack and vdso lie above this, wherever the kernel put them. */
const highestHole = 0x7e0000000000;

export interface Range {
  readonly start: number;
  readonly end: number;
}

/** An address where `bytes` are free in all of `taken`; throws UNSUPPORTED where there is none. */
export function findHole(taken: readonly Range[], bytes: number): number {
  const sorted = [...taken].sort((a, b) => a.start - b.start);
  let candidate = lowestHole;
  for (const range of sorted) {
    if (range.end <= candidate) continue;
    if (range.start >= candidate + bytes) break;
    candidate = range.end;
  }
  if (candidate + bytes > highestHole) {
    throw new FaultlineError("UNSUPPORTED", "the address spaces in the image leave no room for the restore's own page");
  }
  return candidate;
}
