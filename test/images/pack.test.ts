// pack and unpack: every byte comes back, whatever the options and the directory; whatever happens on the way, nothing is lost
// and the page index reads the same bytes at every moment.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { ImageDirectory } from "../../src/images/directory";
import { DirectoryChange, TEMPORARY_SUFFIX } from "../../src/images/directoryChange";
import { imageName } from "../../src/images/formats";
import { writeImage } from "../../src/images/framing";
import { type PackOptions, packDirectory, unpackDirectory } from "../../src/images/pack";
import { verifyDirectory } from "../../src/images/verify";
import { encodeWorkingSet, recordWorkingSet, workingSetName } from "../../src/images/workingSet";
import { bigImageFirstPage, bigImagePid, makeBigImage } from "../support/bigImage";
import { repositoryRoot } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const fixtures = ["patchwork", "python-http", "redis"];
const command = join(repositoryRoot, "bin", "faultline");

function fixture(name: string): string {
  return join(repositoryRoot, "test", "fixtures", name, "images");
}

/** Every entry of a directory with its bytes, links with where they lead. */
function contents(path: string): Map<string, string> {
  const hash = (bytes: Buffer) => require("node:crypto").createHash("sha1").update(bytes).digest("hex") as string;
  return new Map(
    readdirSync(path)
      .sort()
      .map((name) => {
        const file = join(path, name);
        const stat = lstatSync(file);
        if (stat.isSymbolicLink()) return [name, `-> ${readlinkSync(file)}`];
        return [name, stat.isDirectory() ? "directory" : `${stat.mode} ${hash(readFileSync(file))}`];
      }),
  );
}

/** All bytes of all address spaces and shared objects, as the page index reads them. */
function memory(path: string): Map<string, string> {
  const { createHash } = require("node:crypto") as typeof import("node:crypto");
  using directory = ImageDirectory.open(path);
  const all = new Map<string, string>();
  for (const name of directory.names()) {
    const id = /^pagemap-(?:shmem-)?(\d+)\.img$/.exec(name)?.[1];
    if (id === undefined) continue;
    const index = name.includes("shmem") ? directory.shmemPageIndex(Number(id)) : directory.pageIndex(Number(id));
    const hash = createHash("sha1");
    for (const { firstPage, pageCount } of index.runs()) {
      for (let page = 0; page < pageCount; page += 1024) {
        const count = Math.min(1024, pageCount - page);
        const bytes = Buffer.alloc(count * 4096);
        index.readPages(firstPage + page, count, bytes);
        hash.update(`${firstPage + page}`).update(bytes);
      }
    }
    all.set(name, hash.digest("hex"));
  }
  return all;
}

const everyOption: readonly (readonly [string, PackOptions])[] = [
  ["LZ4", {}],
  ["LZ4-HC 1", { level: 1 }],
  ["LZ4-HC 9", { level: 9 }],
  ["4K blocks", { pagesPerBlock: 1 }],
  ["8K blocks", { pagesPerBlock: 2 }],
  ["16K blocks", { pagesPerBlock: 4 }],
  ["32K blocks", { pagesPerBlock: 8 }],
  ["LZ4-HC 4 in 32K blocks", { level: 4, pagesPerBlock: 8 }],
  ["for CRIU", { forCriu: true }],
  ["for CRIU, 4K blocks, LZ4-HC 3", { forCriu: true, pagesPerBlock: 1, level: 3 }],
];

for (const name of fixtures) {
  test(`${name}: unpack(pack) gives every byte back, with every option, in place and into copies`, async () => {
    await withTempDir("pack", async (dir) => {
      const original = contents(fixture(name));
      const bytes = memory(fixture(name));
      for (const [what, options] of everyOption) {
        const images = dir.join("images");
        cpSync(fixture(name), images, { recursive: true });
        const summary = await packDirectory(images, options);
        assert.ok(summary.files > 0 && summary.packedBytes < summary.rawBytes, what);
        assert.deepEqual(memory(images), bytes, what);
        assert.deepEqual(verifyDirectory(images).findings, [], what);
        const copy = dir.join("copy");
        await unpackDirectory(images, { output: copy });
        assert.deepEqual(contents(copy), original, `${what}, unpacked copy`);
        await unpackDirectory(images);
        assert.deepEqual(contents(images), original, what);
        rmSync(copy, { recursive: true });
        await packDirectory(images, { ...options, output: copy });
        assert.deepEqual(contents(images), original, `${what}: the source of a copy`);
        assert.deepEqual(memory(copy), bytes, `${what}, packed copy`);
        await unpackDirectory(copy);
        assert.deepEqual(contents(copy), original, `${what}, packed copy unpacked`);
        rmSync(copy, { recursive: true });
        rmSync(images, { recursive: true });
      }
    });
  });
}

for (const name of fixtures) {
  test(`${name}: packed by its working sets, every byte comes back, and what was touched is one stretch of nothing else`, async () => {
    await withTempDir("pack", async (dir) => {
      const images = dir.join("images");
      cpSync(fixture(name), images, { recursive: true });
      const wanted = new Map<number, number[]>();
      {
        using directory = ImageDirectory.open(images);
        for (const { pid, dead } of directory.tasks) {
          if (dead) continue;
          const pages = [...directory.pageIndex(pid).runs()].map((run) => run.firstPage).filter((_, i) => i % 3 === 1);
          // Also what no image has, in an order that is not that of the addresses.
          recordWorkingSet(images, pid, [12345, ...pages.reverse(), 2 ** 51]);
          wanted.set(pid, pages);
        }
      }
      const original = contents(images);
      const bytes = memory(images);
      for (const options of [{}, { forCriu: true }, { level: 3, pagesPerBlock: 2 }]) {
        await packDirectory(images, { ...options, byWorkingSet: true });
        assert.deepEqual(memory(images), bytes);
        assert.deepEqual(verifyDirectory(images).findings, []);
        checkFirst(images, wanted);
        const copy = dir.join("copy");
        await unpackDirectory(images, { output: copy });
        assert.deepEqual(contents(copy), original);
        rmSync(copy, { recursive: true });
        await unpackDirectory(images);
        assert.deepEqual(contents(images), original);
      }
    });
  });
}

test("a working set that is damaged, of another program or of no memory at all changes only the order of the packed blocks", async () => {
  await withTempDir("pack", async (dir) => {
    const images = dir.join("images");
    cpSync(fixture("redis"), images, { recursive: true });
    const original = contents(images);
    const bytes = memory(images);
    const pid = [...bytes.keys()]
      .map((name) => /^pagemap-(\d+)\.img$/.exec(name)?.[1])
      .find((each) => each !== undefined);
    const file = join(images, workingSetName(Number(pid)));
    const foreign = [
      { firstPage: 0, pageCount: 2 ** 20, runs: 1, bucket: 0 },
      { firstPage: 2 ** 51, pageCount: 2 ** 31, runs: 1, bucket: 0 },
    ];
    const recordings: readonly [Uint8Array, RegExp | undefined][] = [
      [Buffer.from("nothing of the kind"), /^the working set is not used: [^\n]*workingset-\d+\.img[^\n]*$/],
      [encodeWorkingSet({ runCount: 1, ranges: foreign }), undefined],
    ];
    for (const [recording, warning] of recordings) {
      writeFileSync(file, recording);
      const warnings: string[] = [];
      await packDirectory(images, { byWorkingSet: true, onWarning: (line) => warnings.push(line) });
      assert.deepEqual(memory(images), bytes);
      assert.equal(warnings.length, warning === undefined ? 0 : 1);
      if (warning !== undefined) assert.match(warnings[0]!, warning);
      await unpackDirectory(images);
      rmSync(file);
      assert.deepEqual(contents(images), original);
    }
    writeFileSync(file, "nothing of the kind");
    const { status, stderr } = spawnSync(command, ["pack", "--by-working-set", images], { encoding: "utf8" });
    assert.equal(status, 0);
    assert.match(stderr, /^faultline: warning: the working set is not used: [^\n]+\n$/);
  });
});

/** The blocks of the wanted pages are exactly the beginning of each file. */
function checkFirst(images: string, wanted: ReadonlyMap<number, readonly number[]>): void {
  using directory = ImageDirectory.open(images);
  for (const [pid, pages] of wanted) {
    const blocks = new Map<number, number>();
    const recorded = new Set(pages);
    for (const page of pages) {
      const found = directory.pageIndex(pid).lookup(page);
      if (found.kind === "block" && found.block.checksum >= 0 && found.block.storedBytes > 0) {
        blocks.set(found.block.offset, found.block.storedBytes);
        const { firstPage, pageCount } = found.piece;
        for (let other = firstPage; other < firstPage + pageCount; other++) assert.ok(recorded.has(other));
      }
    }
    let end = 0;
    for (const [offset, bytes] of [...blocks].sort(([a], [b]) => a - b)) {
      assert.equal(offset, end);
      end += bytes;
    }
  }
}

test("odd tails, holes, pages that no pagemap mentions, and pagemaps that share a pages file come back", async () => {
  await withTempDir("pack", async (dir) => {
    const images = dir.join("images");
    makeBigImage(images, 200, [
      { page: 0, pageCount: 7 },
      { page: 20, pageCount: 100, flags: 4 },
      { page: 130, pageCount: 3 },
    ]);
    const runs = [{ vaddr: 0n, compat_nr_pages: 0, nr_pages: 50n, flags: 4 }];
    writeImage(images, "pagemap-shmem-77.img", "PAGEMAP", runs, { head: { pages_id: 1 } });
    const source = readFileSync(join(fixture("redis"), "pages-1.img"));
    const pages = Buffer.alloc(131 * 4096 + 1234);
    source.copy(pages, 0, 0, 40 * 4096);
    source.copy(pages, 100 * 4096, 90 * 4096);
    writeFileSync(join(images, "pages-1.img"), pages);
    const original = contents(images);
    const bytes = memory(images);
    for (const pagesPerBlock of [1, 2, 16]) {
      await packDirectory(images, { pagesPerBlock });
      assert.deepEqual(memory(images), bytes);
      await unpackDirectory(images);
      assert.deepEqual(contents(images), original);
    }
    // A hole comes back as zeros, and takes no room.
    truncateSync(join(images, "pages-1.img"), 0);
    truncateSync(join(images, "pages-1.img"), 64 << 20);
    const sparse = contents(images);
    await packDirectory(images);
    assert.ok(statSync(join(images, "pagez-1.img")).size < 100_000);
    await unpackDirectory(images);
    assert.deepEqual(contents(images), sparse);
    assert.ok(statSync(join(images, "pages-1.img")).blocks * 512 < 1 << 20);
    await assert.rejects(packDirectory(images, { forCriu: true }), { code: "UNSUPPORTED" });
    assert.deepEqual(contents(images), sparse);
  });
});

test("an incremental image is packed beside its parent, in place or elsewhere, and reads through the link", async () => {
  await withTempDir("pack", async (dir) => {
    const parent = dir.join("parent-images");
    cpSync(fixture("redis"), parent, { recursive: true });
    const child = dir.join("child-images");
    makeBigImage(child, 64, [{ page: 0, pageCount: 64 }]);
    writeFileSync(join(child, "pages-1.img"), readFileSync(join(parent, "pages-1.img")).subarray(0, 64 * 4096));
    const before = join(dir.path, "before");
    cpSync(child, before, { recursive: true });
    const vaddr = (page: number) => BigInt(bigImageFirstPage + page) * 4096n;
    rmSync(join(child, `pagemap-${bigImagePid}.img`));
    writeImage(
      child,
      `pagemap-${bigImagePid}.img`,
      "PAGEMAP",
      [
        { vaddr: vaddr(0), compat_nr_pages: 0, nr_pages: 32n, flags: 1 },
        { vaddr: vaddr(32), compat_nr_pages: 0, nr_pages: 32n, flags: 6 },
      ],
      { head: { pages_id: 1 } },
    );
    truncateSync(join(child, "pages-1.img"), 32 * 4096);
    symlinkSync("../before", join(child, "parent"));
    const [original, bytes] = [contents(child), memory(child)];
    await packDirectory(child);
    await packDirectory(before);
    assert.deepEqual(memory(child), bytes);
    mkdirSync(dir.join("elsewhere"));
    await unpackDirectory(child, { output: dir.join("elsewhere", "child") });
    assert.deepEqual(memory(dir.join("elsewhere", "child")), bytes);
    await unpackDirectory(child);
    assert.deepEqual(contents(child), original);
    await assert.rejects(packDirectory(child, { forCriu: true }), { code: "UNSUPPORTED" });
  });
});

/** Runs the command and kills it before its nth change of files; false where it came to its end. */
function crashed(args: readonly string[], at: number): boolean {
  const hook = join(repositoryRoot, "dist", "test", "images", "crashAt.js");
  const main = join(repositoryRoot, "dist", "cmd", "faultline.js");
  const { status, signal, stderr } = spawnSync(process.execPath, ["-r", hook, main, ...args], {
    encoding: "utf8",
    env: { ...process.env, FAULTLINE_CRASH_AT: String(at) },
  });
  if (status === 0) return false;
  assert.equal(signal, "SIGKILL", stderr);
  return true;
}

/** Refusals of a second run: it is packed for CRIU (a later step did it), or nothing is left to do. */
function acceptable(error: unknown): void {
  assert.ok(error instanceof FaultlineError && (error.code === "BUSY" || error.code === "NOT_FOUND"), String(error));
}

for (const [what, forCriu] of [
  ["plain", false],
  ["for CRIU", true],
] as const) {
  test(`killed at every step of pack and of unpack, ${what}: every byte is still there, and a second run ends well`, async () => {
    await withTempDir("pack", async (dir) => {
      const source = dir.join("images-source");
      cpSync(fixture("patchwork"), source, { recursive: true });
      const [original, bytes] = [contents(source), memory(source)];
      const packed = dir.join("images-packed");
      await packDirectory(source, { output: packed, forCriu });
      const ways = [
        { from: source, args: ["pack", ...(forCriu ? ["--for-criu"] : [])] },
        { from: packed, args: ["unpack"] },
      ];
      for (const { from, args } of ways) {
        let steps = 0;
        for (let more = true; more; ) {
          const images = dir.join("images");
          cpSync(from, images, { recursive: true, verbatimSymlinks: true });
          steps += 1;
          more = crashed([...args, images], steps);
          const where = `${args.join(" ")}, killed before step ${steps}`;
          assert.deepEqual(memory(images), bytes, where);
          const again = args[0] === "pack" ? packDirectory(images, { forCriu }) : unpackDirectory(images);
          await again.catch(acceptable);
          assert.deepEqual(memory(images), bytes, `${where}, run again`);
          if (readdirSync(images).some((name) => name.startsWith("pagez-"))) await unpackDirectory(images);
          assert.deepEqual(contents(images), original, where);
          rmSync(images, { recursive: true });
        }
        assert.ok(steps > 10, `${args.join(" ")}: ${steps} steps`);
      }
    });
  });
}

test("a full disk is an error that says so, and the directory is as it was", async () => {
  await withTempDir("pack", async (dir) => {
    const mount = dir.join("small");
    mkdirSync(mount);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=8600k", "tmpfs", mount]);
    try {
      const images = join(mount, "images");
      cpSync(fixture("redis"), images, { recursive: true });
      const original = contents(images);
      writeFileSync(join(mount, "ballast"), Buffer.alloc(300 << 10));
      await assert.rejects(packDirectory(images), fullDisk);
      await assert.rejects(packDirectory(images, { forCriu: true }), fullDisk);
      assert.deepEqual(contents(images), original);
      rmSync(images, { recursive: true });
      await packDirectory(fixture("redis"), { output: dir.join("packed") });
      cpSync(dir.join("packed"), images, { recursive: true });
      writeFileSync(join(mount, "ballast"), Buffer.alloc(4 << 20));
      const before = contents(images);
      await assert.rejects(unpackDirectory(images), fullDisk);
      assert.deepEqual(contents(images), before);
      await assert.rejects(unpackDirectory(dir.join("packed"), { output: join(mount, "copy") }), fullDisk);
      assert.deepEqual(readdirSync(mount).sort(), ["ballast", "images"]);
    } finally {
      execFileSync("umount", [mount]);
    }
  });
});

function fullDisk(error: unknown): boolean {
  assert.ok(error instanceof FaultlineError, String(error));
  assert.match(error.line(), /make room on that file system/);
  return true;
}

test("two at once: the second is told that the first is at work", async () => {
  await withTempDir("pack", async (dir) => {
    const images = dir.join("images");
    cpSync(fixture("redis"), images, { recursive: true });
    const original = contents(images);
    {
      using _first = DirectoryChange.begin(images);
      await assert.rejects(packDirectory(images), { code: "BUSY" });
      await assert.rejects(unpackDirectory(images), { code: "BUSY" });
      assert.equal(spawnSync(command, ["pack", images]).status, 1);
    }
    assert.deepEqual(contents(images), original);
    await packDirectory(images);
  });
});

test("Ctrl-C stops with one line and leaves the directory as it was", async () => {
  await withTempDir("pack", async (dir) => {
    const images = dir.join("images");
    makeBigImage(images, 40_000, [{ page: 0, pageCount: 40_000 }]);
    const pages = readFileSync(join(fixture("python-http"), "pages-1.img"));
    writeFileSync(join(images, "pages-1.img"), Buffer.concat(Array<Buffer>(13).fill(pages)).subarray(0, 40_000 * 4096));
    const original = contents(images);
    const child = spawn(command, ["pack", "--level", "12", images], { stdio: ["ignore", "ignore", "pipe"] });
    let errors = "";
    child.stderr.on("data", (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const ended = new Promise((done) => child.once("close", done));
    await waitFor("pack to begin", () => existsSync(join(images, `pagez-1.img${TEMPORARY_SUFFIX}`)));
    child.kill("SIGINT");
    assert.equal(await ended, 1, errors);
    assert.equal(errors, "faultline: stopped; the directory is as it was\n");
    assert.deepEqual(contents(images), original);
  });
});

test("a damaged packed file fails unpack by name and offset, and nothing is lost", async () => {
  await withTempDir("pack", async (dir) => {
    const images = dir.join("images");
    await packDirectory(fixture("patchwork"), { output: images });
    const file = join(images, "pagez-3.img");
    const good = readFileSync(file);
    for (const at of [5, good.length >> 1, good.length - 40, good.length - 1]) {
      const bad = Buffer.from(good);
      bad[at] = bad[at]! ^ 0x55;
      writeFileSync(file, bad);
      const before = contents(images);
      await assert.rejects(unpackDirectory(images), (error) => {
        assert.ok(error instanceof FaultlineError);
        assert.equal(error.details.file, file);
        assert.equal(typeof error.details.offset, "number");
        return true;
      });
      assert.deepEqual(contents(images), before);
    }
    assert.ok(verifyDirectory(images).findings.length > 0);
  });
});

test("every name that pack makes is one that Faultline knows, or no image at all", async () => {
  await withTempDir("pack", async (dir) => {
    await packDirectory(fixture("redis"), { output: dir.join("images"), forCriu: true });
    const known = new Set(readdirSync(fixture("redis")));
    const made = readdirSync(dir.join("images")).filter((name) => !known.has(name));
    assert.deepEqual(made.filter((name) => imageName(name) !== undefined).sort(), [
      "pages-536870913.img",
      "pagez-1.img",
    ]);
    assert.deepEqual(made.filter((name) => imageName(name) === undefined).sort(), [
      "packed-pagemap-15853.img",
      "packed-parent",
      "parent",
    ]);
  });
});

test("verify finds damage in every part of a directory packed for CRIU", async () => {
  await withTempDir("pack", async (dir) => {
    const images = dir.join("images");
    await packDirectory(fixture("redis"), { output: images, forCriu: true });
    const flip = (name: string, at: number) => {
      const bytes = readFileSync(join(images, name));
      bytes[at] = bytes[at]! ^ 1;
      writeFileSync(join(images, name), bytes);
    };
    const harms: readonly (readonly [string, RegExp, (name: string) => void])[] = [
      ["pages-536870913.img", /eager page differs/, (name) => flip(name, 5000)],
      ["pages-536870913.img", /of eager pages/, (name) => truncateSync(join(images, name), 4096)],
      ["pagemap-15853.img", /what CRIU must see/, (name) => flip(name, 40)],
      ["packed-pagemap-15853.img", /./, (name) => truncateSync(join(images, name), 100)],
      ["packed-parent/pagemap-15853.img", /not the empty pagemap/, (name) => flip(name, 12)],
      ["pagez-1.img", /checksum/, (name) => flip(name, 5000)],
    ];
    assert.deepEqual(verifyDirectory(images).findings, []);
    for (const [name, message, harm] of harms) {
      const before = readFileSync(join(images, name));
      harm(name);
      const { findings } = verifyDirectory(images);
      assert.ok(
        findings.some((finding) => finding.file === name.split("/").pop() || finding.file === name),
        `${name}: ${JSON.stringify(findings)}`,
      );
      assert.ok(
        findings.some((finding) => message.test(finding.message)),
        JSON.stringify(findings),
      );
      writeFileSync(join(images, name), before);
    }
    rmSync(join(images, "parent"));
    assert.match(verifyDirectory(images).findings[0]!.message, /a plain criu restore would give zeros/);
  });
});
