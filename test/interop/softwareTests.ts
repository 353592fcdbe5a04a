// One test for each script of test/interop/software: the crossings with Faultline that come up in practice. Those that hold a
// terminal: see crossings.test.ts, where one program at a time does.
import assert from "node:assert/strict";
import { extname } from "node:path";
import { test } from "node:test";
import { cross, everySoftware, faultlineWays, type Way } from "./crossing";

const alone = (way: Way) => way.label.startsWith("Faultline→Faultline");

/** Defines the tests of the scripts with these endings. */
export function testSoftware(endings: readonly string[]): void {
  for (const facts of everySoftware().filter((one) => one.alone === undefined && endings.includes(extname(one.name)))) {
    test(`${facts.name}: ${facts.about}`, async () => {
      const outcomes = [];
      const ways = faultlineWays.filter((way) => alone(way) || (way.lazy && facts.criuCannot === undefined));
      for (const way of ways) outcomes.push(await cross(facts, way));
      assert.deepEqual(
        outcomes.filter((outcome) => !outcome.passed),
        [],
      );
    });
  }
}
