// Programs dumped by CRIU and restored by Faultline, lazily and eagerly; each checks itself afterwards.
// Failures of a restore are in restoreFailures.test.ts, the plans in restorePlan.test.ts.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { Restorer } from "../../src/task/restore/restore";
import { criuDump } from "../support/criu";
import { type Program, withProgram } from "../support/program";
import { TempDir, withTempDir } from "../support/tempdir";

/** For each test, milliseconds: a restore that hangs fails here, and not when the whole run is given up. */
const limit = { timeout: 300_000 };

const lazyPrograms = [
  "altstack",
  "blocked_forever",
  "blocked_more",
  "brk",
  "capabilities",
  "copy_on_write",
  "credentials_of_threads",
  "directories",
  "epolls",
  "fifos",
  "file_locks",
  "file_mapping_private",
  "file_mapping_shared",
  "ghost_files",
  "ghost_linked",
  "guard_pages",
  "heap",
  "itimers",
  "limits",
  "mapped_deleted",
  "memfds",
  "pipes",
  "posix_timers",
  "registers",
  "scheduling",
  "seccomp",
  "sessions",
  "shared_anonymous",
  "signal_actions",
  "signalfds",
  "signals_pending",
  "stack_growth",
  "stopped",
  "tcp_listening",
  "tls",
  "tree",
  "unix_named",
  "unix_pairs",
  "unix_passed",
  "zombies",
];
const eagerPrograms = ["heap", "file_mapping_private", "guard_pages", "memfds", "shared_anonymous", "tls", "tree"];

async function dumpWithCriu(program: Program, images: TempDir): Promise<void> {
  await criuDump(program.pid, images.path, program.facts.options);
  await program.gone();
}

for (const [mode, programs] of [
  ["lazily", lazyPrograms],
  ["eagerly", eagerPrograms],
] as const) {
  for (const name of programs) {
    test(`${name}: dumped by CRIU, restored ${mode}, finds everything as it was`, limit, async () => {
      const restorer = new Restorer();
      try {
        await withProgram(name, async (program) => {
          await withTempDir("restore", async (images) => {
            await dumpWithCriu(program, images);
            const result = await restorer.restore({ imagesDir: images.path, eager: mode === "eagerly" });
            assert.equal(result.pid, program.pid);
            program.go();
            assert.equal(await program.verdict(), "PASS");
            assert.deepEqual(await result.waitExit(), { kind: "exited", code: 0 });
            const report = await result.pages;
            assert.equal(report?.state, mode === "eagerly" ? undefined : "done", report?.error);
          });
        });
      } finally {
        await restorer.close();
      }
    });
  }
}

/** Memory that was mapped for data, all threads' heaps and rings included, KiB. */
function dataKib(): number {
  return Number(/\nVmData:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))?.[1]);
}

test(
  "a resident process restores 100 times without a leak of descriptors, processes, threads or memory",
  limit,
  async () => {
    const images = new TempDir("loop");
    const restorer = new Restorer();
    try {
      await withProgram("heap", async (program) => {
        await dumpWithCriu(program, images);
        const counts = () => ["fd", "task"].map((name) => readdirSync(`/proc/self/${name}`).length);
        let before: number[] = [];
        let beforeKib = 0;
        for (let round = 0; round < 100; round++) {
          const result = await restorer.restore({ imagesDir: images.path });
          // Half of them are ended while pages are missing, the others after the drain.
          if (round % 2 === 0) await result.pages;
          process.kill(result.pid, "SIGKILL");
          assert.deepEqual(await result.waitExit(), { kind: "killed", signal: 9 });
          const report = await result.pages;
          assert.equal(report?.missingPages, 0);
          // After a few rounds everything that is made once is made.
          if (round === 5) before = counts();
          if (round === 20) beforeKib = dataKib();
        }
        assert.deepEqual(counts(), before);
        // What V8 may take meanwhile, and less than a ring of the drain's helper or an image's index in each round.
        assert.ok(dataKib() - beforeKib < 32 * 1024, `${dataKib() - beforeKib} KiB more than after 20 rounds`);
        assert.equal(readdirSync(`/proc/self/task/${process.pid}`).includes("children"), true);
      });
    } finally {
      await restorer.close();
      images[Symbol.dispose]();
    }
  },
);

/** As ps(1) in a loop: the kernel reads the pages of the arguments and of the environment for it. */
const watcher = `
  const { readFileSync } = require("node:fs");
  process.stdin.resume().on("end", () => process.exit());
  const look = () => {
    for (let i = 0; i < 2000; i++) {
      for (const name of ["cmdline", "environ"]) {
        try {
          readFileSync("/proc/" + process.argv[1] + "/" + name);
        } catch (error) {
          if (!["ENOENT", "ESRCH"].includes(error.code)) throw error; // between two restores there is no such process
        }
      }
    }
    setImmediate(look);
  };
  look();
`;

test("a process whose arguments are looked at while it is made still finds its stack as it was", limit, async () => {
  const restorer = new Restorer();
  try {
    await withProgram("pipes", async (program) => {
      await withTempDir("restore", async (images) => {
        const read = (name: string): string => readFileSync(`/proc/${program.pid}/${name}`, "latin1");
        const before = [read("cmdline"), read("environ")];
        await dumpWithCriu(program, images);
        const looking = spawn(process.execPath, ["-e", watcher, String(program.pid)], {
          stdio: ["pipe", "ignore", "inherit"],
        });
        try {
          for (let round = 0; round < 10; round++) {
            const result = await restorer.restore({ imagesDir: images.path });
            await result.pages;
            assert.deepEqual([read("cmdline"), read("environ")], before);
            process.kill(program.pid, "SIGKILL");
            await result.waitExit();
          }
        } finally {
          const ended = once(looking, "exit");
          looking.stdin.end();
          assert.deepEqual(await ended, [0, null]);
        }
      });
    });
  } finally {
    await restorer.close();
  }
});

test("a warm-up for a directory makes nothing, and says what a restore of it would refuse", limit, async () => {
  await withProgram("pipes", async (program) => {
    await withTempDir("restore", async (images) => {
      await dumpWithCriu(program, images);
      const restorer = new Restorer();
      try {
        assert.throws(() => restorer.warmUp([images.join("none")]), /no such image directory/);
        restorer.warmUp([images.path]);
        await restorer.pager();
        assert.ok(!existsSync(`/proc/${program.pid}`));
        const result = await restorer.restore({ imagesDir: images.path });
        program.go();
        assert.equal(await program.verdict(), "PASS");
        await result.waitExit();
        await result.pages;
      } finally {
        await restorer.close();
      }
    });
  });
});
