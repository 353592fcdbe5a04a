// The image directory on CRIU's own dumps: the tree, its files, and every stored page at its address.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { FaultlineError } from "../../src/errors";
import { ImageDirectory } from "../../src/images/directory";
import { writeImage } from "../../src/images/framing";
import { FdTypes } from "../../src/images/messages";
import { PageFlag } from "../../src/images/pagemap";

const fixtures = resolve(__dirname, "..", "..", "..", "test", "fixtures");
const open = (name: string) => ImageDirectory.open(join(fixtures, name, "images"));

test("the tree has the root, its child and the zombie, whose thread list is not trusted", () => {
  using directory = open("patchwork");
  assert.deepEqual(
    directory.tasks.map((task) => [task.pid, task.ppid, task.dead, task.threads]),
    [
      [15808, 0, false, [15808, 15810, 15811]],
      [15812, 15808, false, [15812]],
      [15813, 15808, true, [15813]],
    ],
  );
  assert.deepEqual(
    directory.roots.map((task) => task.children.map((child) => child.pid)),
    [[15812, 15813]],
  );
});

test("every descriptor of every live task has its file", () => {
  for (const name of ["patchwork", "python-http", "redis"]) {
    using directory = open(name);
    for (const task of directory.tasks.filter((each) => !each.dead)) {
      const descriptors = directory.descriptors(task.pid);
      assert.ok(descriptors.length > 0);
      for (const { fd, entry, file } of descriptors)
        assert.equal(file?.type, entry.type, `${name} ${task.pid} fd ${fd}`);
      assert.equal(directory.files.regular(directory.mm(task.pid).exe_file_id)?.type, FdTypes.REG);
    }
  }
});

test("every present page is answered from its place in the pages file", () => {
  for (const name of ["patchwork", "python-http", "redis"]) {
    using directory = open(name);
    for (const task of directory.tasks.filter((each) => !each.dead)) {
      const index = directory.pageIndex(task.pid);
      const raw = readFileSync(join(directory.path, `pages-${index.pagesId}.img`));
      let filePage = 0;
      const out = Buffer.alloc(4096);
      for (const run of index.runs()) {
        assert.ok((run.flags & PageFlag.Present) !== 0);
        for (let page = run.firstPage; page < run.firstPage + run.pageCount; page++) {
          index.readPages(page, 1, out);
          assert.ok(out.equals(raw.subarray(filePage * 4096, (filePage + 1) * 4096)));
          filePage += 1;
        }
      }
      assert.equal(filePage, index.presentPages);
      assert.equal(index.lookup(0).kind, "none");
    }
  }
});

test("a page in the parent is read there, an absent one is an error, a present one is read here", () => {
  const top = mkdtempSync(join(tmpdir(), "faultline-images-"));
  try {
    const parent = join(top, "parent-images");
    const child = join(top, "images");
    const page = (fill: number) => Buffer.alloc(4096, fill);
    makeDirectory(parent, [{ page: 16, pages: 4, flags: PageFlag.Present }], [page(1), page(2), page(3), page(4)]);
    const runs = [
      { page: 16, pages: 1, flags: PageFlag.Present },
      { page: 17, pages: 2, flags: PageFlag.Parent },
      { page: 30, pages: 2, flags: PageFlag.Lazy },
    ];
    makeDirectory(child, runs, [page(9)]);
    symlinkSync("../parent-images", join(child, "parent"));
    using directory = ImageDirectory.open(child);
    const index = directory.pageIndex(7);
    const out = Buffer.alloc(3 * 4096);
    index.readPages(16, 3, out);
    assert.deepEqual([out[0], out[4096], out[8192]], [9, 2, 3]);
    assert.equal(index.lookup(19).kind, "none");
    assert.equal(index.lookup(30).kind, "absent");
    assert.throws(
      () => index.readPages(29, 2, out),
      (error: unknown) => error instanceof FaultlineError && error.code === "IMAGE_MISSING",
    );
    assert.deepEqual(
      [...index.pieces(0, 100)].map((piece) => [piece.firstPage, piece.pageCount, piece.origin, piece.skip]),
      [
        [16, 1, "here", 0],
        [17, 2, "parent", 1],
        [30, 2, "absent", 0],
      ],
    );
  } finally {
    rmSync(top, { recursive: true });
  }
});

test("what others write beside the images changes nothing; an image that comes, goes or is written does", async () => {
  const top = mkdtempSync(join(tmpdir(), "faultline-images-"));
  try {
    const unchangedAfter = async (change: (path: string) => void): Promise<boolean> => {
      const path = join(mkdtempSync(join(top, "case-")), "images");
      makeDirectory(path, [{ page: 16, pages: 1, flags: PageFlag.Present }], [Buffer.alloc(4096, 1)]);
      await sleep(100); // what was changed just before it was read is never called unchanged
      using directory = ImageDirectory.open(path);
      directory.pageIndex(7).readPages(16, 1, Buffer.alloc(4096));
      assert.equal(directory.isUnchanged(), true);
      change(path);
      return directory.isUnchanged();
    };
    const log = (path: string) => writeFileSync(join(path, "restore.log"), "done");
    assert.equal(await unchangedAfter(log), true);
    assert.equal(await unchangedAfter((path) => writeFileSync(join(path, "tty-info.img"), "")), false);
    assert.equal(
      await unchangedAfter((path) => writeFileSync(join(path, "pages-1.img"), Buffer.alloc(4096, 2))),
      false,
    );
    assert.equal(await unchangedAfter((path) => symlinkSync("../none", join(path, "parent"))), false);
    assert.equal(await unchangedAfter((path) => rmSync(join(path, "pagemap-7.img"))), false);
    assert.equal(await unchangedAfter((path) => rmSync(path, { recursive: true })), false);
    const replaced = (path: string) => {
      renameSync(path, `${path}-before`);
      cpSync(`${path}-before`, path, { recursive: true });
    };
    assert.equal(await unchangedAfter(replaced), false);
  } finally {
    rmSync(top, { recursive: true });
  }
});

interface Run {
  readonly page: number;
  readonly pages: number;
  readonly flags: number;
}

/** A directory with one pagemap, of task 7. */
function makeDirectory(path: string, runs: readonly Run[], pages: readonly Buffer[]): void {
  mkdirSync(path);
  writeImage(path, "inventory.img", "INVENTORY", [{ img_version: 2 }]);
  const entries = runs.map(({ page, pages, flags }) => ({
    vaddr: BigInt(page) * 4096n,
    compat_nr_pages: pages,
    nr_pages: BigInt(pages),
    flags,
  }));
  writeImage(path, "pagemap-7.img", "PAGEMAP", entries, { head: { pages_id: 1 } });
  writeFileSync(join(path, "pages-1.img"), Buffer.concat(pages));
}
