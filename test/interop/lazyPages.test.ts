// The real `criu restore --lazy-pages` on Faultline's daemon, with programs that check their own memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import { criuDump, criuRestore } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { packBeside, packForCriu } from "../support/packedPages";
import { isGone, sessionMembers } from "../support/processes";
import { withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

for (const [name, form, ...options] of [
  ["heap", "raw"],
  ["heap", "raw", "--stay-lazy"],
  ["heap", "packed", "--drain-rate", "4M"],
  ["heap", "packed"],
  ["heap", "for-criu"],
  ["lazy_layout", "for-criu", "--stay-lazy"],
  ["lazy_layout", "raw", "--stay-lazy"],
  ["lazy_layout", "packed", "--stay-lazy"],
  ["lazy_layout", "raw", "--drain-rate", "4M"],
  ["lazy_layout", "packed", "--drain-rate", "200M"],
  ["lazy_threads", "raw"],
  ["lazy_threads", "for-criu", "--stay-lazy"],
  ["lazy_advice", "raw", "--drain-rate", "4M"],
  ["lazy_advice", "for-criu"],
  ["lazy_ends", "raw", "--drain-rate", "4M"],
  ["lazy_ends", "for-criu"],
] as const) {
  test(`CRIU restores ${name} on faultline lazy-pages ${options.join(" ")} (${form})`, async () => {
    await withTempDir("lazy", (images) =>
      withProgram(name, async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        if (form === "packed") await packBeside(images.path);
        if (form === "for-criu") await packForCriu(images.path);
        const daemon = await FaultlineLazyPages.start(images.path, options);
        try {
          await criuRestore(images.path, [], true);
          program.go();
          assert.equal(await program.verdict(), "PASS", daemon.messages);
          const report = await daemon.finished();
          assert.equal(report.sessions.length, 1);
          assert.equal(report.sessions[0]!.state, "done");
          assert.equal(report.sessions[0]!.lostPages, 0);
          assert.equal(report.sessions[0]!.lz4Bytes > 0, form !== "raw");
          assert.deepEqual(sessionMembers(daemon.pid), [], "the daemon and its watchdog are gone");
          await waitFor("every task to be gone", () => program.tree().every((stat) => isGone(stat.pid)));
        } finally {
          await daemon.stop();
        }
      }),
    );
  });
}
