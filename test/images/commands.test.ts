// `faultline inspect show` and `inspect encode` as a user meets them.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(__dirname, "..", "..", "..");
const images = join(root, "test", "fixtures", "patchwork", "images");

function faultline(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(join(root, "bin", "faultline"), args, { encoding: "utf8" });
}

function withFolder(use: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "faultline-commands-"));
  try {
    use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("what show prints, pretty or plain, encode turns back into the same file", () => {
  withFolder((folder) => {
    for (const option of [[], ["--json"]]) {
      const shown = faultline("inspect", "show", join(images, "core-15808.img"), ...option);
      assert.equal(shown.status, 0, shown.stderr);
      const json = join(folder, "core.json");
      const output = join(folder, "core.img");
      writeFileSync(json, shown.stdout);
      const encoded = faultline("inspect", "encode", json, "-o", output);
      assert.equal(encoded.status, 0, encoded.stderr);
      assert.ok(readFileSync(output).equals(readFileSync(join(images, "core-15808.img"))));
    }
  });
});

test("show leaves payloads out on demand", () => {
  const file = join(images, "pipes-data.img");
  assert.match(faultline("inspect", "show", file).stdout, /"extra"/);
  assert.doesNotMatch(faultline("inspect", "show", "--no-payload", file).stdout, /"extra"/);
});

test("failures are one line that names the file, with the right exit code", () => {
  withFolder((folder) => {
    const broken = join(folder, "core-1.img");
    writeFileSync(broken, readFileSync(join(images, "core-15808.img")).subarray(0, 200));
    const notJson = join(folder, "x.json");
    writeFileSync(notJson, '{"magic": "CORE", "entries": [{');
    for (const [args, status, pattern] of [
      [["inspect", "show", join(folder, "none.img")], 1, /none\.img/],
      [["inspect", "show", broken], 1, /core-1\.img, record 0, offset 8/],
      [["inspect", "show", join(images, "pages-1.img")], 2, /pages-1\.img.*hexdump/],
      [["inspect", "show"], 2, /missing required argument/],
      [["inspect", "encode", notJson, "-o", join(folder, "x.img")], 1, /x\.json, offset 31/],
      [["verify", join(folder, "nowhere")], 1, /nowhere/],
    ] as const) {
      const result = faultline(...args);
      assert.equal(result.status, status, args.join(" "));
      assert.match(result.stderr, pattern);
      if (status === 1) assert.equal(result.stderr.trim().split("\n").length, 1, result.stderr);
    }
  });
});
