// Holds that the harness and the real CRIU work together: a program dumped and restored by CRIU passes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CriuLazyPages, criuDump, criuRestore } from "./criu";
import { withProgram } from "./program";
import { withTempDir } from "./tempdir";

for (const lazy of [false, true]) {
  test(`CRIU dumps and restores a program ${lazy ? "lazily" : "eagerly"}`, async () => {
    await withTempDir("criu", (images) =>
      withProgram("heap", async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        const daemon = lazy ? await CriuLazyPages.start(images.path) : undefined;
        try {
          await criuRestore(images.path, [], lazy);
          program.go();
          assert.equal(await program.verdict(), "PASS");
        } finally {
          await daemon?.stop();
        }
      }),
    );
  });
}
