// Comparisons of a fixture with copies of it that differ in known ways, raw and packed.
import assert from "node:assert/strict";
import { closeSync, cpSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { ImageKind } from "../../src/images/formats";
import { decodeImageOf, encodeImage, type Image } from "../../src/images/framing";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { type CheckpointDiff, diffCheckpoints } from "../../src/inspect/diff";
import { diffText } from "../../src/inspect/textDiff";
import { type TempDir, withTempDir } from "../support/tempdir";
import { critRuns, fixtureImages, packedCopy } from "./fixtures";

const pid = 15853; // redis
const firstRun = 0x5640fd28b000;

function diffOf(before: string, after: string, allBytes = false): CheckpointDiff {
  using left = Checkpoint.open(before);
  using right = Checkpoint.open(after);
  return diffCheckpoints(left, right, { allBytes });
}

function copyOf(dir: TempDir, name: string): string {
  const to = dir.join(name);
  cpSync(fixtureImages("redis"), to, { recursive: true });
  return to;
}

/** Rewrites one image of a copy with other records. */
function rewrite<K extends ImageKind>(file: string, kind: K, change: (image: Image<K>) => Image<K>["records"]): void {
  const image = decodeImageOf(kind, readFileSync(file), file);
  const options = image.head === undefined ? {} : { head: image.head };
  const bytes = encodeImage(kind, change(image) as never, options as never);
  rmSync(file);
  writeFileSync(file, bytes);
}

/** Changes one byte of the page at byte `address`. */
function poke(directory: string, address: number): void {
  const { pagesId, runs } = critRuns("redis", `pagemap-${pid}.img`);
  const run = runs.find((each) => {
    const start = Number(BigInt(each.vaddr));
    return address >= start && address < start + each.nr_pages * 4096;
  })!;
  const at = run.filePage * 4096 + address - Number(BigInt(run.vaddr));
  const file = join(directory, `pages-${pagesId}.img`);
  const bytes = readFileSync(file);
  bytes[at]! ^= 0x55;
  rmSync(file);
  writeFileSync(file, bytes);
}

test("a checkpoint is the same as itself, as its copy and as its packed copy", async () => {
  await withTempDir("diff", async (dir) => {
    const raw = fixtureImages("redis");
    for (const other of [raw, copyOf(dir, "copy"), await packedCopy("redis", dir.join("packed"))]) {
      const diff = diffOf(raw, other);
      assert.equal(diff.different, false);
      const { changed, added, gone, same, unknown } = diff.pages;
      assert.deepEqual([changed, added, gone, same, unknown], [0, 0, 0, 7475200 / 4096, 0]);
    }
  });
});

test("pages with other bytes are counted in their mappings", async () => {
  await withTempDir("diff", (dir) => {
    const after = copyOf(dir, "after");
    const heap = 0x7fa39de7c000;
    for (const address of [firstRun + 100, heap, heap + 4096, heap + 5 * 4096 + 4095]) poke(after, address);
    const diff = diffOf(fixtureImages("redis"), after);
    const changed = diff.tasks[0]!.mappings.filter((mapping) => mapping.change !== "same");
    assert.deepEqual(
      changed.map(({ change, pages }) => [change, pages.changed, pages.added, pages.gone]),
      [
        ["changed", 1, 0, 0],
        ["changed", 3, 0, 0],
      ],
    );
    assert.equal(changed[0]!.start, firstRun);
    assert.equal(diff.pages.changed, 4);
    assert.match(diffText(diff), /^~ 15853 redis-server: 16 KiB changed, 0 added, 0 gone/);
  });
});

test("runs that only one side has are pages added and gone", async () => {
  await withTempDir("diff", (dir) => {
    const after = copyOf(dir, "after");
    const { runs } = critRuns("redis", `pagemap-${pid}.img`);
    // The last run's pages are the last of the page file, so dropping it moves no other page.
    rewrite(join(after, `pagemap-${pid}.img`), "PAGEMAP", (image) => image.records.slice(0, -1));
    const count = runs.at(-1)!.nr_pages;
    assert.equal(diffOf(fixtureImages("redis"), after).pages.gone, count);
    assert.equal(diffOf(after, fixtureImages("redis")).pages.added, count);
  });
});

test("mappings, descriptors and threads that come, go and change are told apart", async () => {
  await withTempDir("diff", (dir) => {
    const after = copyOf(dir, "after");
    let dropped = 0n;
    rewrite(join(after, `mm-${pid}.img`), "MM", (image) => {
      const [record] = image.records;
      const vmas = [...record!.message.vmas];
      dropped = vmas[0]!.start;
      vmas[1] = { ...vmas[1]!, prot: 3 };
      return [{ ...record!, message: { ...record!.message, vmas: vmas.slice(1) } }];
    });
    rewrite(join(after, "fdinfo-2.img"), "FDINFO", (image) =>
      image.records
        .filter((record) => record.message.fd !== 7)
        .map((record) => (record.message.fd === 10 ? { ...record, message: { ...record.message, fd: 11 } } : record)),
    );
    const [task] = diffOf(fixtureImages("redis"), after).tasks;
    const changes = task!.mappings.filter((mapping) => mapping.change !== "same");
    assert.deepEqual(
      changes.map(({ start, change, detail }) => [BigInt(start), change, detail]),
      [
        [dropped, "gone", ""],
        [BigInt(firstRun), "changed", "was r-xp"],
      ],
    );
    assert.deepEqual(
      task!.descriptors.map(({ fd, change }) => [fd, change]),
      [
        [7, "gone"],
        [10, "gone"],
        [11, "added"],
      ],
    );
  });
});

test("tasks of only one checkpoint are added or gone", () => {
  const diff = diffOf(fixtureImages("redis"), fixtureImages("patchwork"));
  assert.deepEqual(
    diff.tasks.map((task) => [task.pid, task.change]),
    [
      [15808, "added"],
      [15812, "added"],
      [15813, "added"],
      [15853, "gone"],
    ],
  );
});

test("packed blocks are the same by checksum without being read, and --bytes reads them", async () => {
  await withTempDir("diff", async (dir) => {
    const [before, after] = [await packedCopy("redis", dir.join("a")), await packedCopy("redis", dir.join("b"))];
    // Damage a stored block of one side: its checksum in the index stays.
    const fd = openSync(join(after, "pagez-1.img"), "r+");
    writeSync(fd, Buffer.alloc(16, 0xff), 0, 16, 64);
    closeSync(fd);
    assert.equal(diffOf(before, after).different, false);
    assert.throws(() => diffOf(before, after, true), { code: "IMAGE_CORRUPT" });
  });
});

test("pages of a common parent are the same without being read", async () => {
  await withTempDir("diff", (dir) => {
    // Two incremental checkpoints with all pages in one parent.
    const parent = copyOf(dir, "parent");
    const children = ["a", "b"].map((name) => {
      const child = copyOf(dir, name);
      rewrite(join(child, `pagemap-${pid}.img`), "PAGEMAP", (image) =>
        image.records.map((record) => ({ ...record, message: { ...record.message, flags: 1 } })),
      );
      rmSync(join(child, "pages-1.img"));
      writeFileSync(join(child, "pages-1.img"), "");
      symlinkSync(parent, join(child, "parent"));
      return child;
    });
    const diff = diffOf(children[0]!, children[1]!);
    assert.equal(diff.different, false);
    assert.equal(diff.pages.same, 7475200 / 4096);
  });
});
