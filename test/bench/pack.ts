// How fast pack and unpack are, against a plain `cp` plus LZ4 on one thread over the same data in the same run, and what
// block sizes from 4 KiB to 64 KiB cost and save. `npm run bench:pack [MiB]`. Numbers for docs/packed.md come from here.
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { ImageDirectory } from "../../src/images/directory";
import { packDirectory, unpackDirectory } from "../../src/images/pack";
import { readBlock } from "../../src/images/readBlock";
import { native } from "../../src/native";
import { bigImageFirstPage, bigImagePid, makeBigImage } from "../support/bigImage";
import { repositoryRoot } from "../support/program";

const MEBIBYTES = Number(process.argv[2] ?? 512);
const PAGES = MEBIBYTES * 256;
const BLOCK = 65536;
const FAULTS = 2000;

async function seconds(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function makeImage(images: string): void {
  makeBigImage(images, PAGES, [{ page: 0, pageCount: PAGES }]);
  const sources = ["redis", "python-http"].map((name) =>
    readFileSync(join(repositoryRoot, "test", "fixtures", name, "images", "pages-1.img")),
  );
  const unit = Buffer.concat(sources);
  const fd = openSync(join(images, "pages-1.img"), "w");
  for (let done = 0; done < PAGES * 4096; done += unit.length) {
    writeSync(fd, unit, 0, Math.min(unit.length, PAGES * 4096 - done));
  }
  closeSync(fd);
}

/** LZ4 over a whole file on this thread, in blocks of 64 KiB: seconds to encode and to decode, without the reading. */
function singleThread(file: string): { encode: number; decode: number } {
  const fd = openSync(file, "r");
  const source = Buffer.alloc(BLOCK * 64);
  const out = Buffer.alloc(source.length);
  const again = Buffer.alloc(source.length);
  let [encode, decode] = [0, 0];
  for (let got = readSync(fd, source); got > 0; got = readSync(fd, source)) {
    const sizes: number[] = [];
    let start = performance.now();
    for (let at = 0; at < got; at += BLOCK) {
      sizes.push(native.encodeBlock(source, at, Math.min(BLOCK, got - at), 0, out, at));
    }
    encode += performance.now() - start;
    start = performance.now();
    for (const [index, stored] of sizes.entries()) {
      const length = Math.min(BLOCK, got - index * BLOCK);
      const codec = stored === 0 ? 0 : stored === length ? 1 : 2;
      native.decodeBlock(out, index * BLOCK, stored, codec, -1, again, index * BLOCK, length);
    }
    decode += performance.now() - start;
  }
  closeSync(fd);
  return { encode: encode / 1000, decode: decode / 1000 };
}

/** Microseconds to read and decode the block of a page, as a fault does without the kernel's part; the median. */
function faultMicroseconds(images: string): number {
  using directory = ImageDirectory.open(images);
  const index = directory.pageIndex(bigImagePid);
  const out = Buffer.alloc(BLOCK);
  const times: number[] = [];
  for (let fault = 0; fault < FAULTS; fault++) {
    const page = bigImageFirstPage + ((fault * 7919) % PAGES);
    const start = process.hrtime.bigint();
    const found = index.lookup(page);
    if (found.kind !== "block") throw new Error(`page ${page} is not there`);
    readBlock(found.block, out);
    times.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  return times.sort((a, b) => a - b)[FAULTS >> 1]!;
}

const rate = (time: number): string => `${time.toFixed(2)} s, ${((PAGES * 4096) / 1e6 / time).toFixed(0)} MB/s`;

async function main(): Promise<void> {
  const top = mkdtempSync(join(tmpdir(), "faultline-bench-"));
  const say = (line: string): boolean => process.stdout.write(`${line}\n`);
  try {
    const images = join(top, "images");
    makeImage(images);
    const raw = join(images, "pages-1.img");
    const loads = readFileSync("/proc/loadavg", "latin1").split(" ")[0];
    say(`${cpus().length} x ${cpus()[0]?.model}, load ${loads}, ${new Date().toISOString().slice(0, 10)}`);
    const copy = await seconds(() => {
      execFileSync("cp", [raw, join(top, "copy")]);
      execFileSync("sync", [join(top, "copy")]);
    });
    const { encode, decode } = singleThread(raw);
    say(`${MEBIBYTES} MiB: cp and sync ${rate(copy)}; LZ4 on one thread ${rate(encode)}, decoding ${rate(decode)}`);
    rmSync(join(top, "copy"));
    for (const pagesPerBlock of [1, 2, 4, 8, 16]) {
      let ratio = 0;
      const packing = await seconds(async () => {
        const { packedBytes, rawBytes } = await packDirectory(images, { pagesPerBlock });
        ratio = packedBytes / rawBytes;
      });
      const fault = faultMicroseconds(images);
      const unpacking = await seconds(() => unpackDirectory(images));
      const name = `${pagesPerBlock * 4}K`.padStart(3);
      say(
        `blocks of ${name}: ${(ratio * 100).toFixed(1)} %, pack ${rate(packing)} (${((copy + encode) / packing).toFixed(2)} of cp + LZ4), ` +
          `unpack ${rate(unpacking)} (${((copy + decode) / unpacking).toFixed(2)}), block read ${fault.toFixed(0)} us`,
      );
    }
  } finally {
    rmSync(top, { recursive: true });
  }
}

void main();
