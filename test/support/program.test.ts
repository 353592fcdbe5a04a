// Holds that every test program passes when nobody checkpoints it: else its failures would say nothing.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isGone } from "./processes";
import { repositoryRoot, withProgram } from "./program";

const names = readdirSync(join(repositoryRoot, "test", "programs"))
  .filter((file) => file.endsWith(".c"))
  .map((file) => file.slice(0, -2))
  .sort();

for (const name of names) {
  test(`${name} passes when it is not checkpointed`, async () => {
    let pid = 0;
    await withProgram(name, async (program) => {
      pid = program.pid;
      program.go();
      assert.equal(await program.verdict(), "PASS");
    });
    assert.ok(isGone(pid));
  });
}
