// Search and hexdump: every place that a plain look at the bytes finds, across pages, blocks and chunks; first matches at
// once; memory bounded on images far larger than it.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import { AddressSpace } from "../../src/inspect/addressSpace";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { parseQuery, type Query, SearchCounts, searchMemory } from "../../src/inspect/search";
import { bigImageFirstPage, bigImagePid, makeBigImage } from "../support/bigImage";
import { repositoryRoot } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { critRuns, fixtureImages, packedCopy } from "./fixtures";

const main = join(repositoryRoot, "dist", "cmd", "faultline.js");
const base = bigImageFirstPage * 4096;

function inspect(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "inspect", ...args], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  return { status, stdout, stderr };
}

async function places(images: string, pid: number, query: Query): Promise<number[]> {
  using checkpoint = Checkpoint.open(images);
  const found: number[] = [];
  const space = new AddressSpace(checkpoint, pid);
  for await (const match of searchMemory(space, parseQuery(query)(), new SearchCounts())) found.push(match.address);
  return found;
}

/** Where a needle is, from crit's own decoding of the pagemap and the raw pages file; not overlapping. */
function expectedPlaces(needle: Buffer): number[] {
  const { pagesId, runs } = critRuns("redis", "pagemap-15853.img");
  const pages = readFileSync(join(fixtureImages("redis"), `pages-${pagesId}.img`));
  const found: number[] = [];
  let free = 0;
  let at = 0;
  while (at < runs.length) {
    let end = at + 1;
    while (
      end < runs.length &&
      Number(runs[end]!.vaddr) === Number(runs[end - 1]!.vaddr) + runs[end - 1]!.nr_pages * 4096
    )
      end++;
    const last = runs[end - 1]!;
    const bytes = pages.subarray(runs[at]!.filePage * 4096, (last.filePage + last.nr_pages) * 4096);
    for (let hit = bytes.indexOf(needle); hit >= 0; hit = bytes.indexOf(needle, hit + 1)) {
      const address = Number(runs[at]!.vaddr) + hit;
      if (address >= free) found.push(address);
      if (address >= free) free = address + needle.length;
    }
    at = end;
  }
  return found;
}

test("every place of a literal is found, in raw and packed directories, however many and wherever", async () => {
  await withTempDir("search", async (dir) => {
    const packed = await packedCopy("redis", dir.join("packed"));
    for (const text of ["redis", "e", "value:192", "maxmemory", "aa", "not there at all"]) {
      const expected = expectedPlaces(Buffer.from(text));
      assert.deepEqual(await places(fixtureImages("redis"), 15853, { text }), expected, text);
      assert.deepEqual(await places(packed, 15853, { text }), expected, `packed ${text}`);
    }
    const hex = "0100:0000 0000";
    assert.deepEqual(await places(packed, 15853, { hex }), expectedPlaces(Buffer.from("010000000000", "hex")));
  });
});

test("a regular expression finds what the same literal does, and classes what several do", async () => {
  for (const [regex, literal] of [
    ["redis", "redis"],
    ["ma[x]memory", "maxmemory"],
    ["\\x01\\x00{5}", "\x01\0\0\0\0\0"],
  ] as const) {
    const expected = expectedPlaces(Buffer.from(literal, "latin1"));
    assert.deepEqual(await places(fixtureImages("redis"), 15853, { regex }), expected, regex);
  }
});

test("a match may cross any border: of pages, blocks, runs and chunks, and into pages that are all zero", async () => {
  await withTempDir("search", async (dir) => {
    // 40 MiB in runs of many lengths that follow each other, with zero stretches in between.
    const pageCount = 10_240;
    const bytes = Buffer.alloc(pageCount * 4096);
    const borders = [1, 16, 17, 1024, 1025, 2048, 3000, 4096, 5120, 9000];
    const ends: number[] = [];
    for (const [index, page] of borders.entries()) {
      const at = page * 4096 - 3 - (index % 7);
      bytes.write("needle\0in-it", at);
      ends.push(base + at);
    }
    // Ends in zeros, at the end of a page before a zero stretch.
    bytes.write("X!", 7000 * 4096 - 2);
    const runs = [
      { page: 0, pageCount: 1000 },
      { page: 1000, pageCount: 1 },
      { page: 1001, pageCount: pageCount - 1001 },
    ];
    const images = dir.join("images");
    makeBigImage(images, pageCount, runs);
    const writer = await PackedPagesWriter.create(join(images, "pagez-1.img"), { pagesPerBlock: 4 });
    for (const run of runs) await writer.addRun(bytes.subarray(run.page * 4096), run.pageCount);
    await writer.finish();
    assert.deepEqual(await places(images, bigImagePid, { hex: Buffer.from("needle\0in-it").toString("hex") }), ends);
    assert.deepEqual(await places(images, bigImagePid, { regex: "ne+dle\\0[a-z]+-it" }), ends);
    assert.deepEqual(await places(images, bigImagePid, { hex: "58 21 00 00 00 00" }), [base + 7000 * 4096 - 2]);
    assert.deepEqual(await places(images, bigImagePid, { regex: "X!\\0{2000}" }), [base + 7000 * 4096 - 2]);
    const { stdout } = inspect("search", images, "edle", "--context", "5", "--max-count", "1");
    assert.equal(stdout, "15853  000100000fff  rw-p  -  ...needle.in-i\n");
  });
});

test("two tasks are searched, or the one that was asked for; JSON is an object a line; --max-count stops", () => {
  const images = fixtureImages("patchwork");
  const lines = (...args: string[]) =>
    inspect("search", images, "patchwork", "--json", ...args)
      .stdout.split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { pid: number; address: string; bytes: string; before: string; name: string });
  const all = lines();
  assert.deepEqual(new Set(all.map(({ pid }) => pid)), new Set([15808, 15812]));
  assert.deepEqual(
    lines("--pid", "15812"),
    all.filter(({ pid }) => pid === 15812),
  );
  assert.deepEqual(lines("--max-count", "2"), all.slice(0, 2));
  assert.ok(all.every(({ bytes }) => Buffer.from(bytes, "hex").toString() === "patchwork"));
});

test("queries that make no sense are refused as usage", () => {
  const images = fixtureImages("redis");
  for (const args of [
    [],
    ["a", "--hex", "41"],
    ["--hex", "4"],
    ["--hex", "0000"],
    ["--regex", "("],
    [""],
    ["a", "--context", "-1"],
  ]) {
    const { status, stderr } = inspect("search", images, ...args);
    assert.equal(status, 2, args.join(" "));
    assert.match(stderr, /^(faultline|error): [^\n]+\n/);
  }
});

/** Runs a search and gives its output, the most memory it held, and how many lines came before the process ended. */
async function measured(args: readonly string[], probe: string): Promise<{ lines: string[]; residentMiB: number }> {
  writeFileSync(probe, 'process.on("exit", () => console.error("rss " + process.resourceUsage().maxRSS));');
  const child = spawn(process.execPath, ["-r", probe, main, "inspect", "search", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  const status = await new Promise((done) => child.once("close", done));
  assert.equal(status, 0, errors);
  return { lines, residentMiB: Number(/rss (\d+)/.exec(errors)![1]) / 1024 };
}

test("100 GiB of zero blocks are searched within 256 MiB, and what is between them is found", async () => {
  await withTempDir("search", async (dir) => {
    const pageCount = (100 * 2 ** 30) / 4096;
    const packed = dir.join("packed");
    makeBigImage(packed, pageCount, [{ page: 0, pageCount }]);
    await writeMostlyZero(join(packed, "pagez-1.img"), pageCount);
    const raw = dir.join("raw");
    makeBigImage(raw, pageCount, [{ page: 0, pageCount }]);
    writeFileSync(join(raw, "pages-1.img"), "");
    truncateSync(join(raw, "pages-1.img"), pageCount * 4096);
    const fd = openSync(join(raw, "pages-1.img"), "r+");
    for (const page of [0, pageCount - 1]) writeSync(fd, "hello from the page", page * 4096 + 100);
    closeSync(fd);
    for (const images of [packed, raw]) {
      for (const query of [["from the"], ["--regex", "fro[m] the"]]) {
        const { lines, residentMiB } = await measured([images, ...query, "--json"], dir.join("probe.js"));
        const addresses = lines.map((line) => Number((JSON.parse(line) as { address: string }).address));
        assert.deepEqual(addresses, [base + 106, base + (pageCount - 1) * 4096 + 106]);
        assert.ok(residentMiB < 256, `${residentMiB} MiB`);
      }
    }
  });
});

/** A packed file of one run, all zero but for its first and last block. */
async function writeMostlyZero(file: string, pageCount: number): Promise<void> {
  const { encodeIndex, encodeTrailer } =
    require("../../src/images/packedIndex") as typeof import("../../src/images/packedIndex");
  const { native } = require("../../src/native") as typeof import("../../src/native");
  const pages = [Buffer.alloc(16 * 4096), Buffer.alloc(16 * 4096)] as const;
  pages[0].write("hello from the page", 100);
  pages[1].write("hello from the page", 15 * 4096 + 100);
  const stored = pages.map((page) => {
    const out = Buffer.alloc(page.length);
    return out.subarray(0, native.encodeBlock(page, 0, page.length, 0, out, 0));
  });
  const blockCount = pageCount / 16;
  const storedBytes = new Uint32Array(blockCount);
  const checksums = new Uint32Array(blockCount).fill(native.xxh32(Buffer.alloc(1), 0, 0));
  for (const [which, block] of [0, blockCount - 1].entries()) {
    storedBytes[block] = stored[which]!.length;
    checksums[block] = native.xxh32(stored[which]!, 0, stored[which]!.length);
  }
  const blocks = Buffer.concat(stored);
  const index = encodeIndex({
    pagesPerBlock: 16,
    pageCount,
    storedBytes,
    checksums,
    runPages: Float64Array.of(pageCount),
    tail: new Uint8Array(0),
  });
  const trailer = encodeTrailer({
    indexOffset: blocks.length,
    indexBytes: index.length,
    indexChecksum: native.xxh32(index, 0, index.length),
  });
  writeFileSync(file, Buffer.concat([blocks, index, trailer]));
}

test("the first match is printed while the search goes on", async () => {
  await withTempDir("search", async (dir) => {
    const pageCount = (400 * 2 ** 30) / 4096;
    makeBigImage(dir.join("images"), pageCount, [{ page: 0, pageCount }]);
    await writeMostlyZero(join(dir.join("images"), "pagez-1.img"), pageCount);
    const child = spawn(process.execPath, [main, "inspect", "search", dir.join("images"), "hello"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const order: string[] = [];
    child.stdout.on("data", () => order.push("match"));
    child.once("exit", () => order.push("exit"));
    await new Promise((done) => child.once("close", done));
    assert.deepEqual(order, ["match", "match", "exit"]);
  });
});

test("a damaged block ends the search with its file and offset", async () => {
  await withTempDir("search", async (dir) => {
    const packed = await packedCopy("redis", dir.join("packed"));
    const file = join(packed, "pagez-1.img");
    const fd = openSync(file, "r+");
    writeSync(fd, Buffer.from([0xff, 0xff, 0xff, 0xff]), 0, 4, 100_000);
    closeSync(fd);
    const { status, stderr } = inspect("search", packed, "not there at all");
    assert.equal(status, 1);
    assert.match(stderr, /^faultline: a block's checksum is wrong \(.*pagez-1\.img, offset \d+\)\n$/);
  });
});

test("hexdump shows the bytes of memory, equal rows once, and says what is not stored", () => {
  const images = fixtureImages("redis");
  const { stdout } = inspect("hexdump", images, "15853", "7fa39de7bff8-7fa39de7c0a5");
  assert.equal(
    stdout,
    `7fa39de7bff8  (8 B not mapped)
7fa39de7c000  40 4c 01 76 61 6c 75 65  3a 31 39 32 36 35 00 00  |@L.value:19265..|
7fa39de7c010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
7fa39de7c050  40 4c 01 76 61 6c 75 65  3a 31 39 32 36 36 00 00  |@L.value:19266..|
7fa39de7c060  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
7fa39de7c0a0  40 4c 01 76 61                                    |@L.va           |
7fa39de7c0a5
`,
  );
  assert.match(inspect("hexdump", images, "15853", "0x5640fd22c000+8192").stdout, /\(8 KiB not in the image: as in/);
  const short = inspect("hexdump", images, "15853", "7fa39de7c003+5").stdout.split("\n")[0];
  assert.equal(short, "7fa39de7c000           76 61 6c 75 65                           |   value        |");
  for (const range of ["zz", "10-10", "10-f", "10+", "ffffffffffffff00+1"]) {
    assert.equal(inspect("hexdump", images, "15853", range).status, 2, range);
  }
});

test("hexdump in JSON has every byte of the range, raw or packed, or says why not", async () => {
  await withTempDir("hexdump", async (dir) => {
    const packed = await packedCopy("redis", dir.join("packed"));
    const range = "5640fd22bff8-5640fd474000";
    const text = inspect("hexdump", fixtureImages("redis"), "15853", range, "--json").stdout;
    const { ranges } = JSON.parse(text) as {
      ranges: { start: string; end: string; kind: string; bytes?: string; zero?: true }[];
    };
    let at = 0x5640fd22bff8;
    let stored = 0;
    for (const { start, end, kind, bytes, zero } of ranges) {
      assert.equal(Number(start), at);
      at = Number(end);
      assert.equal(bytes !== undefined || zero === true, kind === "stored");
      if (bytes !== undefined) assert.equal(bytes.length, (at - Number(start)) * 2);
      if (kind === "stored") stored += at - Number(start);
    }
    assert.equal(at, 0x5640fd474000);
    const mapped = critRuns("redis", "pagemap-15853.img").runs.filter(
      ({ vaddr }) => Number(vaddr) >= 0x5640fd22c000 && Number(vaddr) < 0x5640fd474000,
    );
    assert.equal(stored, mapped.reduce((sum, run) => sum + run.nr_pages, 0) * 4096);
    const bytesOf = (from: string) => inspect("hexdump", from, "15853", range).stdout;
    assert.equal(bytesOf(packed), bytesOf(fixtureImages("redis")));
  });
});

test("a hexdump of a range far larger than memory takes no memory", async () => {
  await withTempDir("hexdump", async (dir) => {
    const pageCount = (20 * 2 ** 30) / 4096;
    const images = dir.join("images");
    makeBigImage(images, pageCount, [{ page: 0, pageCount }]);
    await writeMostlyZero(join(images, "pagez-1.img"), pageCount);
    const { stdout } = inspect(
      "hexdump",
      images,
      String(bigImagePid),
      `${base.toString(16)}+${pageCount * 4096 + 4096}`,
    );
    const lines = stdout.split("\n");
    assert.ok(lines.length < 16, stdout);
    assert.equal(lines.filter((line) => line === "*").length, 3);
    assert.match(stdout, /\(4 KiB not mapped\)/);
  });
});
