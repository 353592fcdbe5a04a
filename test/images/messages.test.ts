// The committed message types are those of images/*.proto.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { formats } from "../../src/images/formats";
import { messageType } from "../../src/images/schema";

const root = resolve(__dirname, "..", "..", "..");

test("src/images/messages.ts is what npm run build:messages writes", () => {
  const { renderMessages } = require(join(root, "scripts", "build-messages.js")) as { renderMessages(): string };
  const biome = join(root, "node_modules", ".bin", "biome");
  const formatted = spawnSync(biome, ["format", "--stdin-file-path=src/images/messages.ts"], {
    cwd: root,
    input: renderMessages(),
    encoding: "utf8",
  });
  assert.equal(formatted.status, 0, formatted.stderr);
  assert.equal(readFileSync(join(root, "src", "images", "messages.ts"), "utf8"), formatted.stdout);
});

test("every image's message and head has a descriptor, and no two images share a magic", () => {
  const magics = new Set<number>();
  for (const format of Object.values(formats)) {
    assert.ok(messageType(format.message).fields.length > 0);
    magics.add(format.magic);
  }
  assert.equal(magics.size, Object.keys(formats).length);
});
