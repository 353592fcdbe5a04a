// verify on CRIU's own dumps, whole and with one thing broken at a time: it names the file, and the command says 1.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import type { Finding } from "../../src/images/finding";
import type { ImageKind, ImageMessage } from "../../src/images/formats";
import { decodeImageOf, encodeImage, type RecordInit } from "../../src/images/framing";
import { verifyDirectory } from "../../src/images/verify";

const root = resolve(__dirname, "..", "..", "..");
const fixture = (name: string) => join(root, "test", "fixtures", name, "images");

function withCopy(name: string, use: (path: string) => void): void {
  const top = mkdtempSync(join(tmpdir(), "faultline-verify-"));
  try {
    cpSync(fixture(name), join(top, "images"), { recursive: true });
    use(join(top, "images"));
  } finally {
    rmSync(top, { recursive: true });
  }
}

/** What verify finds in the patchwork dump after `harm`. */
function findingsAfter(harm: (path: string) => void): readonly Finding[] {
  let findings: readonly Finding[] = [];
  withCopy("patchwork", (path) => {
    harm(path);
    findings = verifyDirectory(path).findings;
  });
  return findings;
}

/** Rewrites an image with `change` made to its messages. */
function rewrite<K extends ImageKind>(
  path: string,
  kind: K,
  name: string,
  change: (all: ImageMessage<K>[]) => void,
): void {
  const file = join(path, name);
  const image = decodeImageOf(kind, readFileSync(file), file);
  const messages = image.records.map((record) => record.message);
  change(messages);
  const records = messages.map((message, index) => ({ message, payload: image.records[index]?.payload }));
  writeFileSync(
    file,
    encodeImage(kind, records as unknown as RecordInit<ImageMessage<K>>[], { head: image.head as never }),
  );
}

test("CRIU's own dumps have nothing wrong", () => {
  for (const name of ["patchwork", "python-http", "redis"]) {
    const report = verifyDirectory(fixture(name));
    assert.deepEqual(report.findings, []);
    assert.ok(report.imageCount > 10);
  }
});

interface Harm {
  readonly what: string;
  readonly file: string;
  readonly message: RegExp;
  readonly record?: number;
  readonly harm: (path: string) => void;
}

const harms: readonly Harm[] = [
  {
    what: "a record cut short",
    file: "files.img",
    message: /record of/,
    harm: (path) => truncateSync(join(path, "files.img"), 300),
  },
  {
    what: "a missing core",
    file: "core-15811.img",
    message: /missing/,
    harm: (path) => unlinkSync(join(path, "core-15811.img")),
  },
  {
    what: "a missing pages file",
    file: "pagemap-15808.img",
    message: /pages-3\.img is missing/,
    harm: (path) => unlinkSync(join(path, "pages-3.img")),
  },
  {
    what: "a pages file that is too short",
    file: "pages-3.img",
    message: /bytes where pagemap-15808\.img has/,
    harm: (path) => truncateSync(join(path, "pages-3.img"), 8192),
  },
  {
    what: "a pages file that is too long",
    file: "pages-3.img",
    message: /bytes where/,
    harm: (path) => writeFileSync(join(path, "pages-3.img"), Buffer.alloc(100), { flag: "a" }),
  },
  {
    what: "a descriptor of no file",
    file: "fdinfo-2.img",
    record: 2,
    message: /descriptor 2 is file 9999/,
    harm: (path) => rewrite(path, "FDINFO", "fdinfo-2.img", (all) => Object.assign(all[2]!, { id: 9999 })),
  },
  {
    what: "a descriptor twice",
    file: "fdinfo-2.img",
    record: 1,
    message: /descriptor 0 is there twice/,
    harm: (path) => rewrite(path, "FDINFO", "fdinfo-2.img", (all) => Object.assign(all[1]!, { fd: 0 })),
  },
  {
    what: "a task without a parent",
    file: "pstree.img",
    record: 1,
    message: /parent 77/,
    harm: (path) => rewrite(path, "PSTREE", "pstree.img", (all) => Object.assign(all[1]!, { ppid: 77 })),
  },
  {
    what: "a working directory that is nowhere",
    file: "fs-15808.img",
    record: 0,
    message: /working directory is file 4242/,
    harm: (path) => rewrite(path, "FS", "fs-15808.img", (all) => Object.assign(all[0]!, { cwd_id: 4242 })),
  },
  {
    what: "mappings that overlap",
    file: "mm-15808.img",
    record: 0,
    message: /overlaps or precedes/,
    harm: (path) => rewrite(path, "MM", "mm-15808.img", (all) => Object.assign(all[0]!.vmas[2]!, { start: 4096n })),
  },
  {
    what: "a mapping of no file",
    file: "mm-15808.img",
    record: 0,
    message: /is of file 31337/,
    harm: (path) => rewrite(path, "MM", "mm-15808.img", (all) => Object.assign(all[0]!.vmas[0]!, { shmid: 31337n })),
  },
  {
    what: "pages outside mappings",
    file: "pagemap-15808.img",
    message: /is in no mapping/,
    harm: (path) => rewrite(path, "MM", "mm-15808.img", (all) => void all[0]!.vmas.splice(1, 1)),
  },
  {
    what: "runs out of order",
    file: "pagemap-15808.img",
    record: 2,
    message: /overlaps or precedes/,
    harm: (path) => rewrite(path, "PAGEMAP", "pagemap-15808.img", (all) => Object.assign(all[1]!, { vaddr: 4096n })),
  },
  {
    what: "a run in a parent that is not there",
    file: "pagemap-15808.img",
    message: /parent image/,
    harm: (path) => rewrite(path, "PAGEMAP", "pagemap-15808.img", (all) => Object.assign(all[0]!, { flags: 1 })),
  },
  {
    what: "a memory file that is nowhere",
    file: "files.img",
    message: /memory file 1 is not in memfd\.img/,
    harm: (path) => rewrite(path, "MEMFD_INODE", "memfd.img", (all) => Object.assign(all[0]!, { inode_id: 55n })),
  },
  {
    what: "a memory file without pages",
    file: "memfd.img",
    record: 0,
    message: /no pagemap-shmem-1374/,
    harm: (path) => unlinkSync(join(path, "pagemap-shmem-1374.img")),
  },
  {
    what: "bytes of a pipe that nobody has",
    file: "pipes-data.img",
    record: 0,
    message: /bytes of pipe 12/,
    harm: (path) => rewrite(path, "PIPES_DATA", "pipes-data.img", (all) => Object.assign(all[0]!, { pipe_id: 12 })),
  },
  {
    what: "a file of another kind",
    file: "fs-15808.img",
    message: /a IDS image where FS is expected/,
    harm: (path) => writeFileSync(join(path, "fs-15808.img"), readFileSync(join(path, "ids-15808.img"))),
  },
];

for (const { what, file, message, record, harm } of harms) {
  test(`${what} is found in ${file}`, () => {
    const findings = findingsAfter(harm);
    const found = findings.find((finding) => finding.file === file && message.test(finding.message));
    assert.ok(found !== undefined, JSON.stringify(findings));
    if (record !== undefined) assert.equal(found.record, record);
  });
}

test("the command exits 1 with one line per finding, and prints JSON on demand", () => {
  withCopy("redis", (path) => {
    const run = (...args: string[]) =>
      spawnSync(join(root, "bin", "faultline"), ["verify", path, ...args], { encoding: "utf8" });
    assert.equal(run().status, 0);
    unlinkSync(join(path, "fs-15853.img"));
    const text = run();
    assert.equal(text.status, 1);
    assert.match(text.stdout, /^fs-15853\.img: an image is missing$/m);
    const report = JSON.parse(run("--json").stdout) as { findings: Finding[] };
    assert.deepEqual(
      report.findings.map((finding) => finding.file),
      ["fs-15853.img"],
    );
  });
});
