// The image directories of a pager between its sessions: what is kept, and what is not.
import assert from "node:assert/strict";
import { cpSync, readdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { OpenImages } from "../../src/pager/openImages";
import { LAYOUT_ZERO, type Space } from "../../src/space/space";
import { withTempDir } from "../support/tempdir";

const fixture = resolve(__dirname, "..", "..", "..", "test", "fixtures", "redis", "images");

/** A copy that is old enough to be told from a later one. */
async function withImages(work: (path: string, folder: string) => void): Promise<void> {
  await withTempDir("open-images", async (folder) => {
    const path = folder.join("images");
    cpSync(fixture, path, { recursive: true });
    await sleep(100);
    work(path, folder.path);
  });
}

let lastSession = 0;

/** The directory of a session that is opened, read and closed. */
function session(images: OpenImages, path: string) {
  const id = ++lastSession;
  images.openSession(id, path);
  images.openAhead(id);
  const directory = images.directory(id);
  images.closeSession(id);
  return directory;
}

test("the next session gets a directory as it was decoded, without a file open in between", async () => {
  await withImages((path) => {
    const images = new OpenImages();
    const descriptors = () => readdirSync("/proc/self/fd").length;
    const before = descriptors();
    const first = session(images, path);
    assert.equal(descriptors(), before);
    assert.equal(session(images, path), first);
    assert.equal(descriptors(), before);
    images.close();
    assert.notEqual(session(images, path), first);
  });
});

test("a directory that changed, or a link that leads elsewhere, is read anew", async () => {
  await withImages((path, folder) => {
    const images = new OpenImages();
    const link = join(folder, "link");
    symlinkSync("images", link);
    const first = session(images, link);
    assert.equal(session(images, link), first);
    cpSync(path, join(folder, "other"), { recursive: true });
    unlinkSync(link);
    symlinkSync("other", link);
    const second = session(images, link);
    assert.equal(second.path, join(folder, "other"));
    const third = session(images, path);
    writeFileSync(join(path, "pages-1.img"), Buffer.alloc(4096));
    assert.notEqual(session(images, path), third);
    renameSync(path, join(folder, "elsewhere"));
    assert.throws(() => session(images, path), /no such image directory/);
    rmSync(link);
  });
});

test("each session gets a space of its own, also where the one before had the same layout", async () => {
  await withImages((path) => {
    const images = new OpenImages();
    const layout = (source: number): Float64Array =>
      Float64Array.of(0x1000, 8, LAYOUT_ZERO, 0, 0x1002, 4, source, 0x1002);
    const spaceOf = (id: number, wanted: Float64Array | undefined): Space => {
      images.openSession(id, path);
      return images.space(id, 100, wanted);
    };
    const first = spaceOf(++lastSession, layout(0));
    const second = spaceOf(++lastSession, layout(0));
    first.installed(0x1002, 2);
    second.unmapped(0x1005, 1);
    assert.deepEqual([first.missingPages, second.missingPages], [2, 3]);
    assert.equal(spaceOf(++lastSession, layout(0)).missingPages, 4);
    const other = spaceOf(++lastSession, layout(1));
    assert.deepEqual([other.at(0x1003).source, spaceOf(++lastSession, layout(0)).at(0x1003).source], [1, 0]);
    images.close();
  });
});

test("of the directories that nobody uses only the latest four are kept", async () => {
  await withImages((path, folder) => {
    const images = new OpenImages();
    const first = session(images, path);
    for (const name of ["a", "b", "c", "d"]) {
      cpSync(fixture, join(folder, name), { recursive: true });
      session(images, join(folder, name));
    }
    assert.notEqual(session(images, path), first);
  });
});
