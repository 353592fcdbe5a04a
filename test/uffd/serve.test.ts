// Waits that answer faults by themselves, on the real kernel: what they answer, what they leave, and when they stop.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PackedPagesReader } from "../../src/images/packed";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import { PageFlag } from "../../src/images/pagemap";
import type { PageTable } from "../../src/images/pageTable";
import { KernelWaiter } from "../../src/uffd/kernelWaiter";
import type { Served, UffdEvent } from "../../src/uffd/port";
import { ARENA, ARENA_PAGES, Real } from "../model/lockstep";
import { imageToken } from "../model/memory";
import { waitFor } from "../support/wait";

const MADV_DONTNEED = 4;

interface Serving {
  readonly real: Real;
  readonly waiter: KernelWaiter;
  /** Everything that waits have served since. */
  readonly log: Pick<Served, "isFault" | "page" | "pageCount" | "wholeBlock">[];
}

/** The arena's page i has image page i: all of it in the plan but the last four. */
function rangesOf(pageCount: number): Float64Array {
  return Float64Array.of(ARENA, pageCount, 0, 0);
}

function rawTable(fd: number): PageTable {
  return {
    runCount: 1,
    starts: Float64Array.of(0),
    counts: Float64Array.of(ARENA_PAGES),
    flags: Uint8Array.of(PageFlag.Present),
    filePages: Float64Array.of(0),
    fd,
    blocks: { kind: "raw", pagesPerBlock: 16 },
  };
}

async function serving(table: (real: Real) => PageTable, use: (serving: Serving) => Promise<void>): Promise<void> {
  const real = await Real.start();
  using waiter = new KernelWaiter();
  try {
    waiter.add(real.contexts[0]!);
    real.contexts[0]!.serve({ ranges: rangesOf(ARENA_PAGES - 4), tables: [table(real)] });
    await use({ real, waiter, log: [] });
  } finally {
    await real.end();
  }
}

/** Waits until a wait has nothing to do any more, or leaves something: what read() then says. */
async function waitOnce({ real, waiter, log }: Serving, until: () => boolean): Promise<readonly UffdEvent[]> {
  return waitFor("the wait", () => {
    const { served, servedCount, readable } = waiter.wait(0);
    for (const { isFault, page, pageCount, wholeBlock } of served.slice(0, servedCount)) {
      log.push({ isFault, page: page - ARENA, pageCount, wholeBlock });
    }
    if (readable.length > 0) return real.contexts[0]!.read();
    return until() ? [] : undefined;
  });
}

async function readPage(all: Serving, slot: number, page: number): Promise<string> {
  const { real, log } = all;
  const before = log.length;
  real.send(slot, `read ${ARENA + page}`);
  const left = await waitOnce(all, () => log.length > before);
  assert.deepEqual(left, [], "nothing is left to the owner");
  return real.answer(slot);
}

test("a fault is answered by the wait; a second one in its block brings the rest of the block", () =>
  serving(
    (real) => rawTable(real.imageFd),
    async (all) => {
      assert.equal(await readPage(all, 0, 20), `token ${imageToken(20)}`);
      assert.deepEqual(all.log, [{ isFault: true, page: 20, pageCount: 1, wholeBlock: false }]);
      assert.equal(await readPage(all, 0, 24), `token ${imageToken(24)}`);
      assert.deepEqual(all.log.slice(1), [
        { isFault: true, page: 24, pageCount: 1, wholeBlock: true },
        { isFault: false, page: 16, pageCount: 4, wholeBlock: false },
        { isFault: false, page: 21, pageCount: 3, wholeBlock: false },
        { isFault: false, page: 25, pageCount: 7, wholeBlock: false },
      ]);
      for (let page = 16; page < 32; page++) {
        all.real.send(0, `read ${ARENA + page}`);
        assert.equal(await all.real.answer(0), `token ${imageToken(page)}`);
      }
    },
  ));

test("two threads at one page are both woken: the second fault finds the page there", () =>
  serving(
    (real) => rawTable(real.imageFd),
    async (all) => {
      for (const slot of [0, 1]) all.real.send(slot, `read ${ARENA + 3}`);
      await waitOnce(all, () => all.log.length > 0);
      for (const slot of [0, 1]) {
        const answer = waitOnce(all, () => false).catch(() => undefined);
        assert.equal(await Promise.race([all.real.answer(slot), answer]), `token ${imageToken(3)}`);
      }
    },
  ));

test("a fault outside of the plan is left, and the plan goes on", () =>
  serving(
    (real) => rawTable(real.imageFd),
    async (all) => {
      const page = ARENA_PAGES - 2;
      all.real.send(0, `read ${ARENA + page}`);
      const [left] = await waitOnce(all, () => false);
      assert.equal(left?.kind === "fault" && left.page, ARENA + page);
      all.real.contexts[0]!.installZero(ARENA + page, 1);
      assert.equal(await all.real.answer(0), "token 0");
      assert.equal(await readPage(all, 1, 5), `token ${imageToken(5)}`);
    },
  ));

test("a layout message ends the plan: what comes with it and after it is left to the owner", () =>
  serving(
    (real) => rawTable(real.imageFd),
    async (all) => {
      const { real } = all;
      const uffd = real.contexts[0]!;
      real.send(1, `madvise ${ARENA} 64 ${MADV_DONTNEED}`);
      const [removed] = await waitOnce(all, () => false);
      assert.deepEqual(removed, { kind: "remove", page: ARENA, pageCount: 64 });
      assert.equal(await real.answer(1), "value 0");
      real.send(0, `read ${ARENA + 7}`);
      const [fault] = await waitOnce(all, () => false);
      assert.equal(fault?.kind === "fault" && fault.page, ARENA + 7);
      assert.deepEqual(all.log, [], "the image's bytes would be stale");
      uffd.installZero(ARENA + 7, 1);
      assert.equal(await real.answer(0), "token 0");
      uffd.serve({ ranges: Float64Array.of(ARENA + 64, 64, 0, 64), tables: [rawTable(real.imageFd)] });
      assert.equal(await readPage(all, 0, 70), `token ${imageToken(70)}`);
      uffd.stopServing();
      real.send(0, `read ${ARENA + 71}`);
      assert.equal((await waitOnce(all, () => false)).length, 1, "every fault is reported again");
    },
  ));

test("packed blocks are checked and decoded; a damaged one is left to the owner", async () => {
  const folder = mkdtempSync(join(tmpdir(), "faultline-serve-"));
  try {
    let reader: PackedPagesReader | undefined;
    const packed = async (real: Real): Promise<PackedPagesReader> => {
      const file = join(folder, "pagez-1.img");
      const writer = await PackedPagesWriter.create(file, { pagesPerBlock: 16, level: 0 });
      await writer.addRun(readFileSync(`/proc/self/fd/${real.imageFd}`).subarray(0, ARENA_PAGES * 4096), ARENA_PAGES);
      await writer.finish(new Uint8Array());
      return PackedPagesReader.open(file);
    };
    const real = await Real.start();
    using waiter = new KernelWaiter();
    try {
      reader = await packed(real);
      const { fd, index } = reader;
      const uffd = real.contexts[0]!;
      waiter.add(uffd);
      uffd.serve({
        ranges: rangesOf(ARENA_PAGES),
        tables: [{ ...rawTable(fd), blocks: { kind: "packed", ...index } }],
      });
      const all: Serving = { real, waiter, log: [] };
      for (const page of [37, 33, 5]) assert.equal(await readPage(all, 0, page), `token ${imageToken(page)}`);
      for (let page = 32; page < 48; page++) {
        real.send(0, `read ${ARENA + page}`);
        assert.equal(await real.answer(0), `token ${imageToken(page)}`, "it came with 33, the second of its block");
      }
      const damaged = readFileSync(`/proc/self/fd/${fd}`);
      damaged.writeUInt32LE(0xffffffff, index.offsets[4]!);
      writeSync(real.imageFd, damaged, 0);
      uffd.serve({
        ranges: rangesOf(ARENA_PAGES),
        tables: [{ ...rawTable(real.imageFd), blocks: { kind: "packed", ...index } }],
      });
      real.send(0, `read ${ARENA + 70}`);
      const [left] = await waitOnce(all, () => false);
      assert.equal(left?.kind === "fault" && left.page, ARENA + 70);
    } finally {
      await real.end();
    }
    reader.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
