// Holds that a trace of a real restore can be replayed: the same faults and layout changes against the same images, with
// every byte compared; and that the comparison notices a wrong byte.
import assert from "node:assert/strict";
import { closeSync, openSync, writeSync } from "node:fs";
import { test } from "node:test";
import { ImageDirectory } from "../../src/images/directory";
import { replay } from "../bench/replay/run";
import { follow, readTrace } from "../bench/replay/trace";
import { criuDump, criuRestore, runCommand } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { type Program, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";

/** Restores `name` lazily with a trace, and runs `body` on trace and images. */
async function recorded(name: string, body: (program: Program, images: TempDir, trace: string) => Promise<void>) {
  await withTempDir("replay", (images) =>
    withProgram(name, async (program) => {
      await criuDump(program.pid, images.path);
      await program.gone();
      const trace = images.join("trace.jsonl");
      const daemon = await FaultlineLazyPages.start(images.path, ["--stay-lazy", "--trace", trace]);
      try {
        await criuRestore(images.path, [], true);
        program.go();
        assert.equal(await program.verdict(), "PASS", daemon.messages);
        await daemon.finished();
      } finally {
        await daemon.stop();
      }
      await body(program, images, trace);
    }),
  );
}

test("forks, moves, removes and unmaps of a recorded restore happen again, and every page has its bytes", async () => {
  await recorded("lazy_layout", async (_program, images, trace) => {
    const steps = readTrace(trace, 1);
    assert.ok(
      steps.forks > 0 && steps.events > steps.forks && steps.faults > 50,
      JSON.stringify({ ...steps, roots: 0 }),
    );
    const now = await replay(steps, images.path, { stayLazy: true });
    assert.deepEqual(now.wrong, []);
    assert.equal(now.report.state, "done");
    assert.equal(now.report.forks, steps.forks);
    assert.ok(now.right > steps.faults / 2, `${now.right} of ${steps.faults} touches, ${now.notMapped} not mapped`);
    assert.ok(now.waitedUs.length > 20);
  });
});

test("a page whose bytes are others when they are compared is named as wrong", async () => {
  await recorded("random_touches", async (program, images, trace) => {
    const steps = readTrace(trace, 1);
    const touched = steps.roots[0]!.steps.find((step) => step.kind === "read" || step.kind === "write");
    assert.ok(touched !== undefined && "page" in touched);
    // Replayed from pages that were damaged, compared with pages that are whole: here the other way round.
    let damaged = 0;
    const damage = () => {
      using directory = ImageDirectory.open(images.path);
      const found = directory.pageIndex(program.pid).lookup(touched.page);
      assert.equal(found.kind, "block");
      if (found.kind !== "block") return;
      const fd = openSync(found.block.file, "r+");
      writeSync(fd, "damage", found.block.offset + found.skip * 4096);
      closeSync(fd);
      damaged++;
    };
    const now = await replay(steps, images.path, { stayLazy: true }, damage);
    assert.equal(damaged, 1);
    assert.match(now.wrong[0] ?? "", new RegExp(`of page 0x${touched.page.toString(16)} of task ${program.pid}`));
  });
});

test("npm run replay tells what the touches took then and now, in lines or in JSON, and refuses a trace without the session", async () => {
  await recorded("random_touches", async (_program, images, trace) => {
    const run = (...args: string[]) =>
      runCommand(process.execPath, [require.resolve("../bench/replay"), trace, images.path, ...args]);
    const lines = await run();
    assert.equal(lines.status, 0, lines.output);
    assert.match(
      lines.output,
      /^recorded: \d+ faults, .*\nreplayed: \d+ touches, .*\npager: .*\nbytes: +\d+ right, 0 wrong/,
    );
    const json = JSON.parse((await run("--json", "--drain")).output) as { right: number; waited: { p50: number } };
    assert.ok(json.right > 0 && json.waited.p50 > 0);
    const refused = await run("--session", "7");
    assert.equal(refused.status, 2);
    assert.match(refused.output, /^replay: the trace has no task of that session/);
  });
});

test("a descriptor number that a second address space gets after the first has ended is another address space", () => {
  const entry = { us: 0, session: 1, pid: 42, context: 9, page: 5, pages: 1, detail: 0 };
  const { roots } = follow([
    { ...entry, what: "begin" },
    { ...entry, what: "read" },
    { ...entry, what: "fork", detail: 10 },
    { ...entry, context: 10, what: "write" },
    { ...entry, context: 10, what: "end" },
    { ...entry, what: "fork", detail: 10 },
    { ...entry, context: 10, what: "read" },
  ]);
  const [root] = roots;
  assert.deepEqual(
    root!.steps.map((step) => (step.kind === "fork" ? step.child.steps : step.kind)),
    ["read", [{ kind: "write", page: 5 }], [{ kind: "read", page: 5 }]],
  );
});
