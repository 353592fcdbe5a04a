// The page index against a plain model: any runs in any chain of parents, raw and packed; and its size and limits.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { FaultlineError } from "../../src/errors";
import { ImageDirectory } from "../../src/images/directory";
import { encodeImage, writeImage } from "../../src/images/framing";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import { decodePagemap, PageFlag, type Pagemap } from "../../src/images/pagemap";

const PAGES = 60;

/** A run as a test states it; `gap` pages lie before it. */
interface RunPlan {
  readonly gap: number;
  readonly count: number;
  readonly flags: number;
  /** How the entry says its page count and flags: as CRIU 4.2, as older ones, or as the oldest. */
  readonly form: "new" | "both" | "old" | "oldest";
}

interface Level {
  readonly runs: readonly RunPlan[];
  readonly packed: boolean;
  readonly pagesPerBlock: number;
}

/** What a page is in one directory: its bytes' fill, "parent", "absent" or nothing. */
type ModelPage = number | "parent" | "absent" | undefined;

const levels: fc.Arbitrary<Level[]> = fc.array(
  fc.record({
    runs: fc.array(
      fc.record({
        gap: fc.nat(4),
        count: fc.integer({ min: 1, max: 24 }),
        flags: fc.constantFrom(1, 2, 3, 4, 6, 6, 6),
        form: fc.constantFrom("new", "both", "old", "oldest"),
      }),
      { maxLength: 5 },
    ),
    packed: fc.boolean(),
    pagesPerBlock: fc.constantFrom(1, 4, 16),
  }),
  { minLength: 1, maxLength: 3 },
) as fc.Arbitrary<Level[]>;

function entry(page: number, run: RunPlan) {
  const vaddr = BigInt(page) * 4096n;
  if (run.form === "new") return { vaddr, compat_nr_pages: 0, nr_pages: BigInt(run.count), flags: run.flags };
  if (run.form === "both") return { vaddr, compat_nr_pages: run.count, nr_pages: BigInt(run.count), flags: run.flags };
  if (run.form === "old") return { vaddr, compat_nr_pages: run.count, flags: run.flags };
  return { vaddr, compat_nr_pages: run.count, ...(run.flags & PageFlag.Parent ? { in_parent: true } : {}) };
}

/** Writes one level and returns its model, page by page. */
async function build(path: string, level: Level, depth: number): Promise<ModelPage[]> {
  mkdirSync(path);
  writeImage(path, "inventory.img", "INVENTORY", [{ img_version: 2 }]);
  const model: ModelPage[] = new Array<ModelPage>(PAGES + 100).fill(undefined);
  const entries = [];
  const stored: Buffer[] = [];
  let page = 0;
  for (const run of level.runs) {
    page += run.gap;
    // The oldest form can say "in the parent" and "present", nothing else.
    const flags = run.form !== "oldest" ? run.flags : run.flags & PageFlag.Parent ? PageFlag.Parent : PageFlag.Present;
    entries.push(entry(page, run));
    const bytes: Buffer[] = [];
    for (let each = page; each < page + run.count; each++) {
      // Every third page is zero, so that packed files have zero blocks.
      const fill = each % 3 === 0 ? 0 : (each * 7 + depth * 31 + 1) & 0xff;
      if (flags & PageFlag.Parent) model[each] = "parent";
      else if (flags & PageFlag.Present) {
        model[each] = fill;
        bytes.push(Buffer.alloc(4096, fill));
      } else model[each] = "absent";
    }
    if (bytes.length > 0) stored.push(Buffer.concat(bytes));
    page += run.count;
  }
  writeImage(path, "pagemap-7.img", "PAGEMAP", entries, { head: { pages_id: 3 } });
  if (level.packed) {
    const writer = await PackedPagesWriter.create(join(path, "pagez-3.img"), { pagesPerBlock: level.pagesPerBlock });
    for (const run of stored) await writer.addRun(run, run.length / 4096);
    await writer.finish();
  } else writeFileSync(join(path, "pages-3.img"), Buffer.concat(stored));
  return model;
}

function expected(models: readonly ModelPage[][], depth: number, page: number): number | "absent" | "lost" | undefined {
  const here = models[depth]![page];
  if (here !== "parent") return here;
  const below = depth + 1 < models.length ? expected(models, depth + 1, page) : undefined;
  return below === undefined ? "lost" : below;
}

test("any chain of images answers each page as a plain model does", async () => {
  await fc.assert(
    fc.asyncProperty(levels, async (chain) => {
      const top = mkdtempSync(join(tmpdir(), "faultline-index-"));
      try {
        const models: ModelPage[][] = [];
        for (const [depth, level] of chain.entries()) {
          models.push(await build(join(top, `level-${depth}`), level, depth));
          if (depth > 0) symlinkSync(`../level-${depth}`, join(top, `level-${depth - 1}`, "parent"));
        }
        using directory = ImageDirectory.open(join(top, "level-0"));
        check(directory, models);
      } finally {
        rmSync(top, { recursive: true });
      }
    }),
    { numRuns: 150 },
  );
});

function check(directory: ImageDirectory, models: readonly ModelPage[][]): void {
  const index = directory.pageIndex(7);
  const out = Buffer.alloc(4096);
  let whole = true;
  for (let page = 0; page < models[0]!.length; page++) {
    const want = expected(models, 0, page);
    if (want === "lost" || want === "absent") {
      whole = false;
      assert.throws(
        () => index.readPages(page, 1, out),
        (error: unknown) => error instanceof FaultlineError && error.code === "IMAGE_MISSING",
      );
      if (want === "absent") assert.equal(index.lookup(page).kind, "absent");
      continue;
    }
    assert.equal(index.lookup(page).kind, want === undefined ? "none" : "block");
    index.readPages(page, 1, out);
    assert.ok(
      out.every((byte) => byte === (want ?? 0)),
      `page ${page}`,
    );
  }
  if (!whole) return;
  const count = models[0]!.length;
  const all = Buffer.alloc(count * 4096, 0xee);
  index.readPages(0, count, all);
  let next = 0;
  for (const piece of index.pieces(0, count)) {
    assert.ok(piece.firstPage >= next && piece.pageCount > 0);
    assert.ok(piece.skip + piece.pageCount <= piece.block!.pageCount);
    next = piece.firstPage + piece.pageCount;
  }
  for (let page = 0; page < count; page++) {
    assert.equal(all[page * 4096], expected(models, 0, page) ?? 0);
    assert.equal(all[page * 4096 + 4095], expected(models, 0, page) ?? 0);
  }
}

function pagemap(entries: readonly object[]): Pagemap {
  const bytes = encodeImage("PAGEMAP", entries.map((message) => ({ message })) as never, { head: { pages_id: 1 } });
  return decodePagemap(bytes, "pagemap-1.img");
}

test("a run takes at most 32 bytes", () => {
  const entries = Array.from({ length: 10_000 }, (_each, run) =>
    entry(run * 2, { gap: 0, count: 1, flags: 6, form: "new" }),
  );
  const { starts, counts, flags, filePages, runCount } = pagemap(entries);
  const bytes = [starts, counts, flags, filePages].reduce((sum, array) => sum + array.buffer.byteLength, 0);
  assert.equal(runCount, 10_000);
  assert.ok(bytes / runCount <= 32, `${bytes / runCount}`);
});

test("runs of the highest addresses and of more pages than 32 bits are exact", () => {
  const map = pagemap([
    { vaddr: 0n, compat_nr_pages: 0, nr_pages: 1n << 33n, flags: 2 },
    { vaddr: 0xffffffffff600000n, compat_nr_pages: 1, flags: 4 },
  ]);
  assert.deepEqual([...map.starts], [0, Number(0xffffffffff600000n / 4096n)]);
  assert.deepEqual([...map.counts], [2 ** 33, 1]);
});

test("runs that overlap, go back, leave the address space or have new flags are refused, saying which", () => {
  const fine = { vaddr: 0x10000n, compat_nr_pages: 2, flags: 4 };
  for (const [bad, code] of [
    [{ vaddr: 0x11000n, compat_nr_pages: 1, flags: 4 }, "IMAGE_CORRUPT"],
    [{ vaddr: 0x1000n, compat_nr_pages: 1, flags: 4 }, "IMAGE_CORRUPT"],
    [{ vaddr: 0x20001n, compat_nr_pages: 1, flags: 4 }, "IMAGE_CORRUPT"],
    [{ vaddr: 0x20000n, compat_nr_pages: 1, flags: 5 }, "IMAGE_CORRUPT"],
    [{ vaddr: 0xfffffffffffff000n, compat_nr_pages: 2, flags: 4 }, "IMAGE_CORRUPT"],
    [{ vaddr: 0x20000n, compat_nr_pages: 0, nr_pages: (1n << 64n) - 1n, flags: 4 }, "IMAGE_CORRUPT"],
    [{ vaddr: 0x20000n, compat_nr_pages: 1, flags: 12 }, "IMAGE_UNSUPPORTED"],
  ] as const) {
    assert.throws(
      () => pagemap([fine, bad]),
      (error: unknown) => error instanceof FaultlineError && error.code === code && error.details.record === 2,
      JSON.stringify(code),
    );
  }
});

test("a pagemap with fields of a newer CRIU is refused rather than read at wrong offsets", () => {
  const bytes = encodeImage("PAGEMAP", [{ message: { vaddr: 0n, compat_nr_pages: 1, flags: 4 } }], {
    head: { pages_id: 1 },
  });
  // Field 6, compressed_size, as a development version of CRIU writes it.
  const grown = Buffer.concat([bytes, Buffer.from([0x30, 0x05])]);
  const length = grown.readUInt32LE(14);
  grown.writeUInt32LE(length + 2, 14);
  assert.throws(
    () => decodePagemap(grown, "pagemap-1.img"),
    (error: unknown) => error instanceof FaultlineError && error.code === "IMAGE_UNSUPPORTED",
  );
});

test("an image of a newer version is refused when opened", () => {
  const top = mkdtempSync(join(tmpdir(), "faultline-index-"));
  try {
    writeImage(top, "inventory.img", "INVENTORY", [{ img_version: 3 }]);
    assert.throws(
      () => ImageDirectory.open(top),
      (error: unknown) => error instanceof FaultlineError && error.code === "IMAGE_UNSUPPORTED",
    );
  } finally {
    rmSync(top, { recursive: true });
  }
});
