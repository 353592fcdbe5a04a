// `inspect workingset`: what the recorded working sets of a checkpoint say, as data and as text.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ImageDirectory } from "../../src/images/directory";
import { recordWorkingSet } from "../../src/images/workingSet";
import { plainPaint } from "../../src/inspect/textTable";
import { workingSetsText } from "../../src/inspect/textWorkingSets";
import { type WorkingSetSummary, workingSets } from "../../src/inspect/workingSets";
import { repositoryRoot } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { fixtureImages } from "./fixtures";

test("coverage, size and overlap of the recorded runs", async () => {
  await withTempDir("workingset", (dir) => {
    const images = dir.join("images");
    cpSync(fixtureImages("redis"), images, { recursive: true });
    using directory = ImageDirectory.open(images);
    const { pid } = directory.tasks[0]!;
    assert.deepEqual(workingSets(directory, [pid]), []);
    assert.match(workingSetsText([], plainPaint), /no working set/);
    const { firstPage } = directory.pageIndex(pid).run(0);
    const stored = [...directory.pageIndex(pid).runs()].flatMap((run) =>
      Array.from({ length: run.pageCount }, (_, i) => run.firstPage + i),
    );
    recordWorkingSet(images, pid, stored.slice(0, 10));
    recordWorkingSet(images, pid, [...stored.slice(5, 15), firstPage - 1]);
    const [summary] = workingSets(directory, [pid]);
    const { ranges: _, coverage, ...facts } = summary!;
    assert.deepEqual(facts, {
      pid,
      runCount: 2,
      pages: 16,
      storedPages: 15,
      otherPages: 1,
      taskPages: stored.length,
      pagesByRuns: [11, 5],
      runs: [
        { run: 0, pages: 11, sharedWithNewest: 11 },
        { run: 1, pages: 10, sharedWithNewest: 5 },
      ],
    });
    assert.equal(coverage, 15 / stored.length);
    const main = join(repositoryRoot, "dist", "cmd", "faultline.js");
    const run = (...args: string[]) => spawnSync(process.execPath, [main, "inspect", "workingset", images, ...args]);
    assert.deepEqual(JSON.parse(run(String(pid), "--json").stdout.toString()) as WorkingSetSummary[], [summary]);
    assert.match(run().stdout.toString(), /64 KiB in \d+ ranges, from 2 recorded runs/);
    assert.equal(run("4711").status, 1);
  });
});
