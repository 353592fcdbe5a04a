// Questions about images far larger than memory: a sparse image of 100 GiB, and an address space of 100 000 mappings.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeImageOf, encodeImage, writeImage } from "../../src/images/framing";
import type { VmaEntry } from "../../src/images/messages";
import { repositoryRoot } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { fixtureImages } from "./fixtures";

const pid = 15853;
const memoryLimitMiB = 256;

/** Runs `faultline inspect ...` and gives its output and the most memory it held. */
function inspect(dir: TempDir, args: readonly string[]): { output: string; residentMiB: number } {
  const probe = dir.join("probe.js");
  writeFileSync(
    probe,
    'process.on("exit", () => require("fs").writeSync(2, "rss " + process.resourceUsage().maxRSS + "\\n"));',
  );
  const main = join(repositoryRoot, "dist", "cmd", "faultline.js");
  const child = spawnSync(process.execPath, ["-r", probe, main, "inspect", ...args], {
    maxBuffer: 1 << 28,
    encoding: "utf8",
  });
  assert.equal(child.status, 0, child.stderr);
  return { output: child.stdout, residentMiB: Number(/rss (\d+)/.exec(child.stderr)![1]) / 1024 };
}

/** The redis fixture with other mappings and runs; its page file becomes a hole of the size that the runs need. */
function synthetic(
  dir: TempDir,
  vmas: readonly { firstPage: number; pageCount: number }[],
  stored: (index: number) => number,
): string {
  const images = dir.join("images");
  cpSync(fixtureImages("redis"), images, { recursive: true });
  const file = join(images, `mm-${pid}.img`);
  const message = decodeImageOf("MM", readFileSync(file), file).records[0]!.message;
  const anonymous = message.vmas.find((vma) => vma.flags === 0x22)!;
  const entries: VmaEntry[] = vmas.map(({ firstPage, pageCount }) => ({
    ...anonymous,
    start: BigInt(firstPage) * 4096n,
    end: BigInt(firstPage + pageCount) * 4096n,
  }));
  rmSync(file);
  writeFileSync(file, encodeImage("MM", [{ message: { ...message, vmas: entries } }]));
  const runs = vmas.map(({ firstPage }, index) => ({
    vaddr: BigInt(firstPage) * 4096n,
    compat_nr_pages: 0,
    nr_pages: BigInt(stored(index)),
    flags: 6,
  }));
  rmSync(join(images, `pagemap-${pid}.img`));
  writeImage(images, `pagemap-${pid}.img`, "PAGEMAP", runs, { head: { pages_id: 1 } });
  rmSync(join(images, "pages-1.img"));
  writeFileSync(join(images, "pages-1.img"), "");
  truncateSync(join(images, "pages-1.img"), vmas.reduce((sum, _, index) => sum + stored(index), 0) * 4096);
  return images;
}

test("100 GiB of pages: every question answers within 256 MiB, and says that it sampled", async () => {
  await withTempDir("scale", (dir) => {
    const pages = (100 * 2 ** 30) / 4096;
    const images = synthetic(dir, [{ firstPage: 0x100000, pageCount: pages + 1000 }], () => pages);
    const report = dir.join("report.html");
    const answers = [
      inspect(dir, ["ps", images]),
      inspect(dir, ["maps", images]),
      inspect(dir, ["diff", images, images]),
      inspect(dir, ["report", images, "-o", report]),
    ] as const;
    for (const { residentMiB } of answers) assert.ok(residentMiB < memoryLimitMiB, `${residentMiB} MiB`);
    assert.match(answers[0].output, /15853 +alive +100 GiB +100 GiB +100 GiB +100 GiB/);
    assert.match(answers[1].output, /100 GiB +100 GiB +100 GiB +~100 GiB +· +~0 +~0% +zero/);
    assert.match(answers[2].output, /no difference/);
    assert.match(readFileSync(report, "utf8"), /~100%<\/b><span>all zero, 100 GiB/);
  });
});

test("a core of 2 GiB of zero pages is all holes, and is written within 256 MiB", async () => {
  await withTempDir("scale", (dir) => {
    const pages = (2 * 2 ** 30) / 4096;
    const images = synthetic(dir, [{ firstPage: 0x100000, pageCount: pages }], () => pages);
    const core = dir.join("core");
    const { residentMiB } = inspect(dir, ["core", images, String(pid), "-o", core]);
    assert.ok(residentMiB < memoryLimitMiB, `${residentMiB} MiB`);
    const { size, blocks } = statSync(core);
    assert.ok(size > 2 * 2 ** 30);
    assert.ok(blocks * 512 < 1 << 20, `${blocks * 512} bytes on disk`);
  });
});

test("100 000 mappings: maps lists them all, and the report draws the largest", async () => {
  await withTempDir("scale", (dir) => {
    const vmas = Array.from({ length: 100_000 }, (_, index) => ({
      firstPage: 0x100000 + index * 4,
      pageCount: 1 + (index % 3),
    }));
    const images = synthetic(dir, vmas, () => 1);
    assert.equal(inspect(dir, ["maps", images]).output.trimEnd().split("\n").length, 100_003);
    const report = dir.join("report.html");
    inspect(dir, ["report", images, "-o", report]);
    const page = readFileSync(report, "utf8");
    assert.ok(page.length < 32 << 20, `${page.length} bytes`);
    assert.equal(page.match(/<svg class="pages"/g)!.length, 1500);
    assert.match(page, /98500 smaller mappings are not drawn/);
    assert.match(page, /10000 of 100000/);
  });
});
