// The file that test/bench/c/replay.c works on: operations in, what each touch took and found out. Layout only.

import type { Area, Places } from "./place";
import type { AddressSpace } from "./trace";

const HEADER_BYTES = 64;
const OPERATION_BYTES = 56;
const Kind = { end: 0, map: 1, ready: 2, read: 3, write: 4, remap: 5, remove: 6, unmap: 7, fork: 8 } as const;

export const Status = { done: 1, notMapped: 2, refused: 3 } as const;

export interface Outcome {
  readonly status: number;
  readonly latencyUs: number;
  readonly hash: string;
}

/** Writes the steps of one task and of all its copies; `at` finds them again. */
export class Operations {
  readonly bytes: Buffer;
  private readonly first = new Map<AddressSpace, number>();

  constructor(root: AddressSpace, areas: readonly Area[], places: Places) {
    const spaces = [root];
    for (const space of spaces) for (const step of space.steps) if (step.kind === "fork") spaces.push(step.child);
    let count = areas.length + 1;
    for (const space of spaces) {
      this.first.set(space, count);
      count += space.steps.length + 1;
    }
    this.bytes = Buffer.alloc(HEADER_BYTES + count * OPERATION_BYTES);
    areas.forEach(({ page, pages }, i) => {
      this.put(i, Kind.map, 0, places.of(page), pages, 0);
    });
    this.put(areas.length, Kind.ready, 0, 0, 0, 0);
    for (const space of spaces) this.putSteps(space, places);
  }

  private putSteps(space: AddressSpace, places: Places): void {
    let at = this.first.get(space)!;
    for (const step of space.steps) {
      if (step.kind === "fork") {
        this.put(at++, Kind.fork, this.first.get(step.child)!, 0, 0, 0);
        continue;
      }
      const to = step.kind === "remap" ? places.of(step.to) : 0;
      this.put(at++, Kind[step.kind], 0, places.of(step.page), "pages" in step ? step.pages : 1, to);
    }
  }

  private put(index: number, kind: number, child: number, page: number, count: number, to: number): void {
    const at = HEADER_BYTES + index * OPERATION_BYTES;
    this.bytes.writeUInt32LE(kind, at);
    this.bytes.writeUInt32LE(child, at + 4);
    this.bytes.writeBigUInt64LE(BigInt(page), at + 8);
    this.bytes.writeBigUInt64LE(BigInt(count), at + 16);
    this.bytes.writeBigUInt64LE(BigInt(to), at + 24);
  }

  /** Where step `index` of `space` was done. */
  placed(space: AddressSpace, index: number): { page: number; pages: number; to: number } {
    const at = HEADER_BYTES + (this.first.get(space)! + index) * OPERATION_BYTES;
    const number = (offset: number) => Number(this.bytes.readBigUInt64LE(at + offset));
    return { page: number(8), pages: number(16), to: number(24) };
  }

  /** What became of step `index` of `space`, in the file as it is after the run. */
  outcome(file: Buffer, space: AddressSpace, index: number): Outcome {
    const at = HEADER_BYTES + (this.first.get(space)! + index) * OPERATION_BYTES;
    return {
      latencyUs: Number(file.readBigUInt64LE(at + 32)) / 1000,
      hash: `${file.readUInt32LE(at + 40)} ${file.readUInt32LE(at + 44)}`,
      status: file.readUInt32LE(at + 48),
    };
  }
}

/** As replay.c hashes a page. */
export function hashOf(page: Buffer): string {
  let first = 1;
  let second = 2;
  for (let at = 0; at < page.length; at += 4) {
    const word = page.readInt32LE(at);
    first = (Math.imul(first, 31) + word) | 0;
    second = Math.imul(second, 0x01000193) ^ word;
  }
  return `${first >>> 0} ${second >>> 0}`;
}
