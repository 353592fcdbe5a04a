// Merging of recorded working sets, their file, and what damaged and hostile files do: nothing but a typed error.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { FaultlineError } from "../../src/errors";
import { encodeImage } from "../../src/images/framing";
import {
  decodeWorkingSet,
  encodeWorkingSet,
  mergeWorkingSet,
  readWorkingSet,
  recordWorkingSet,
  runsIn,
  type WorkingSet,
  workingSetName,
} from "../../src/images/workingSet";
import { WORKING_SET_BYTES_MAX, WORKING_SET_PAGES_MAX, WORKING_SET_RANGES_MAX } from "../../src/limits";
import { withTempDir } from "../support/tempdir";

/** Pages of one run in order of first touch. */
const touches = fc.uniqueArray(fc.integer({ min: 0, max: 300 }), { maxLength: 200 });
const runs = fc.array(touches, { minLength: 1, maxLength: 40 });

function mergeAll(all: readonly (readonly number[])[]): WorkingSet {
  return all.reduce<WorkingSet | undefined>((set, pages) => mergeWorkingSet(set, pages), undefined)!;
}

function pagesOf({ ranges }: WorkingSet): { page: number; runs: number; bucket: number }[] {
  return ranges.flatMap(({ firstPage, pageCount, runs, bucket }) =>
    Array.from({ length: pageCount }, (_, i) => ({ page: firstPage + i, runs, bucket })),
  );
}

test("a merged set has each page once, with the runs that touched it and its earliest bucket", () => {
  fc.assert(
    fc.property(runs, (all) => {
      const set = mergeAll(all);
      const pages = pagesOf(set);
      assert.equal(set.runCount, Math.min(all.length, 32));
      assert.equal(new Set(pages.map(({ page }) => page)).size, pages.length);
      const newest = [...all].reverse().slice(0, 32);
      const touched = new Set(newest.flat());
      assert.deepEqual(new Set(pages.map(({ page }) => page)), touched);
      for (const { page, runs, bucket } of pages) {
        newest.forEach((run, i) => {
          assert.equal((runs >>> i) & 1, run.includes(page) ? 1 : 0);
          if (run.includes(page)) assert.ok(bucket <= Math.floor(run.indexOf(page) / 64));
        });
      }
    }),
    { numRuns: 200 },
  );
});

test("pages of most runs come first, then in coarse order of first touch", () => {
  fc.assert(
    fc.property(runs, (all) => {
      const pages = pagesOf(mergeAll(all));
      for (let i = 1; i < pages.length; i++) {
        const [before, after] = [pages[i - 1]!, pages[i]!];
        assert.ok(runsIn(before.runs) >= runsIn(after.runs));
        if (runsIn(before.runs) === runsIn(after.runs)) assert.ok(before.bucket <= after.bucket);
      }
    }),
    { numRuns: 200 },
  );
});

test("a set survives its file unchanged", () => {
  fc.assert(
    fc.property(runs, (all) => {
      const set = mergeAll(all);
      assert.deepEqual(decodeWorkingSet(encodeWorkingSet(set), "f"), set);
    }),
    { numRuns: 100 },
  );
});

test("a set is bounded: the least useful is left out", () => {
  const scattered = Array.from({ length: WORKING_SET_RANGES_MAX + 1000 }, (_, i) => i * 2);
  const set = mergeWorkingSet(mergeWorkingSet(undefined, scattered), [6, 10]);
  assert.equal(set.ranges.length, WORKING_SET_RANGES_MAX);
  assert.deepEqual(
    set.ranges.slice(0, 2).map(({ firstPage }) => firstPage),
    [6, 10],
  );
  assert.ok(encodeWorkingSet(set).length < WORKING_SET_BYTES_MAX);
  const dense = mergeWorkingSet(
    undefined,
    Array.from({ length: WORKING_SET_PAGES_MAX + 5 }, (_, i) => i),
  );
  assert.equal(pagesOf(dense).length, WORKING_SET_PAGES_MAX);
});

test("ranges that no address space has are left out, and too long ones are cut", () => {
  const entry = (first_page: bigint, page_count: number, runs = 1) => ({
    message: { first_page, page_count, runs, bucket: 0 },
  });
  const bytes = encodeImage(
    "WORKINGSET",
    [entry(2n ** 63n, 1), entry(2n ** 52n, 1), entry(5n, 0), entry(5n, 1, 0), entry(7n, 2 ** 32 - 1), entry(9n, 1)],
    { head: { version: 1, run_count: 4_000_000_000 } },
  );
  const set = decodeWorkingSet(bytes, "f");
  assert.equal(set.runCount, 32);
  assert.deepEqual(set.ranges, [{ firstPage: 7, pageCount: WORKING_SET_PAGES_MAX, runs: 1, bucket: 0 }]);
});

test("any bytes as a working set are read or refused with a typed error", () => {
  const good = encodeWorkingSet(
    mergeAll([
      [1, 2, 3, 70, 71],
      [5, 70],
    ]),
  );
  const mutation = fc.oneof(
    fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })).map(([at, value]) => {
      const bytes = Buffer.from(good);
      bytes[at] = value;
      return bytes;
    }),
    fc.nat({ max: good.length }).map((length) => good.subarray(0, length)),
  );
  fc.assert(
    fc.property(mutation, (bytes) => {
      try {
        const set = decodeWorkingSet(bytes, "f");
        assert.ok(set.ranges.length <= 20 && pagesOf(set).length <= WORKING_SET_PAGES_MAX);
      } catch (error) {
        assert.ok(error instanceof FaultlineError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

test("recording merges into the file, replaces a damaged one, and leaves nothing else behind", async () => {
  await withTempDir("workingset", (dir) => {
    writeFileSync(dir.join("inventory.img"), "", { mode: 0o640 });
    assert.equal(readWorkingSet(dir.path, 7), undefined);
    recordWorkingSet(dir.path, 7, [10, 11, 12]);
    recordWorkingSet(dir.path, 7, [11, 12, 90]);
    const set = readWorkingSet(dir.path, 7)!;
    assert.equal(set.runCount, 2);
    assert.deepEqual(set.ranges[0], { firstPage: 11, pageCount: 2, runs: 3, bucket: 0 });
    assert.equal(statSync(dir.join(workingSetName(7))).mode & 0o777, 0o640);
    writeFileSync(dir.join(workingSetName(7)), readFileSync(dir.join(workingSetName(7))).subarray(0, 30));
    assert.throws(() => readWorkingSet(dir.path, 7), FaultlineError);
    recordWorkingSet(dir.path, 7, [1]);
    assert.equal(readWorkingSet(dir.path, 7)!.runCount, 1);
    assert.deepEqual(readdirSync(dir.path).sort(), ["inventory.img", workingSetName(7)]);
    writeFileSync(dir.join(workingSetName(7)), Buffer.alloc(WORKING_SET_BYTES_MAX + 1));
    assert.throws(() => readWorkingSet(dir.path, 7), /too large/);
  });
});
