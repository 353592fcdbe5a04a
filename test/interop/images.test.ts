// Images that the real CRIU writes of programs holding most kinds of things: decoded without anything unknown, written back
// byte for byte, also through JSON, and nothing wrong for verify.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { formatJson, parseJson } from "../../src/images/exactJson";
import { imageName } from "../../src/images/formats";
import { decodeImage, encodeImage, type RecordInit } from "../../src/images/framing";
import { imageToJson, jsonToImage } from "../../src/images/json";
import { verifyDirectory } from "../../src/images/verify";
import { criuDump } from "../support/criu";
import { programFacts, repositoryRoot, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";

const folder = join(repositoryRoot, "test", "programs");
const programs = readdirSync(folder)
  .filter((file) => file.endsWith(".c"))
  .map((file) => file.slice(0, -2));

function checkImage(folder: string, name: string): void {
  const bytes = readFileSync(join(folder, name));
  const image = decodeImage(bytes, name);
  const records = image.records as unknown as RecordInit<never>[];
  assert.ok(encodeImage(image.kind, records, { head: image.head as never }).equals(bytes), `${name} differs`);
  const text = formatJson(imageToJson(image, { pretty: true, payload: true }), 2);
  assert.ok(!text.includes('"unknown_fields"'), `${name} has fields without a name`);
  assert.ok(jsonToImage(parseJson(text, name), name).equals(bytes), `${name} differs through JSON`);
}

for (const name of programs) {
  const { options, criuCannot } = programFacts(name);
  if (criuCannot !== undefined) continue;
  test(`CRIU's images of ${name} are read, written back and verified`, async () => {
    await withTempDir("images", (images) =>
      withProgram(name, async (program) => {
        // No packet can arrive while the program is frozen, and iptables need not be installed.
        await criuDump(program.pid, images.path, ["--network-lock", "skip", ...options]);
        for (const file of readdirSync(images.path)) {
          const kind = imageName(file)?.kind;
          if (kind !== undefined && kind !== "raw") checkImage(images.path, file);
        }
        assert.deepEqual(verifyDirectory(images.path).findings, []);
      }),
    );
  });
}
