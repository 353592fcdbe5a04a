// Mappings of the fixtures against crit's decoding and the raw page files.
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeImageOf, encodeImage } from "../../src/images/framing";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { taskMappings } from "../../src/inspect/mappings";
import { mappingsText } from "../../src/inspect/textMaps";
import { withTempDir } from "../support/tempdir";
import { type CritVma, critEntries, critRuns, fixtureImages, fixtureNames, packedCopy } from "./fixtures";

const zeroPage = Buffer.alloc(4096);

for (const name of fixtureNames) {
  test(`maps of ${name}: every mapping's present, lazy and zero pages are those of crit's decoding and the raw pages`, () => {
    using checkpoint = Checkpoint.open(fixtureImages(name));
    for (const { pid, dead } of checkpoint.tasks) {
      const { mappings } = taskMappings(checkpoint, pid);
      if (dead) {
        assert.equal(mappings.length, 0);
        continue;
      }
      const [mm] = critEntries<{ vmas: CritVma[] }>(name, `mm-${pid}.img`);
      const { pagesId, runs } = critRuns(name, `pagemap-${pid}.img`);
      const pages = readFileSync(join(fixtureImages(name), `pages-${pagesId}.img`));
      assert.equal(mappings.length, mm!.vmas.length);
      mm!.vmas.forEach((vma, index) => {
        const mapping = mappings[index]!;
        const [start, end] = [Number(BigInt(vma.start)), Number(BigInt(vma.end))];
        assert.deepEqual([mapping.start, mapping.end], [start, end]);
        assert.equal(mapping.protection, protection(vma));
        if (mapping.shared) return; // their pages are in other images; tested below
        const counts = { present: 0, lazy: 0, zero: 0 };
        for (const run of runs) {
          for (let page = 0; page < run.nr_pages; page++) {
            const address = Number(BigInt(run.vaddr)) + page * 4096;
            if (address < start || address >= end) continue;
            counts.present++;
            if (run.flags.includes("PE_LAZY")) counts.lazy++;
            const at = (run.filePage + page) * 4096;
            if (pages.compare(zeroPage, 0, 4096, at, at + 4096) === 0) counts.zero++;
          }
        }
        const { present, lazy } = mapping.statistics;
        assert.deepEqual({ present, lazy, zero: mapping.zeroPages }, counts, `${vma.start} of ${pid}`);
        assert.ok(mapping.exact);
      });
    }
  });
}

function protection(vma: CritVma): string {
  const bit = (word: string, letter: string) => (vma.prot.includes(word) ? letter : "-");
  const shared = vma.flags.includes("MAP_SHARED") ? "s" : "p";
  return bit("PROT_READ", "r") + bit("PROT_WRITE", "w") + bit("PROT_EXEC", "x") + shared;
}

test("shared mappings of patchwork show the pages of the object behind them, and its name", () => {
  using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
  const { mappings } = taskMappings(checkpoint, 15808);
  const shared = mappings.filter((mapping) => mapping.shared);
  assert.deepEqual(
    shared.map(({ name, pageCount, statistics }) => ({ name, pageCount, present: statistics.present })),
    [
      { name: "/memfd:patchwork-memfd (deleted)", pageCount: 16, present: 1 },
      { name: "/dev/zero (deleted)", pageCount: 64, present: 2 },
    ],
  );
});

test("a mapping of the middle of a shared object shows the pages from there on", async () => {
  await withTempDir("maps", (dir) => {
    const images = dir.join("images");
    cpSync(fixtureImages("patchwork"), images, { recursive: true });
    const file = join(images, "mm-15808.img");
    const { message } = decodeImageOf("MM", readFileSync(file), file).records[0]!;
    // Both objects begin one page later: the first has a page there no more, the second has one of its two.
    const vmas = message.vmas.map((vma) => ((vma.flags & 1) === 1 ? { ...vma, pgoff: 4096n } : vma));
    rmSync(file);
    writeFileSync(file, encodeImage("MM", [{ message: { ...message, vmas } }]));
    using checkpoint = Checkpoint.open(images);
    const shared = taskMappings(checkpoint, 15808).mappings.filter((mapping) => mapping.shared);
    assert.deepEqual(
      shared.map((mapping) => mapping.statistics.present),
      [0, 1],
    );
  });
});

test("names say heap, stacks of the leader and of each thread, and files", () => {
  using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
  const names = taskMappings(checkpoint, 15808).mappings.map((mapping) => mapping.name);
  for (const name of [
    "[heap]",
    "[stack]",
    "[stack:15810]",
    "[stack:15811]",
    "[vdso]",
    "[vvar]",
    "/srv/fixture/patchwork",
  ]) {
    assert.ok(names.includes(name), name);
  }
  // The thread stacks of another task are no stacks here.
  const child = taskMappings(checkpoint, 15812).mappings.map((mapping) => mapping.name);
  assert.ok(!child.some((name) => name.startsWith("[stack:")));
});

test("entropy and ratio tell a page of zeros from a pattern from text", () => {
  using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
  const { mappings } = taskMappings(checkpoint, 15808);
  const at = (start: number) => mappings.find((mapping) => mapping.start === start)!;
  const zeros = at(0x7f5eebabe000);
  assert.deepEqual([zeros.entropy, zeros.ratio, zeros.zeroPages, zeros.packedBytes], ["zero", 0, 32, 0]);
  // "patchwork" over and over: log2(9) bits, and all but nothing left by LZ4.
  const pattern = at(0x7f5eebb32000);
  assert.equal(pattern.entropy, "medium");
  assert.ok(Math.abs(pattern.statistics.entropyBits! - Math.log2(9)) < 0.3);
  assert.ok(pattern.ratio! < 0.01);
});

test("the text has one line per mapping, like /proc/PID/maps, and a total", () => {
  using checkpoint = Checkpoint.open(fixtureImages("redis"));
  const task = taskMappings(checkpoint, checkpoint.tasks[0]!.pid);
  const lines = mappingsText(task).trimEnd().split("\n");
  assert.equal(lines.length, task.mappings.length + 3);
  assert.match(lines[1]!, /^ADDRESS +PROT +OFFSET +SIZE +PRESENT +LAZY +ZERO +PARENT +PACKED +RATIO +ENTROPY +NAME$/);
  assert.match(lines[2]!, /^5640fd22c000-5640fd28b000 +r--p +0 +380 KiB/);
  assert.match(lines.at(-1)!, /^total /);
});

for (const name of fixtureNames) {
  test(`a packed ${name} answers as the raw one does, with the same packed sizes`, async () => {
    await withTempDir("maps", async (dir) => {
      using raw = Checkpoint.open(fixtureImages(name));
      using packed = Checkpoint.open(await packedCopy(name, dir.join("packed")));
      for (const { pid } of raw.tasks) {
        const [left, right] = [taskMappings(raw, pid), taskMappings(packed, pid)];
        assert.equal(left.mappings.length, right.mappings.length);
        left.mappings.forEach((mapping, index) => {
          const other = right.mappings[index]!;
          const { packedBytes, ...counts } = mapping.statistics;
          const { packedBytes: stored, ...others } = other.statistics;
          assert.deepEqual(others, counts);
          // A block may reach over the border of two mappings: then its size is shared out by pages.
          assert.ok(Math.abs(stored - packedBytes) <= 0.15 * packedBytes + 4096, `${packedBytes} and ${stored}`);
        });
      }
    });
  });
}

test("pages of a parent directory are counted as its own, and read through the chain", async () => {
  await withTempDir("maps", (dir) => {
    const child = dir.join("child");
    cpSync(fixtureImages("redis"), child, { recursive: true });
    const file = join(child, "pagemap-15853.img");
    const image = decodeImageOf("PAGEMAP", readFileSync(file), file);
    const records = image.records.map((record) => ({ message: { ...record.message, flags: 1 } }));
    rmSync(file);
    writeFileSync(file, encodeImage("PAGEMAP", records, { head: image.head }));
    rmSync(join(child, "pages-1.img"));
    writeFileSync(join(child, "pages-1.img"), "");
    symlinkSync(fixtureImages("redis"), join(child, "parent"));
    using whole = Checkpoint.open(fixtureImages("redis"));
    using incremental = Checkpoint.open(child);
    const [left, right] = [taskMappings(whole, 15853), taskMappings(incremental, 15853)];
    right.mappings.forEach((mapping, index) => {
      const { statistics, zeroPages, entropy } = left.mappings[index]!;
      assert.deepEqual([mapping.statistics.present, mapping.statistics.parent], [0, statistics.present]);
      assert.deepEqual([mapping.zeroPages, mapping.entropy], [zeroPages, entropy]);
    });
    assert.match(mappingsText(right), /^total +64.9 MiB +· +· +420 KiB +7.1 MiB/m);
  });
});
