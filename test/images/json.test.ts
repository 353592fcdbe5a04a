// Images as JSON: equal in content to crit's own for every file of every fixture, and back to the same bytes.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { formatJson, parseJson } from "../../src/images/exactJson";
import { imageName } from "../../src/images/formats";
import { decodeImage } from "../../src/images/framing";
import { imageToJson, jsonToImage } from "../../src/images/json";

const fixtures = resolve(__dirname, "..", "..", "..", "test", "fixtures");

for (const fixture of readdirSync(fixtures)) {
  const folder = join(fixtures, fixture, "images");
  for (const file of readdirSync(folder)) {
    if (imageName(file)?.kind === "raw") continue;
    test(`${fixture}/${file} shows what crit shows, and both JSON forms encode to its bytes`, () => {
      const bytes = readFileSync(join(folder, file));
      const image = decodeImage(bytes, file);
      const pretty = imageToJson(image, { pretty: true, payload: true });
      const crit = readFileSync(join(fixtures, fixture, "crit", `${file}.json`), "utf8");
      assert.deepEqual(pretty, parseJson(crit, file));
      assert.ok(jsonToImage(parseJson(crit, file), file).equals(bytes));
      const plain = formatJson(imageToJson(image, { pretty: false, payload: true }), 0);
      assert.ok(jsonToImage(parseJson(plain, file), file).equals(bytes));
    });
  }
}
