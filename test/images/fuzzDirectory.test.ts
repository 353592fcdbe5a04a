// A whole image directory with one file damaged at a time, asked everything that can be asked: answers or typed errors
// that name a file. Pages of a packed file, which has checksums, are the right ones or none.
// FUZZ_SEED and FUZZ_CASES choose others.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { ImageDirectory } from "../../src/images/directory";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import type { PageIndex } from "../../src/images/pageIndex";
import { PageFlag } from "../../src/images/pagemap";
import { verifyDirectory } from "../../src/images/verify";
import { mutate, Random } from "./mutation";

const fixture = resolve(__dirname, "..", "..", "..", "test", "fixtures", "patchwork", "images");
const cases = Number(process.env.FUZZ_CASES ?? 800);
const firstSeed = Number(process.env.FUZZ_SEED ?? 1);
const CHUNK_PAGES = 64;

const top = mkdtempSync(join(tmpdir(), "faultline-fuzz-"));
const path = join(top, "images");
const whole = new Map<string, Buffer>();
/** The right bytes of each pagemap's runs. */
const right = new Map<string, Buffer>();

before(async () => {
  cpSync(fixture, path, { recursive: true });
  using directory = ImageDirectory.open(path);
  for (const name of directory.names().filter((each) => each.startsWith("pagemap-"))) {
    const index = indexOf(directory, name);
    right.set(name, readAll(index));
    const raw = readFileSync(join(path, `pages-${index.pagesId}.img`));
    const writer = await PackedPagesWriter.create(join(path, `pagez-${index.pagesId}.img`));
    let page = 0;
    for (const run of index.runs()) {
      if ((run.flags & PageFlag.Present) === 0) continue;
      await writer.addRun(raw.subarray(page * 4096), run.pageCount);
      page += run.pageCount;
    }
    await writer.finish();
    unlinkSync(join(path, `pages-${index.pagesId}.img`));
  }
  for (const name of readdirSync(path)) whole.set(name, readFileSync(join(path, name)));
});

after(() => rmSync(top, { recursive: true }));

function indexOf(directory: ImageDirectory, name: string): PageIndex {
  const id = Number(/(\d+)\.img$/.exec(name)![1]);
  return name.startsWith("pagemap-shmem-") ? directory.shmemPageIndex(id) : directory.pageIndex(id);
}

/** All pages of all runs, one behind the other. */
function readAll(index: PageIndex): Buffer {
  const parts: Buffer[] = [];
  for (const { firstPage, pageCount } of index.runs()) {
    for (let done = 0; done < pageCount; done += CHUNK_PAGES) {
      const count = Math.min(CHUNK_PAGES, pageCount - done);
      const part = Buffer.allocUnsafe(count * 4096);
      index.readPages(firstPage + done, count, part);
      parts.push(part);
    }
  }
  return Buffer.concat(parts);
}

/** Runs `ask`; says whether it answered. */
function answers(ask: () => void): boolean {
  try {
    ask();
    return true;
  } catch (error) {
    assert.ok(error instanceof FaultlineError, (error as Error).stack);
    assert.notEqual(error.details.file, undefined, error.line());
    return false;
  }
}

function askEverything(damaged: string): boolean {
  let all = true;
  const ask = (question: () => void) => {
    if (!answers(question)) all = false;
  };
  ask(() => {
    using directory = ImageDirectory.open(path);
    ask(() => void directory.roots);
    ask(() => void directory.files.entries.length);
    ask(() => void directory.memoryFiles);
    ask(() => void [directory.core(15813), directory.descriptors(15813)]);
    for (const pid of [15808, 15812]) {
      for (const question of ["core", "ids", "mm", "fs", "descriptors"] as const)
        ask(() => void directory[question](pid));
    }
    for (const [name, bytes] of right) {
      ask(() => {
        const pages = readAll(indexOf(directory, name));
        if (damaged.startsWith("pagez-")) assert.ok(pages.equals(bytes), `${name} has wrong pages`);
      });
    }
  });
  ask(() => void verifyDirectory(path));
  return all;
}

test(`${cases} directories with a damaged file answer rightly or with typed errors`, () => {
  const names = [...whole.keys()].filter((name) => !name.startsWith("stats-"));
  let answered = 0;
  assert.ok(askEverything("pagez-"), "the undamaged directory");
  for (let index = 0; index < cases; index++) {
    const seed = firstSeed + index;
    const random = new Random(seed);
    const name = names[random.below(names.length)]!;
    const donor = whole.get(names[random.below(names.length)]!)!;
    writeFileSync(join(path, name), mutate(whole.get(name)!, random, donor));
    try {
      if (askEverything(name)) answered += 1;
    } catch (error) {
      const again = `FUZZ_SEED=${seed} FUZZ_CASES=1 node --test dist/test/images/fuzzDirectory.test.js`;
      throw new Error(`damaged ${name}; again with: ${again}`, { cause: error });
    }
    writeFileSync(join(path, name), whole.get(name)!);
  }
  if (cases >= 100) assert.ok(answered > 0 && answered < cases);
});
