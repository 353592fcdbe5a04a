// Images as old CRIUs wrote them: no class magics, one image per type of file, mappings of their own, descriptors by pid,
// page counts in the old field. Made from a fixture by rewriting it; every question has the same answer.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { ImageDirectory } from "../../src/images/directory";
import { type ImageKind, imageName } from "../../src/images/formats";
import { decodeImage, decodeImageOf, encodeImage, type RecordInit } from "../../src/images/framing";
import type { FileEntry } from "../../src/images/messages";
import { verifyDirectory } from "../../src/images/verify";

const fixtures = resolve(__dirname, "..", "..", "..", "test", "fixtures");

/** Where the files of each field of file_entry used to be. */
const oldFiles: readonly (readonly [keyof FileEntry, ImageKind, string])[] = [
  ["reg", "REG_FILES", "reg-files.img"],
  ["pipe", "PIPES", "pipes.img"],
  ["usk", "UNIXSK", "unixsk.img"],
  ["isk", "INETSK", "inetsk.img"],
  ["efd", "EVENTFD_FILE", "eventfd.img"],
  ["epfd", "EVENTPOLL_FILE", "eventpoll.img"],
  ["sgfd", "SIGNALFD", "signalfd.img"],
  ["tfd", "TIMERFD", "timerfd.img"],
];

function write(path: string, kind: ImageKind, name: string, messages: readonly unknown[], head?: unknown): void {
  const records = messages.map((message) => ({ message })) as RecordInit<never>[];
  writeFileSync(join(path, name), encodeImage(kind, records, { framing: "v1", head: head as never }));
}

/** Rewrites a directory to the oldest form that is still read. */
function makeOld(path: string): void {
  using now = ImageDirectory.open(path);
  const inventory = { ...now.inventory, img_version: 1 };
  delete inventory.fdinfo_per_id;
  const files = [...now.files.entries];
  for (const [field, kind, name] of oldFiles) {
    const entries = files.map((file) => file[field]).filter((entry) => entry !== undefined);
    if (field !== "epfd") write(path, kind, name, entries);
    else {
      const polls = entries as NonNullable<FileEntry["epfd"]>[];
      write(
        path,
        kind,
        name,
        polls.map((poll) => ({ ...poll, tfd: [] })),
      );
      write(
        path,
        "EVENTPOLL_TFD",
        "eventpoll-tfd.img",
        polls.flatMap((poll) => poll.tfd),
      );
    }
  }
  unlinkSync(join(path, "files.img"));
  const shared: string[] = [];
  for (const task of now.tasks.filter((each) => !each.dead)) {
    const mm = now.mm(task.pid);
    write(path, "VMAS", `vmas-${task.pid}.img`, mm.vmas);
    write(path, "MM", `mm-${task.pid}.img`, [{ ...mm, vmas: [] }]);
    const fdinfo = `fdinfo-${now.ids(task.pid)!.files_id}.img`;
    write(path, "FDINFO", `fdinfo-${task.pid}.img`, now.messages("FDINFO", fdinfo));
    shared.push(fdinfo);
  }
  for (const name of new Set(shared)) unlinkSync(join(path, name));
  for (const name of now.names()) {
    if (imageName(name)?.kind === "PAGEMAP") oldPagemap(path, name);
    else if (/^(pstree|core|ids|fs)/.test(name)) oldFraming(path, name);
  }
  writeFileSync(join(path, "inventory.img"), encodeImage("INVENTORY", [{ message: inventory }]));
}

function oldPagemap(path: string, name: string): void {
  const { head, records } = decodeImageOf("PAGEMAP", readFileSync(join(path, name)), name);
  const entries = records.map(({ message }) => ({ vaddr: message.vaddr, compat_nr_pages: Number(message.nr_pages) }));
  write(path, "PAGEMAP", name, entries, head);
}

function oldFraming(path: string, name: string): void {
  const image = decodeImage(readFileSync(join(path, name)), name);
  write(
    path,
    image.kind,
    name,
    image.records.map((record) => record.message),
  );
}

test("a dump rewritten to the oldest form gives the same answers, and has nothing wrong", () => {
  const top = mkdtempSync(join(tmpdir(), "faultline-old-"));
  try {
    const path = join(top, "images");
    cpSync(join(fixtures, "python-http", "images"), path, { recursive: true });
    makeOld(path);
    assert.deepEqual(verifyDirectory(path).findings, []);
    using old = ImageDirectory.open(path);
    using now = ImageDirectory.open(join(fixtures, "python-http", "images"));
    assert.deepEqual(old.tasks, now.tasks);
    for (const { pid } of now.tasks) {
      assert.deepEqual(old.mm(pid), now.mm(pid));
      assert.deepEqual(old.descriptors(pid), now.descriptors(pid));
      const [oldIndex, newIndex] = [old.pageIndex(pid), now.pageIndex(pid)];
      assert.equal(oldIndex.presentPages, newIndex.presentPages);
      const pages = [...newIndex.runs()].map(({ firstPage, pageCount }) => [firstPage, pageCount]);
      assert.deepEqual(
        [...oldIndex.runs()].map(({ firstPage, pageCount }) => [firstPage, pageCount]),
        pages,
      );
    }
  } finally {
    rmSync(top, { recursive: true });
  }
});
