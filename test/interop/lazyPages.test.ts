// The real `criu restore --lazy-pages` on Faultline's daemon, with programs that check their own memory.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { criuDump, criuRestore, runCommand } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { packBeside } from "../support/packedPages";
import { repositoryRoot, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";

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
] as const) {
  test(`CRIU restores ${name} on faultline lazy-pages ${options.join(" ")} (${form})`, async () => {
    await withTempDir("lazy", (images) =>
      withProgram(name, async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        if (form === "packed") await packBeside(images.path);
        if (form === "for-criu") {
          const packing = await runCommand(join(repositoryRoot, "bin", "faultline"), [
            "pack",
            "--for-criu",
            images.path,
          ]);
          assert.equal(packing.status, 0, packing.output);
        }
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
        } finally {
          await daemon.stop();
        }
      }),
    );
  });
}
