// Page comparison on blocks laid out by hand: the same block at other pages, parts of blocks, zero blocks.
import assert from "node:assert/strict";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { BlockCodec, type BlockRef } from "../../src/images/block";
import type { PagePiece } from "../../src/images/pageIndex";
import type { Memory } from "../../src/inspect/memory";
import { noChanges, PageComparer } from "../../src/inspect/pageDiff";
import { withTempDir } from "../support/tempdir";

/** Memory that is these pieces, whatever is asked. */
function memoryOf(...pieces: readonly PagePiece[]): Memory {
  return { pieces: () => pieces };
}

function piece(firstPage: number, pageCount: number, block: BlockRef | undefined, skip = 0): PagePiece {
  return { firstPage, pageCount, origin: block === undefined ? "absent" : "here", lazy: false, block, skip };
}

/** Two raw blocks of four pages each, in which every page has one letter: "abcd" and "abxd". */
async function withBlocks(body: (first: BlockRef, second: BlockRef) => void): Promise<void> {
  await withTempDir("pages", (dir) => {
    const file = dir.join("pages-1.img");
    writeFileSync(file, [..."abcdabxd"].map((letter) => letter.repeat(4096)).join(""));
    const fd = openSync(file, "r");
    const block = (page: number): BlockRef => ({
      fd,
      file,
      codec: BlockCodec.Raw,
      offset: page * 4096,
      storedBytes: 4 * 4096,
      pageCount: 4,
      checksum: -1,
    });
    try {
      body(block(0), block(4));
    } finally {
      closeSync(fd);
    }
  });
}

test("pages are compared one by one, also where the pieces of both sides are cut differently", async () => {
  await withBlocks((first, second) => {
    const comparer = new PageComparer(false);
    const whole = memoryOf(piece(10, 4, first));
    assert.deepEqual(comparer.compare(whole, memoryOf(piece(10, 4, second)), 0, 99), {
      ...noChanges,
      same: 3,
      changed: 1,
    });
    const parts = memoryOf(piece(10, 1, second), piece(11, 3, second, 1));
    assert.deepEqual(comparer.compare(whole, parts, 0, 99), { ...noChanges, same: 3, changed: 1 });
    const later = memoryOf(piece(12, 2, second, 2), piece(20, 4, first));
    assert.deepEqual(comparer.compare(whole, later, 0, 99), { ...noChanges, gone: 2, changed: 1, same: 1, added: 4 });
  });
});

test("the same block at other pages is other bytes", async () => {
  await withBlocks((first) => {
    const comparer = new PageComparer(false);
    const before = memoryOf(piece(10, 2, first, 0));
    const after = memoryOf(piece(10, 2, first, 1));
    assert.deepEqual(comparer.compare(before, after, 0, 99), { ...noChanges, changed: 2 });
  });
});

test("absent pages are unknown, and zero blocks are the same without a file", async () => {
  await withBlocks((first) => {
    const comparer = new PageComparer(true);
    const zero: BlockRef = { ...first, fd: -1, codec: BlockCodec.Zero, storedBytes: 0 };
    assert.deepEqual(comparer.compare(memoryOf(piece(10, 4, zero)), memoryOf(piece(10, 4, { ...zero })), 0, 99), {
      ...noChanges,
      same: 4,
    });
    assert.deepEqual(comparer.compare(memoryOf(piece(10, 4, undefined)), memoryOf(piece(10, 4, first)), 0, 99), {
      ...noChanges,
      unknown: 4,
    });
    assert.deepEqual(comparer.compare(undefined, memoryOf(piece(10, 4, first)), 0, 99), { ...noChanges, added: 4 });
  });
});
