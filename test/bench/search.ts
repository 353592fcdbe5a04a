// How fast `inspect search` goes through a packed image blown up to 1 GiB from the fixtures' pages, and when the first match
// is there. `npm run bench:search`. Numbers for docs/inspect.md come from here.
import { closeSync, mkdtempSync, openSync, rmSync, statSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import { AddressSpace } from "../../src/inspect/addressSpace";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { parseQuery, type Query, SearchCounts, searchMemory } from "../../src/inspect/search";
import { type BigImageRun, bigImagePid, makeBigImage } from "../support/bigImage";
import { repositoryRoot } from "../support/program";

const PAGES = 262_144;
const ROUNDS = 5;
const sources = ["redis", "python-http"].map((name) =>
  join(repositoryRoot, "test", "fixtures", name, "images", "pages-1.img"),
);

async function makeImage(images: string): Promise<void> {
  const runs: BigImageRun[] = [];
  const sizes = sources.map((file) => statSync(file).size / 4096);
  for (let page = 0; page < PAGES; page += runs.at(-1)!.pageCount) {
    runs.push({ page, pageCount: Math.min(sizes[runs.length % 2]!, PAGES - page) });
  }
  makeBigImage(images, PAGES, runs);
  const writer = await PackedPagesWriter.create(join(images, "pagez-1.img"));
  const files = sources.map((file) => openSync(file, "r"));
  for (const [index, { pageCount }] of runs.entries()) await writer.addFileRun(files[index % 2]!, 0, pageCount);
  await writer.finish();
  for (const fd of files) closeSync(fd);
}

interface Run {
  readonly milliseconds: number;
  /** CPU time of all threads: what the wall clock would be on an idle machine is half of this with two cores. */
  readonly cpuMilliseconds: number;
  readonly firstMilliseconds: number;
  readonly matches: number;
}

async function run(images: string, query: Query): Promise<Run> {
  using checkpoint = Checkpoint.open(images);
  const cpu = process.cpuUsage();
  const start = performance.now();
  let matches = 0;
  let first = Number.NaN;
  const space = new AddressSpace(checkpoint, bigImagePid);
  for await (const _match of searchMemory(space, parseQuery(query)(), new SearchCounts())) {
    if (matches++ === 0) first = performance.now() - start;
  }
  const { user, system } = process.cpuUsage(cpu);
  const cpuMilliseconds = (user + system) / 1000;
  return { milliseconds: performance.now() - start, cpuMilliseconds, firstMilliseconds: first, matches };
}

async function measure(images: string, what: string, query: Query): Promise<void> {
  const runs: Run[] = [];
  for (let round = 0; round < ROUNDS; round++) runs.push(await run(images, query));
  const { milliseconds, cpuMilliseconds, matches } = runs.sort((a, b) => a.milliseconds - b.milliseconds)[ROUNDS >> 1]!;
  const rate = ((PAGES * 4096) / 1e6 / milliseconds).toFixed(2);
  const first = runs[0]!.firstMilliseconds.toFixed(1);
  process.stdout.write(
    `${what}: ${rate} GB/s (${milliseconds.toFixed(0)} ms, ${cpuMilliseconds.toFixed(0)} ms of CPU time), ${matches} matches`,
  );
  process.stdout.write(matches > 0 ? `, the first after ${first} ms\n` : "\n");
}

async function main(): Promise<void> {
  const top = mkdtempSync(join(tmpdir(), "faultline-bench-"));
  try {
    const images = join(top, "images");
    await makeImage(images);
    const packed = statSync(join(images, "pagez-1.img")).size;
    process.stdout.write(`${cpus().length} x ${cpus()[0]?.model}, ${new Date().toISOString().slice(0, 10)}\n`);
    process.stdout.write(`1 GiB of pages, ${(packed / 2 ** 20).toFixed(0)} MiB packed; the median of ${ROUNDS}\n`);
    await measure(images, "text that is not there", { text: "no such text anywhere" });
    await measure(images, "text", { text: "redis_version" });
    await measure(images, "bytes", { hex: "7f 45 4c 46" });
    await measure(images, "regular expression", { regex: "redis_[a-z]+:[0-9.]+" });
    await measure(images, "regular expression without a fixed beginning", { regex: "[a-z]+_version:[0-9.]+" });
  } finally {
    rmSync(top, { recursive: true });
  }
}

void main();
