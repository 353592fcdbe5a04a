// Packed page files: what is written is read back, and no bytes at all make the reader do anything but answer or refuse.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { FaultlineError } from "../../src/errors";
import { BlockCodec } from "../../src/images/block";
import { BlockOrder } from "../../src/images/blockOrder";
import { PackedPagesReader } from "../../src/images/packed";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import { PAGE_BYTES } from "../../src/limits";
import { native } from "../../src/native";

const folder = mkdtempSync(join(tmpdir(), "faultline-packed-"));
after(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const freshFile = () => join(folder, `pagez-${files++}.img`);

type PageKind = "zero" | "text" | "noise";

function fillPage(page: Buffer, kind: PageKind, seed: number): void {
  if (kind === "zero") page.fill(0);
  else if (kind === "text") page.fill(`page ${seed} of a compressible run; `);
  else {
    let state = (seed * 2654435761 + 1) >>> 0;
    for (let i = 0; i < page.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      page[i] = state >>> 24;
    }
  }
}

function makePages(kinds: readonly PageKind[], seed: number): Buffer {
  const pages = Buffer.alloc(kinds.length * PAGE_BYTES);
  kinds.forEach((kind, i) => {
    fillPage(pages.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), kind, seed + i);
  });
  return pages;
}

const kinds = fc.array(fc.constantFrom<PageKind>("zero", "text", "noise"), { minLength: 1, maxLength: 40 });

async function pack(
  runs: readonly Buffer[],
  options: { pagesPerBlock: number; level: number },
  tail: Uint8Array,
): Promise<string> {
  const file = freshFile();
  const writer = await PackedPagesWriter.create(file, options);
  for (const run of runs) await writer.addRun(run, run.length / PAGE_BYTES);
  const summary = await writer.finish(tail);
  assert.equal(summary.fileBytes, readFileSync(file).length);
  return file;
}

test("any runs of pages, in blocks of any size and level, read back as they were", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(kinds, { maxLength: 8 }),
      fc.integer({ min: 1, max: 20 }),
      fc.constantFrom(0, 0, 9),
      fc.uint8Array({ maxLength: 4095 }),
      fc.nat(),
      async (runKinds, pagesPerBlock, level, tail, seed) => {
        const runs = runKinds.map((run, i) => makePages(run, seed + i * 100));
        const file = await pack(runs, { pagesPerBlock, level }, tail);
        using reader = PackedPagesReader.open(file);
        const all = Buffer.concat(runs);
        assert.equal(reader.pageCount * PAGE_BYTES, all.length);
        assert.equal(
          reader.blockCount,
          runs.reduce((sum, run) => sum + Math.ceil(run.length / PAGE_BYTES / pagesPerBlock), 0),
        );
        const out = Buffer.alloc(all.length);
        reader.readPages(0, reader.pageCount, out);
        assert.ok(out.equals(all));
        assert.ok(Buffer.from(tail).equals(reader.index.tail));
        for (let page = 0; page < reader.pageCount; page++) {
          const block = reader.blockOfPage(page);
          assert.ok(reader.firstPage(block) <= page && page < reader.firstPage(block) + reader.block(block).pageCount);
        }
        rmSync(file);
      },
    ),
    { numRuns: 60 },
  );
});

test("runs packed from where they lie, here and there in memory, give the file that copied ones give", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(kinds, fc.boolean()), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 20 }),
      fc.nat(),
      async (runKinds, pagesPerBlock, seed) => {
        const runs = runKinds.map(([run], i) => makePages(run, seed + i * 100));
        const copied = await pack(runs, { pagesPerBlock, level: 0 }, new Uint8Array(0));
        // All in one piece of memory in the reverse order, but for those that are alone in theirs or copied after all.
        const together = Buffer.concat([...runs].reverse());
        const file = freshFile();
        const writer = await PackedPagesWriter.create(file, { pagesPerBlock });
        let end = together.length;
        for (const [i, run] of runs.entries()) {
          end -= run.length;
          const place = runKinds[i]![1] ? run : together.subarray(end, end + run.length);
          if (i % 3 === 2) await writer.addRun(run, run.length / PAGE_BYTES);
          else await writer.addSteadyRun(place, run.length / PAGE_BYTES);
        }
        await writer.finish();
        assert.ok(readFileSync(file).equals(readFileSync(copied)));
        rmSync(file);
        rmSync(copied);
      },
    ),
    { numRuns: 60 },
  );
});

test("blocks stored ahead of their turn read back in page order, and lie where they were asked to", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(kinds, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.tuple(fc.nat({ max: 200 }), fc.integer({ min: 1, max: 20 })), { maxLength: 8 }),
      fc.nat(),
      async (runKinds, pagesPerBlock, wanted, seed) => {
        const runs = runKinds.map((run, i) => makePages(run, seed + i * 100));
        const all = Buffer.concat(runs);
        const borders = [0];
        for (const run of runs) borders.push(borders[borders.length - 1]! + run.length / PAGE_BYTES);
        const order = new BlockOrder(borders, pagesPerBlock);
        for (const [page, count] of wanted) order.want(page, Math.min(page + count, all.length / PAGE_BYTES));
        const file = freshFile();
        const writer = await PackedPagesWriter.create(file, { pagesPerBlock });
        for (const [from, to] of order.stretches()) {
          await writer.addRun(all.subarray(from * PAGE_BYTES, to * PAGE_BYTES), to - from);
        }
        await writer.finish(Buffer.from("tail"), order);
        using reader = PackedPagesReader.open(file);
        const out = Buffer.alloc(all.length);
        reader.readPages(0, reader.pageCount, out);
        assert.ok(out.equals(all));
        let end = 0;
        for (const block of order.firstBlocks) {
          assert.equal(reader.block(block).offset, end);
          end += reader.block(block).storedBytes;
        }
        rmSync(file);
      },
    ),
    { numRuns: 60 },
  );
});

test("a block never crosses the border of a run, and every page offset finds its block", async () => {
  const runs = [makePages(["text", "text", "text"], 1), makePages(Array<PageKind>(20).fill("text"), 2)];
  const file = await pack(runs, { pagesPerBlock: 16, level: 0 }, new Uint8Array(0));
  using reader = PackedPagesReader.open(file);
  assert.deepEqual(
    [0, 1, 2].map((i) => [reader.firstPage(i), reader.block(i).pageCount]),
    [
      [0, 3],
      [3, 16],
      [19, 4],
    ],
  );
  assert.deepEqual(
    [0, 2, 3, 18, 19, 22].map((page) => reader.blockOfPage(page)),
    [0, 0, 1, 1, 2, 2],
  );
});

test("zero blocks store nothing, noise is stored raw, the rest as LZ4", async () => {
  const runs = [makePages(["zero", "zero"], 1), makePages(["noise"], 2), makePages(["text"], 3)];
  const file = await pack(runs, { pagesPerBlock: 16, level: 0 }, new Uint8Array(0));
  using reader = PackedPagesReader.open(file);
  const blocks = [0, 1, 2].map((i) => reader.block(i));
  assert.deepEqual(
    blocks.map((block) => block.codec),
    [BlockCodec.Zero, BlockCodec.Raw, BlockCodec.Lz4],
  );
  assert.equal(blocks[0]!.storedBytes, 0);
  assert.equal(blocks[1]!.storedBytes, PAGE_BYTES);
  assert.ok(blocks[2]!.storedBytes < PAGE_BYTES / 8);
});

test("a long run added in pieces has the same blocks as in one", async () => {
  const pages = makePages(Array<PageKind>(64).fill("text"), 7);
  const whole = await pack([pages], { pagesPerBlock: 16, level: 0 }, new Uint8Array(0));
  const pieces = [pages.subarray(0, 32 * PAGE_BYTES), pages.subarray(32 * PAGE_BYTES)] as Buffer[];
  const cut = await pack(pieces, { pagesPerBlock: 16, level: 0 }, new Uint8Array(0));
  using one = PackedPagesReader.open(whole);
  using two = PackedPagesReader.open(cut);
  assert.deepEqual(one.index.offsets, two.index.offsets);
  assert.deepEqual(one.index.firstPages, two.index.firstPages);
});

test("an index has protobuf's own wire form of images/pagez.proto", async () => {
  const protobuf = require("protobufjs") as typeof import("protobufjs");
  const root = protobuf.loadSync(join(__dirname, "..", "..", "..", "images", "pagez.proto"));
  const file = await pack(
    [makePages(["text", "zero", "noise"], 3)],
    { pagesPerBlock: 2, level: 0 },
    Buffer.from("odd"),
  );
  const bytes = readFileSync(file);
  const index = bytes.subarray(Number(bytes.readBigUInt64LE(bytes.length - 32)), bytes.length - 32);
  const decoded = root.lookupType("pagez_index").decode(index).toJSON();
  assert.equal(decoded.pageCount, "3");
  assert.equal(decoded.pagesPerBlock, 2);
  assert.deepEqual(decoded.runPages, ["3"]);
  assert.equal((decoded.storedBytes as number[]).length, 2);
  assert.equal((decoded.checksum as number[]).length, 2);
});

/** The outcome of reading everything in a file: its pages, or the typed error. Anything else fails the test. */
function readAll(file: string): Buffer | FaultlineError {
  try {
    using reader = PackedPagesReader.open(file);
    const out = Buffer.alloc(reader.pageCount * PAGE_BYTES);
    reader.readPages(0, reader.pageCount, out);
    return Buffer.concat([out, reader.index.tail]);
  } catch (error) {
    if (error instanceof FaultlineError) return error;
    throw error;
  }
}

test("a file with any byte changed, cut, spliced or grown reads right or is refused by name", async () => {
  const runs = [makePages(["text", "zero", "noise", "text", "zero"], 1), makePages(["text"], 9)];
  const file = await pack(runs, { pagesPerBlock: 2, level: 0 }, Buffer.from("tail"));
  const good = readFileSync(file);
  const right = Buffer.concat([...runs, Buffer.from("tail")]);
  const position = fc.nat({ max: good.length - 1 });
  const mutation = fc.oneof(
    fc.tuple(position, fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
      const bytes = Buffer.from(good);
      bytes[at] = bytes[at]! ^ bits;
      return bytes;
    }),
    // The index and the trailer are the small part of the file where every bit matters.
    fc.tuple(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 1, max: 255 })).map(([back, bits]) => {
      const bytes = Buffer.from(good);
      bytes[good.length - back] = bytes[good.length - back]! ^ bits;
      return bytes;
    }),
    position.map((at) => good.subarray(0, at)),
    fc.tuple(position, position).map(([at, from]) => Buffer.concat([good.subarray(0, at), good.subarray(from)])),
    fc
      .tuple(position, fc.uint8Array({ minLength: 1, maxLength: 64 }))
      .map(([at, more]) => Buffer.concat([good.subarray(0, at), more, good.subarray(at)])),
  );
  const mutant = freshFile();
  let refused = 0;
  fc.assert(
    fc.property(mutation, (bytes) => {
      writeFileSync(mutant, bytes);
      const outcome = readAll(mutant);
      if (outcome instanceof FaultlineError) {
        refused++;
        assert.equal(outcome.details.file, mutant);
      } else assert.ok(outcome.equals(right));
    }),
    { numRuns: 3000 },
  );
  assert.ok(refused > 1000);
});

/** A packed file around any index bytes, with a trailer that vouches for them. */
function withIndex(blocks: Buffer, index: Buffer, version = 1): Buffer {
  const trailer = Buffer.alloc(32);
  trailer.writeBigUInt64LE(BigInt(blocks.length), 0);
  trailer.writeBigUInt64LE(BigInt(index.length), 8);
  trailer.writeUInt32LE(native.xxh32(index, 0, index.length), 16);
  trailer.writeUInt32LE(version, 20);
  trailer.write("FLTPAGEZ", 24, "latin1");
  return Buffer.concat([blocks, index, trailer]);
}

for (const version of [1, 2]) {
  test(`an index of version ${version} that is damaged but vouched for by its checksum is refused, or means what it says`, async () => {
    await damagedIndex(version);
  });
}

/** Two runs of pages whose third block, and then their first, are stored ahead of the second. */
async function packOrdered(runs: readonly Buffer[]): Promise<string> {
  const order = new BlockOrder([0, 3, 5], 2);
  order.want(3, 4);
  order.want(0, 1);
  const file = freshFile();
  const writer = await PackedPagesWriter.create(file, { pagesPerBlock: 2 });
  const all = Buffer.concat(runs);
  for (const [from, to] of order.stretches()) {
    await writer.addRun(all.subarray(from * PAGE_BYTES, to * PAGE_BYTES), to - from);
  }
  await writer.finish(Buffer.from("tail"), order);
  return file;
}

async function damagedIndex(version: number): Promise<void> {
  const runs = [makePages(["text", "noise", "zero"], 1), makePages(["text", "text"], 5)];
  const plain = () => pack(runs, { pagesPerBlock: 2, level: 0 }, Buffer.from("tail"));
  const file = version === 1 ? await plain() : await packOrdered(runs);
  const good = readFileSync(file);
  const at = Number(good.readBigUInt64LE(good.length - 32));
  const blocks = good.subarray(0, at);
  const index = good.subarray(at, good.length - 32);
  const mutant = freshFile();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: index.length - 1 }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }),
      fc.nat({ max: index.length }),
      (changes, length) => {
        const bytes = Buffer.from(index.subarray(0, length % 3 === 0 ? length : index.length));
        for (const [position, value] of changes) if (position < bytes.length) bytes[position] = value;
        writeFileSync(mutant, withIndex(blocks, bytes, version));
        const outcome = readAll(mutant);
        assert.ok(outcome instanceof FaultlineError || outcome.length <= 1024 * PAGE_BYTES * 16);
      },
    ),
    { numRuns: 3000 },
  );
}

test("an index that promises far more than the file holds is refused before anything is allocated for it", () => {
  const file = freshFile();
  const varint = (value: number): number[] =>
    value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
  const huge = varint(2 ** 40);
  const index = Buffer.from([8, 1, 16, 128, 32, 24, 2, 32, 16, 40, ...huge, 66, huge.length, ...huge]);
  writeFileSync(file, withIndex(Buffer.alloc(0), index));
  assert.throws(
    () => PackedPagesReader.open(file),
    (error) => error instanceof FaultlineError && error.code === "IMAGE_CORRUPT",
  );
});
