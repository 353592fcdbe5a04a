// Holds the invariants of docs/simulation.md: random programs under random schedules, and every schedule of small ones.
// A failure prints its seed, the smallest program found that fails, and the command that runs it again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Space } from "../../src/space/space";
import type { Plan } from "./generate";
import type { Operation } from "./program";
import { enumerate, explain, type RunOptions, runSeed, simulate } from "./simulate";

/** What continuous integration schedules each time. */
const stepsInTest = 1_000_000;
/** Schedules of one small program that are run at most: those of the ones below are fewer. */
const schedulesMax = 400_000;

test(`a million scheduled steps: every page read holds what it would have held without checkpoint`, () => {
  const { steps, failedSeed } = simulate(1, stepsInTest);
  assert.ok(failedSeed === undefined, failedSeed === undefined ? "" : explain(failedSeed));
  assert.ok(steps >= stepsInTest);
});

test("a seed gives the same run every time", () => {
  for (const seed of [3, 14, 159]) assert.deepEqual(runSeed(seed), runSeed(seed));
});

const lazily: RunOptions = {
  stayLazy: true,
  messagesMax: 1024,
  pagerWeight: 0.5,
  drainRateBytes: Number.POSITIVE_INFINITY,
  killAfterSteps: Number.POSITIVE_INFINITY,
  drainAfter: Number.POSITIVE_INFINITY,
  servedByWaits: false,
};

/** Waits answer from the first step on. */
const served: RunOptions = { ...lazily, servedByWaits: true, drainAfter: 0 };

/** Two threads with four operations in all (a fork's child counts) over one lazy VMA of four pages. */
function small(...threads: readonly (readonly Operation[])[]): Plan {
  return { vmas: [{ page: 4, pageCount: 4, imageRuns: [{ page: 4, pageCount: 3 }] }], threads, blockPages: 1 };
}

const read = (page: number): Operation => ({ kind: "read", page });
const write = (page: number): Operation => ({ kind: "write", page });
const dontneed: Operation = { kind: "dontneed", page: 4, pageCount: 4 };
const move: Operation = { kind: "mremap", page: 4, pageCount: 4, newCount: 4, mayMove: true, fixedTo: 20 };
const leave: Operation = { ...move, dontUnmap: true };
const fork: Operation = { kind: "fork", threads: [[read(5)]] };

const exhaustive: Record<string, Plan> = {
  "madvise against touches": small([dontneed, read(4)], [read(4), write(5)]),
  "a move against touches on both sides": small([move, read(20)], [read(4), read(21)]),
  "a move that leaves its range, against touches": small([leave, read(4)], [read(20), write(4)]),
  "a fork, whose child reads, against a madvise": small([fork], [dontneed, read(5)]),
  "a fork, whose child reads, against a move": small([fork], [move, read(21)]),
  "munmap against touches": small([{ kind: "munmap", page: 5, pageCount: 2 }, read(4)], [read(5), read(7)]),
};

for (const [name, plan] of Object.entries(exhaustive)) {
  // A wait that answers has more points at which threads run: the schedules of the forks are too many then.
  for (const servedByWaits of name.startsWith("a fork") ? [false] : [false, true]) {
    const how = servedByWaits ? ", faults answered by the wait" : "";
    test(`every interleaving of ${name} is right${how}`, () => {
      const { runs, complete, failure } = enumerate(plan, servedByWaits ? served : lazily, schedulesMax);
      assert.equal(failure, undefined);
      assert.ok(complete, `not all schedules fit in ${runs} runs`);
      assert.ok(runs > 1);
    });
  }
}

/** Replaces a method of Space for the time of `body`, as a wrong pager would have it. */
function withMistake<K extends "removed" | "remapped" | "fork">(name: K, wrong: Space[K], body: () => void): void {
  const right = Space.prototype[name];
  Space.prototype[name] = wrong;
  try {
    body();
  } finally {
    Space.prototype[name] = right;
  }
}

test("the oracle notices a pager that forgets REMOVE, forgets REMAP, or shares a layout over fork", () => {
  const fails = () => assert.notEqual(simulate(1, 200_000).failedSeed, undefined);
  withMistake("removed", () => undefined, fails);
  withMistake("remapped", () => undefined, fails);
  withMistake(
    "fork",
    function (this: Space) {
      return this;
    },
    fails,
  );
});
