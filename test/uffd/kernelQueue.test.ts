// The queue of installs and the thread that decodes ahead of them, on the real kernel. What the kernel answers to queued
// installs is held by test/model/conformance.test.ts; here: blocks that cannot be read, and what is left behind.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeSync } from "node:fs";
import { test } from "node:test";
import { BlockCodec, type BlockRef } from "../../src/images/block";
import { KernelQueue, stopHelper } from "../../src/uffd/kernelQueue";
import { KernelWaiter } from "../../src/uffd/kernelWaiter";
import { ARENA, ARENA_PAGES, Real, rawBlock } from "../model/lockstep";
import { imageToken } from "../model/memory";
import { waitFor } from "../support/wait";

async function withReal(use: (real: Real) => Promise<void>): Promise<void> {
  const real = await Real.start();
  try {
    await use(real);
  } finally {
    stopHelper();
    await real.end();
  }
}

async function tokenAt(real: Real, page: number): Promise<string> {
  real.send(0, `read ${ARENA + page}`);
  return real.answer(0);
}

/** Threads of this process with the helper's name. */
function helpers(): number {
  const names = readdirSync("/proc/self/task").map((id) => readFileSync(`/proc/self/task/${id}/comm`, "utf8").trim());
  return names.filter((name) => name === "faultline-ahead").length;
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

test("every page of a long queue has its own bytes, also where the helper is stopped and started in between", () =>
  withReal(async (real) => {
    const uffd = real.contexts[0]!;
    let page = 0;
    for (let round = 0; page < ARENA_PAGES; round++) {
      let queued = 0;
      for (; page < ARENA_PAGES && queued < 20; queued++, page += 2)
        assert.ok(uffd.queuePages(ARENA + page, rawBlock(real.imageFd, page, 2), 0, 2));
      for (let left = queued; left > 0; ) {
        const { runCount, stop } = uffd.installQueued(3);
        assert.equal(stop, "done");
        left -= runCount;
      }
      if (round === 0) stopHelper();
    }
    for (page = 0; page < ARENA_PAGES; page++) assert.equal(await tokenAt(real, page), `token ${imageToken(page)}`);
  }));

test("a block that cannot be read stops the queue with its error, and those before it are there", () =>
  withReal(async (real) => {
    const uffd = real.contexts[0]!;
    writeSync(real.imageFd, Buffer.from("no LZ4 block at all, and no checksum"), 0, 36, 0);
    const damaged: BlockRef = {
      ...rawBlock(real.imageFd, 0, 4),
      codec: BlockCodec.Lz4,
      storedBytes: 36,
      checksum: 1,
    };
    const behind = rawBlock(real.imageFd, ARENA_PAGES - 2, 4);
    for (const [block, code] of [
      [damaged, "IMAGE_CORRUPT"],
      [behind, "IMAGE_TRUNCATED"],
    ] as const) {
      const at = code === "IMAGE_CORRUPT" ? 8 : 16;
      uffd.queuePages(ARENA + at, rawBlock(real.imageFd, 4, 2), 0, 2);
      uffd.queuePages(ARENA + at + 2, block, 0, 4);
      const { runCount, pageCount, stop, error } = uffd.installQueued(2);
      assert.deepEqual([runCount, pageCount, stop, error?.code], [1, 0, "error", code]);
      uffd.dropQueued();
      assert.equal(await tokenAt(real, at + 1), `token ${imageToken(5)}`);
    }
  }));

test("a message that waits ends a queue after the run in hand", () =>
  withReal(async (real) => {
    const uffd = real.contexts[0]!;
    using waiter = new KernelWaiter();
    waiter.add(uffd);
    for (let i = 0; i < 4; i++) uffd.queuePages(ARENA + i, rawBlock(real.imageFd, i, 1), 0, 1);
    real.send(0, `read ${ARENA + 50}`);
    await waitFor("the fault", () => waiter.wait(0).readable.length > 0);
    const { runCount, stop } = uffd.installQueued(4);
    assert.deepEqual([runCount, stop], [1, "interrupted"]);
    waiter.remove(uffd);
    const rest = uffd.installQueued(4);
    assert.deepEqual([rest.runCount, rest.stop], [3, "done"], "the others are queued still");
    uffd.installPages(ARENA + 50, rawBlock(real.imageFd, 50, 1), 0, 1);
    assert.equal(await real.answer(0), `token ${imageToken(50)}`);
  }));

test("a queue takes no block that is too large for a slot, and no more runs than it holds", () =>
  withReal(async (real) => {
    const uffd = real.contexts[0]!;
    assert.equal(uffd.queuePages(ARENA, rawBlock(real.imageFd, 0, 17), 0, 1), false);
    let queued = 0;
    while (uffd.queuePages(ARENA + (queued % ARENA_PAGES), rawBlock(real.imageFd, 0, 1), 0, 1)) queued++;
    assert.ok(queued > 1 && queued < 10_000);
    uffd.dropQueued();
    assert.ok(uffd.queuePages(ARENA, rawBlock(real.imageFd, 0, 1), 0, 1));
  }));

test("stopping the helper leaves no thread and no descriptor behind, whatever it was doing", () =>
  withReal(async (real) => {
    stopHelper();
    const before = openDescriptors();
    const names = {
      stop: () => "done" as const,
      blockError: () => assert.fail("no block was to be read"),
    };
    for (let round = 0; round < 200; round++) {
      const queue = new KernelQueue(real.contexts[0]!.id, names);
      for (let i = 0; i < 16; i++) assert.ok(queue.queue(ARENA, rawBlock(real.imageFd, i, 4), 0, 4));
      // Nothing is installed, but the blocks are with the helper.
      queue.install(0, -1);
      if (round === 0) await waitFor("the helper", () => helpers() === 1);
      if (round % 2 === 0) queue.drop();
      stopHelper();
    }
    assert.equal(helpers(), 0);
    assert.equal(openDescriptors(), before);
  }));
