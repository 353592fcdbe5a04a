// Every file of every fixture, dumped by CRIU 4.2.1: what we decode we write back byte for byte.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { type ImageKind, imageName } from "../../src/images/formats";
import { decodeImage, encodeImage, type RecordInit } from "../../src/images/framing";

const fixtures = resolve(__dirname, "..", "..", "..", "test", "fixtures");

for (const fixture of readdirSync(fixtures)) {
  const folder = join(fixtures, fixture, "images");
  for (const file of readdirSync(folder)) {
    const kind = imageName(file)?.kind;
    if (kind === "raw") continue;
    test(`${fixture}/${file} is written back byte for byte`, () => {
      const bytes = readFileSync(join(folder, file));
      const image = decodeImage(bytes, file);
      assert.equal(image.kind, kind);
      const records = image.records as unknown as RecordInit<never>[];
      const again = encodeImage(image.kind as ImageKind, records, {
        head: image.head as never,
        framing: image.framing,
      });
      assert.ok(again.equals(bytes));
    });
  }
}
