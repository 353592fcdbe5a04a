// The real `criu restore --lazy-pages` on Faultline's daemon, with programs that check their own memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import { criuDump, criuRestore } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";

for (const [name, ...options] of [
  ["heap"],
  ["heap", "--stay-lazy"],
  ["heap", "--drain-rate", "4M"],
  ["lazy_layout", "--stay-lazy"],
  ["lazy_layout", "--drain-rate", "4M"],
  ["lazy_layout", "--drain-rate", "200M"],
] as const) {
  test(`CRIU restores ${name} on faultline lazy-pages ${options.join(" ")}`, async () => {
    await withTempDir("lazy", (images) =>
      withProgram(name, async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        const daemon = await FaultlineLazyPages.start(images.path, options);
        try {
          await criuRestore(images.path, [], true);
          program.go();
          assert.equal(await program.verdict(), "PASS", daemon.messages);
          const report = await daemon.finished();
          assert.equal(report.sessions.length, 1);
          assert.equal(report.sessions[0]!.state, "done");
          assert.equal(report.sessions[0]!.lostPages, 0);
        } finally {
          await daemon.stop();
        }
      }),
    );
  });
}
