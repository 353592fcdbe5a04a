// A directory packed with `pack --for-criu`, in front of the real CRIU: a lazy restore works on Faultline's daemon, any other
// restore fails instead of giving zeros, and unpack gives every byte back. (That the program passes with more options of the
// daemon: lazyPages.test.ts.)
import assert from "node:assert/strict";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { criuBinary, criuDump, criuRestore, runCommand } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { isGone } from "../support/processes";
import { repositoryRoot, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const command = join(repositoryRoot, "bin", "faultline");

async function faultline(...args: readonly string[]): Promise<void> {
  const { status, output } = await runCommand(command, args);
  assert.equal(status, 0, output);
}

/** The images of a directory, not what CRIU and the daemon leave there (logs, statistics). */
function images(dir: TempDir): Map<string, string> {
  const names = readdirSync(dir.path).filter((name) => name.endsWith(".img") || !lstatSync(dir.join(name)).isFile());
  return new Map(names.sort().map((name) => [name, readFileSync(dir.join(name), "latin1")]));
}

for (const [name, link] of [
  ["heap", "static"],
  ["heap", "dynamic"],
  ["shared_anonymous", undefined],
  ["tree", undefined],
] as const) {
  test(`${name} (${link ?? "as it is"}): lazy restore works, plain restore fails, unpack undoes it`, async () => {
    await withTempDir("for-criu", (dir) =>
      withProgram(
        name,
        async (program) => {
          await criuDump(program.pid, dir.path);
          await program.gone();
          const original = images(dir);
          await faultline("pack", "--for-criu", dir.path);
          await faultline("verify", dir.path);

          const args = ["restore", "-D", dir.path, "-o", "plain.log", "-v4", "-d"];
          const plain = await runCommand(criuBinary, args);
          program.remember();
          assert.notEqual(plain.status, 0, "a plain restore went through");
          assert.equal(program.verdictNow(), undefined);
          await waitFor("what the plain restore had begun to end", () => isGone(program.pid));

          const daemon = await FaultlineLazyPages.start(dir.path);
          try {
            await criuRestore(dir.path, [], true);
            program.remember();
            program.go();
            assert.equal(await program.verdict(), "PASS", daemon.messages);
            await daemon.finished();
          } finally {
            await daemon.stop();
          }
          await faultline("unpack", dir.path);
          assert.deepEqual(images(dir), original);
        },
        link === undefined ? {} : { link },
      ),
    );
  });
}
