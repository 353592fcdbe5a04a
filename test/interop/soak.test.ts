// The short form of the soak (`npm run soak` makes 200 cycles).
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Program, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { withTerminals } from "../support/terminals";
import { faultlineEngine } from "./engines";
import { soak, soakPrograms } from "./soaking";

for (const name of soakPrograms) {
  test(`${name} lives through cycles of dump, leave running, end and restore without leaks`, async () => {
    await withTerminals(() => soak(name, 8, () => {}));
  });
}

test("all timers of a tree, of every kind and in every process, stay together over cycles of dump and restore", async () => {
  const cycles = 5;
  // Each is read to 50 us and set to 50 us, one later and another earlier; the program itself looks to some microseconds.
  const apartUs = cycles * 2 * 100 + 500;
  const body = async (program: Program): Promise<void> => {
    for (let cycle = 0; cycle < cycles; cycle++) {
      await withTempDir("soak", async (images) => {
        await faultlineEngine.dump(program.pid, images.path, program.facts, false);
        await program.gone();
        await faultlineEngine.restore(images.path, program.facts, cycle % 2 === 0);
        program.remember();
      });
    }
    program.go();
    assert.equal(await program.verdict(), "PASS", program.output());
  };
  await withProgram("timers_together", body, { arguments: [String(apartUs)] });
});
