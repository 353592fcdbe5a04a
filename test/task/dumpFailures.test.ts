// Failures injected into a dump: a full disk, no permission, Ctrl-C, a target that ends. The program runs on, one line
// says why, and nothing is left behind.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { verifyDirectory } from "../../src/images/verify";
import { dump } from "../../src/task/dump/dump";
import { runCommand } from "../support/criu";
import { isGone, processStat } from "../support/processes";
import { repositoryRoot, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";

const command = join(repositoryRoot, "bin", "faultline");

for (const compress of ["none", "lz4"] as const) {
  test(`a full disk ends a dump (${compress}) with one error, and the program runs on`, async () => {
    await withTempDir("dump-full", (images) =>
      withProgram("heap", async (program) => {
        const small = images.join("small");
        mkdirSync(small);
        execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", small]);
        try {
          await assert.rejects(
            dump({ pid: program.pid, directory: join(small, "img"), compress }),
            (error: unknown) => error instanceof FaultlineError && error.details.errno === 28,
          );
          assert.deepEqual(readdirSync(small), []);
        } finally {
          execFileSync("umount", [small]);
        }
        program.go();
        assert.equal(await program.verdict(), "PASS");
      }),
    );
  });
}

test("a user without rights is told so in one line, and the program runs on", async () => {
  await withTempDir("dump-user", (images) =>
    withProgram("heap", async (program) => {
      const args = ["--reuid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", command];
      const { status, output } = await runCommand("setpriv", [
        ...args,
        ...["dump", "-t", String(program.pid), "-D", images.join("img")],
      ]);
      assert.equal(status, 1);
      assert.match(output, /^faultline: .*\n$/);
      assert.doesNotMatch(output, /unexpected failure/);
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

test("a dump that is given up takes the names away that it gave to files without one", async () => {
  await withTempDir("dump-links", (images) =>
    withProgram("ghost_linked", async (program) => {
      const abort = new AbortController();
      let given: string[] = [];
      const dumped = dump({
        pid: program.pid,
        directory: images.join("img"),
        linkRemap: true,
        signal: abort.signal,
        onProgress: ({ phase }) => {
          if (phase !== "write") return;
          given = readdirSync(program.scratch.path).filter((name) => name.startsWith("link_remap"));
          abort.abort();
        },
      });
      await assert.rejects(dumped, (error: unknown) => error instanceof FaultlineError && error.code === "ABORTED");
      assert.equal(given.length, 1);
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

test("Ctrl-C at any moment leaves a complete dump or none, and a running program in the latter case", async () => {
  await withTempDir("dump-int", (images) =>
    withProgram("pipes", async (program) => {
      for (let round = 0; round < 8; round++) {
        const name = `img-${round}`;
        const dumper = spawn(command, ["dump", "-t", String(program.pid), "-D", images.join(name), "-R"], {
          stdio: "ignore",
        });
        const ended = once(dumper, "exit");
        await new Promise((resume) => setTimeout(resume, 70 + round * 30));
        dumper.kill("SIGINT");
        const [code] = (await ended) as [number | null];
        const there = readdirSync(images.path).includes(name);
        assert.equal(there, code === 0);
        if (there) assert.deepEqual(verifyDirectory(images.join(name)).findings, []);
        const stat = processStat(program.pid);
        assert.ok(stat !== undefined && stat.state !== "Z" && stat.state !== "T");
      }
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

test("a signal that comes when the dump is complete does not make it look failed", async () => {
  await withTempDir("dump-int", (images) =>
    withProgram("pipes", async (program) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGINT", "SIGTERM", "SIGHUP"] as const) {
        const name = `img-${readdirSync(images.path).length}`;
        const dumper = spawn(command, ["dump", "-t", String(program.pid), "-D", images.join(name), "-R"], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const ended = once(dumper, "exit");
        dumper.stdout.once("data", () => {
          const again = (): void => {
            if (dumper.kill(signal)) setImmediate(again);
          };
          again();
        });
        assert.deepEqual(await ended, [0, null]);
        assert.deepEqual(verifyDirectory(images.join(name)).findings, []);
      }
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});

test("a target that ends during the dump is one line of error, and no directory", async () => {
  for (let round = 0; round < 6; round++) {
    await withTempDir("dump-exit", (images) =>
      withProgram("gdb_threads", async (program) => {
        const running = runCommand(command, ["dump", "-t", String(program.pid), "-D", images.join("img"), "-R"]);
        await new Promise((resume) => setTimeout(resume, 80 + round * 35));
        process.kill(program.pid, "SIGKILL");
        const { status, output } = await running;
        assert.doesNotMatch(output, /unexpected failure/);
        assert.equal(readdirSync(images.path).includes("img"), status === 0, output);
        await program.gone();
        assert.ok(isGone(program.pid));
      }),
    );
  }
});
