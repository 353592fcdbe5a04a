// The joined scripts that bin/faultline starts, and their code caches: V8 refuses a cache that was made under other flags than
// the process has, without a word, and every start is then twice as long.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { repositoryRoot } from "./support/program";

const folder = join(repositoryRoot, "dist", "bundle");
const launcher = readFileSync(join(repositoryRoot, "bin", "faultline"), "utf8");
const detachedFlags = /^flags="(.*)"$/m.exec(launcher)?.[1]?.split(" ") ?? [];
const loads = `
  const [script, cache] = process.argv.slice(1);
  const { readFileSync } = require("node:fs");
  const { Script } = require("node:vm");
  const cachedData = readFileSync(cache);
  process.stdout.write(String(new Script(readFileSync(script, "latin1"), { filename: script, cachedData }).cachedDataRejected));
`;

function isRefused(script: string, cache: string, flags: readonly string[]): string {
  const args = [...flags, "-e", loads, join(folder, script), join(folder, cache)];
  return execFileSync(process.execPath, args, { encoding: "utf8" });
}

for (const [script, cache, flags] of [
  ["command.js", "command.cache", []],
  ["command.js", "detached.cache", detachedFlags],
  ["dump.js", "dump.cache", []],
  ["pager.js", "pager.cache", ["--min-semi-space-size=8", "--no-concurrent-recompilation"]],
] as const) {
  test(`V8 takes ${cache}`, () => {
    assert.equal(isRefused(script, cache, flags), "false");
  });
}

test("V8 refuses the cache of restore -d under other flags, so that the test above can fail", () => {
  assert.ok(detachedFlags.length > 0);
  assert.equal(isRefused("command.js", "detached.cache", []), "true");
});

test("the cache of restore -d was recorded: it holds what runs, not every function", () => {
  const bytes = (name: string): number => readFileSync(join(folder, name)).length;
  assert.ok(bytes("detached.cache") < 0.8 * bytes("command.cache"));
});
