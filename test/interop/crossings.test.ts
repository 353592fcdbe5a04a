// Holds what docs/compatibility.md promises: every crossing with Faultline that it marks "yes" is made again and must pass.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { repositoryRoot } from "../support/program";
import { cross, crossAll, everyProgram, faultlineWays, type Outcome } from "./crossing";
import { promises, renderTable, steadyReason } from "./table";

const promised = promises(readFileSync(join(repositoryRoot, "docs", "compatibility.md"), "utf8"));

for (const way of faultlineWays) {
  test(`${way.label}: every program that the table promises passes`, async () => {
    const names = promised.filter((one) => one.way === way.label).map((one) => one.program);
    const programs = everyProgram().filter((facts) => names.includes(facts.name));
    assert.deepEqual(programs.map((facts) => facts.name).sort(), names.sort(), "the table names programs that exist");
    const outcomes = await crossAll(programs, [way], Math.min(2, cpus().length), () => {});
    assert.deepEqual(
      outcomes.filter((outcome) => !outcome.passed),
      [],
    );
  });
}

test("a crossing whose program fails is reported as failed, with the program's reason", async () => {
  const facts = everyProgram().find((one) => one.name === "heap")!;
  const broken = {
    name: "criu" as const,
    dump: () => Promise.reject(new Error("first line\nsecond line")),
    restore: () => Promise.reject(new Error("never")),
  };
  const outcome = await cross(facts, { label: "broken", from: broken, to: broken, lazy: false });
  assert.deepEqual(outcome, {
    program: "heap",
    way: "broken",
    verdict: "dump: first line | second line",
    passed: false,
  });
});

test("the table promises what passed and nothing else", () => {
  const facts = everyProgram().filter((one) => one.name === "heap" || one.name === "pipes");
  const outcomes: Outcome[] = [
    { program: "heap", way: "Faultline→CRIU, lazy", verdict: "PASS", passed: true },
    { program: "heap", way: "Faultline→CRIU, eager", verdict: "FAIL heap.c:1: page 3", passed: false },
  ];
  const table = renderTable(facts, outcomes);
  assert.deepEqual(promises(table), [{ program: "heap", way: "Faultline→CRIU, lazy" }]);
  assert.match(table, /- `heap`, Faultline→CRIU, eager: FAIL heap\.c:1: page 3/);
});

test("reasons are the same from run to run", () => {
  assert.equal(
    steadyReason("restore: pid 12345: open /tmp/faultline-root-Jm72aw/jail | x"),
    "restore: pid N: open SCRATCH/jail ; x",
  );
});
