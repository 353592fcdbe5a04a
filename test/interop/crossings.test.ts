// Holds what docs/compatibility.md promises, by a fixed sample that fits into a test run: every program that the table marks
// "yes" anywhere crosses once, and the ways take turns. All crossings are made by `npm run compatibility`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { repositoryRoot } from "../support/program";
import { cross, crossAll, everyProgram, everySoftware, faultlineWays, type Outcome } from "./crossing";
import { promises, renderTable, rowsOf, sample, steadyReason } from "./table";

/** What CRIU alone cannot do may pass by luck: there Faultline alone is held to what the table says. */
const beyondCriu = new Set(everyProgram().flatMap(({ name, criuCannot }) => (criuCannot === undefined ? [] : [name])));
const promised = promises(readFileSync(join(repositoryRoot, "docs", "compatibility.md"), "utf8")).filter(
  ({ program, way }) => !beyondCriu.has(program) || !way.includes("CRIU"),
);

for (const way of faultlineWays) {
  const chosen = sample(promised, way.label);
  test(`${way.label}: ${chosen.length} of the crossings that the table promises pass`, async () => {
    assert.notEqual(chosen.length, 0, "the table promises something of every way");
    const programs = everyProgram().filter((facts) => chosen.includes(facts.name));
    assert.deepEqual(programs.map((facts) => facts.name).sort(), chosen.sort(), "the table names programs that exist");
    const outcomes = await crossAll(programs, [way], Math.min(2, cpus().length), () => {});
    assert.deepEqual(
      outcomes.filter((outcome) => !outcome.passed),
      [],
    );
  });
}

// Here and not in software.test.ts: a terminal's number must be free at the restore, so only one file of tests makes any.
for (const facts of everySoftware().filter((one) => one.alone !== undefined)) {
  test(`${facts.name}: ${facts.about}`, async () => {
    const outcomes = [];
    for (const way of faultlineWays.filter((one) => one.lazy)) outcomes.push(await cross(facts, way));
    assert.deepEqual(
      outcomes.filter((outcome) => !outcome.passed),
      [],
    );
  });
}

test("the sample has every program that the table promises anything of, once", () => {
  const sampled = faultlineWays.flatMap((way) => sample(promised, way.label));
  assert.deepEqual(sampled.sort(), [...new Set(promised.map((one) => one.program))].sort());
});

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

test("a table is read back as it was written, so that single rows can be made again", () => {
  const facts = everyProgram().filter((one) => one.name === "heap" || one.name === "pipes");
  const outcomes: Outcome[] = [
    { program: "heap", way: "Faultline→CRIU, lazy", verdict: "PASS", passed: true },
    { program: "heap", way: "Faultline→CRIU, eager", verdict: "FAIL heap.c:1: page 3", passed: false },
    { program: "heap", way: "CRIU→Faultline, eager", verdict: "FAIL heap.c:1: page 3", passed: false },
    { program: "pipes", way: "Faultline→Faultline, lazy", verdict: "dump: no, not this", passed: false },
  ];
  const table = renderTable(facts, outcomes);
  const read = rowsOf(table);
  assert.equal(read.length, outcomes.length);
  for (const outcome of outcomes)
    assert.deepEqual(
      read.filter((one) => one.program === outcome.program && one.way === outcome.way),
      [outcome],
    );
  assert.equal(renderTable(facts, read), table);
});

test("reasons are the same from run to run", () => {
  assert.equal(
    steadyReason("restore: pid 12345: open /tmp/faultline-root-Jm72aw/jail | x"),
    "restore: pid N: open SCRATCH/jail ; x",
  );
});
