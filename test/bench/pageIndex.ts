// How long a pagemap of a million runs takes to open, what it keeps in memory, and what a look-up costs.
// `npm run bench:page-index`. Numbers for docs/images.md come from here.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { ImageDirectory } from "../../src/images/directory";
import { encodeImage, writeImage } from "../../src/images/framing";
import { decodePagemap } from "../../src/images/pagemap";

const RUNS = 1_000_000;
const LOOKUPS = 1_000_000;
const ROUNDS = 5;

function pagemapBytes(): Buffer {
  const records = Array.from({ length: RUNS }, (_each, run) => ({
    message: { vaddr: BigInt(0x7f0000000000 + run * 0x3000), compat_nr_pages: 0, nr_pages: 1n, flags: 6 },
  }));
  return encodeImage("PAGEMAP", records, { head: { pages_id: 1 } });
}

function milliseconds(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

function main(): void {
  const top = mkdtempSync(join(tmpdir(), "faultline-bench-"));
  try {
    const file = join(top, "pagemap-1.img");
    writeFileSync(file, pagemapBytes());
    writeImage(top, "inventory.img", "INVENTORY", [{ img_version: 2 }]);
    writeFileSync(join(top, "pages-1.img"), "");
    truncateSync(join(top, "pages-1.img"), RUNS * 4096);
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++)
      times.push(milliseconds(() => decodePagemap(readFileSync(file), file)));
    const { starts, counts, flags, filePages } = decodePagemap(readFileSync(file), file);
    const kept = [starts, counts, flags, filePages].reduce((sum, array) => sum + array.byteLength, 0);
    using directory = ImageDirectory.open(top);
    const index = directory.pageIndex(1);
    let found = 0;
    const lookups = milliseconds(() => {
      for (let each = 0; each < LOOKUPS; each++) {
        const page = 0x7f0000000 + ((each * 7919) % RUNS) * 3;
        if (index.lookup(page).kind === "block") found += 1;
      }
    });
    if (found !== LOOKUPS) throw new Error(`${found} of ${LOOKUPS} pages found`);
    const list = times.map((time) => time.toFixed(0)).join(", ");
    process.stdout.write(`${cpus()[0]?.model ?? "unknown CPU"}, ${new Date().toISOString().slice(0, 10)}\n`);
    process.stdout.write(`read and decode ${RUNS} runs: ${list} ms (first to last)\n`);
    process.stdout.write(`kept: ${(kept / 1e6).toFixed(1)} MB, ${(kept / RUNS).toFixed(0)} bytes per run\n`);
    process.stdout.write(
      `peak while decoding: that and the file, ${(readFileSync(file).length / 1e6).toFixed(1)} MB\n`,
    );
    process.stdout.write(`look-up: ${((lookups * 1e6) / LOOKUPS).toFixed(0)} ns\n`);
  } finally {
    rmSync(top, { recursive: true });
  }
}

main();
