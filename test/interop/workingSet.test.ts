// Recorded working sets with real servers: the next restore has hardly a fault left, and a recording of something else
// changes nothing but time.
import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { encodeWorkingSet, mergeWorkingSet, readWorkingSet, workingSetName } from "../../src/images/workingSet";
import type { SessionReport } from "../../src/pager/requests";
import { dumpServer, RestoredServer, type ServerKind, serverKinds } from "../support/servers";
import { type TempDir, withTempDir } from "../support/tempdir";

async function restored(
  kind: ServerKind,
  dir: TempDir,
  answers: readonly string[],
  options: readonly string[],
  warning?: RegExp,
): Promise<SessionReport> {
  const server = await RestoredServer.start(kind, dir.join("socket"), dir.join("images"), options);
  try {
    if (options.includes("--stay-lazy")) await server.settled();
    assert.deepEqual(await server.askAll(), answers);
    if (warning === undefined) assert.equal(server.messages, "");
    else assert.match(server.messages, warning);
  } finally {
    await server.end();
  }
  return await server.end();
}

for (const kind of serverKinds) {
  test(`${kind}: with the working set of one recorded restore, the next has at most 5 % of its faults`, async () => {
    await withTempDir("workingset", async (dir) => {
      const { answers, pid } = await dumpServer(kind, dir.join("socket"), dir.join("images"));
      const lazy = await restored(kind, dir, answers, ["--stay-lazy", "--no-working-set"]);
      const first = await restored(kind, dir, answers, ["--stay-lazy", "--record"]);
      assert.ok(existsSync(dir.join("images", workingSetName(pid))));
      const second = await restored(kind, dir, answers, ["--stay-lazy"]);
      assert.ok(second.faults <= first.faults * 0.05, `${first.faults} faults, then ${second.faults}`);
      assert.ok(second.faults <= lazy.faults * 0.05, `${lazy.faults} faults, then ${second.faults}`);
    });
  });
}

test("a recording that is damaged, of another program, random or of everything gives the same answers", async () => {
  await withTempDir("workingset", async (dir) => {
    const { answers, pid } = await dumpServer("redis", dir.join("socket"), dir.join("images"));
    const file = dir.join("images", workingSetName(pid));
    const use = (bytes: Uint8Array, warning?: RegExp) => {
      writeFileSync(file, bytes);
      return restored("redis", dir, answers, [], warning);
    };
    const report = await use(
      Buffer.from("nothing of the kind"),
      /^faultline: warning: the working set is not used: [^\n]+\n$/,
    );
    assert.equal(report.prefetchedPages, 0);
    rmSync(file);
    await restored("redis", dir, answers, ["--stay-lazy", "--record"]);
    const right = readWorkingSet(dir.join("images"), pid)!;
    const shifted = right.ranges.map((range) => ({ ...range, firstPage: range.firstPage + 3 }));
    await use(encodeWorkingSet({ ...right, ranges: shifted }));
    const random = Array.from({ length: 3000 }, () => Math.floor(Math.random() * 2 ** 35));
    assert.equal((await use(encodeWorkingSet(mergeWorkingSet(undefined, random)))).state, "done");
    const everything = [{ firstPage: 0, pageCount: 2 ** 20, runs: 1, bucket: 0 }, ...right.ranges];
    const all = right.ranges.map(({ firstPage }) => ({ firstPage, pageCount: 4000, runs: 1, bucket: 0 }));
    await use(encodeWorkingSet({ runCount: 1, ranges: [...everything, ...all] }));
  });
});

test("--no-working-set leaves a recorded set alone", async () => {
  await withTempDir("workingset", async (dir) => {
    const { answers } = await dumpServer("redis", dir.join("socket"), dir.join("images"));
    await restored("redis", dir, answers, ["--stay-lazy", "--record"]);
    const report = await restored("redis", dir, answers, ["--stay-lazy", "--no-working-set"]);
    assert.equal(report.prefetchedPages, 0);
    assert.ok(report.faults > 50);
  });
});
