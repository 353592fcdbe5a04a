// Real software, dumped while busy and checked afterwards: scripts that check themselves, through the crossings with
// Faultline that come up in practice. Servers that the test itself drives from outside: see servers.test.ts.
// Those that hold a terminal: see crossings.test.ts, where one program at a time does.
import assert from "node:assert/strict";
import { test } from "node:test";
import { cross, everySoftware, faultlineWays, type Way } from "./crossing";

const alone = (way: Way) => way.label.startsWith("Faultline→Faultline");

for (const facts of everySoftware().filter((one) => one.alone === undefined)) {
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
