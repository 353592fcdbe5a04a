// What is read ahead of a recorded working set: which parts of which file, in which order, and how much a hostile one costs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BlockCodec } from "../../src/images/block";
import { READ_AHEAD_GAP_BYTES, READ_AHEAD_LOOKUPS_MAX, READ_AHEAD_STEP_BYTES } from "../../src/limits";
import type { PageSource } from "../../src/pager/pageSource";
import { ReadAheadPlan } from "../../src/pager/readAhead";

const blockPages = 16;

/** Pages [0, 1024) in blocks of 16 that take `storedBytes` each, one behind the other. */
class MadeUpSource implements PageSource {
  lookups = 0;
  constructor(private readonly storedBytes: number) {}

  locate(imagePage: number) {
    this.lookups++;
    if (imagePage >= 1024) return undefined;
    const number = Math.floor(imagePage / blockPages);
    const block = {
      fd: 7,
      file: "",
      codec: this.storedBytes === 0 ? BlockCodec.Zero : BlockCodec.Lz4,
      offset: number * this.storedBytes,
      storedBytes: this.storedBytes,
      pageCount: blockPages,
      checksum: 0,
    };
    return { imagePage: number * blockPages, pageCount: blockPages, skip: 0, block };
  }
}

function advice(plan: ReadAheadPlan): [number, number, number][] {
  const given: [number, number, number][] = [];
  while (!plan.done) plan.step((fd, offset, bytes) => given.push([fd, offset, bytes]));
  return given;
}

test("the blocks of a working set are read ahead in file order, those that are close to each other at once", () => {
  const source = new MadeUpSource(READ_AHEAD_GAP_BYTES);
  // Blocks 40, 2, 4 (one block between) and 10 (five blocks between).
  const plan = ReadAheadPlan.ofImage(source, Float64Array.of(645, 1, 40, 2, 70, 1, 160, 16));
  const block = READ_AHEAD_GAP_BYTES;
  assert.deepEqual(advice(plan), [
    [7, 2 * block, 3 * block],
    [7, 10 * block, block],
    [7, 40 * block, block],
  ]);
});

test("a step of the advice is bounded, and no step is given for blocks that take no bytes", () => {
  const plan = ReadAheadPlan.ofImage(new MadeUpSource(READ_AHEAD_STEP_BYTES), Float64Array.of(0, 32));
  const given: number[] = [];
  plan.step((_fd, _offset, bytes) => given.push(bytes));
  assert.deepEqual(given, [READ_AHEAD_STEP_BYTES]);
  assert.equal(plan.done, false);
  assert.deepEqual(advice(ReadAheadPlan.ofImage(new MadeUpSource(0), Float64Array.of(0, 1024))), []);
});

test("a recording of pages that no image has costs a bounded number of look-ups", () => {
  const source = new MadeUpSource(1000);
  assert.deepEqual(advice(ReadAheadPlan.ofImage(source, Float64Array.of(2 ** 20, 2 ** 20))), []);
  assert.equal(source.lookups, READ_AHEAD_LOOKUPS_MAX);
});
