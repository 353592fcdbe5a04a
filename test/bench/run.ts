// The benchmark: measures the named sections (all without a name), keeps their data in docs/bench, and writes
// docs/BENCHMARKS.md and docs/benchmarks.html from all that is kept.
//   npm run bench [-- [--quick] [--documents] [SECTION ...]]
// --quick: fewer and smaller rounds. --documents: measures nothing, only writes the documents.
import { machineFacts } from "./report/machine";
import { keep, writeDocuments } from "./report/record";
import type { Section } from "./report/result";
import { drain } from "./sections/drain";
import { dumps } from "./sections/dump";
import { faults } from "./sections/faults";
import { pager } from "./sections/pager";
import { redis } from "./sections/redis";
import { restore } from "./sections/restore";
import { scale } from "./sections/scale";
import { servers } from "./sections/servers";
import { storage } from "./sections/storage";
import { workingSet } from "./sections/workingSet";

const sections: readonly Section[] = [faults, drain, restore, servers, redis, storage, workingSet, dumps, pager, scale];
/** In the order of the documents. */
const names = sections.map((section) => section.name);

async function measure(section: Section, quick: boolean): Promise<void> {
  const start = performance.now();
  const say = (line: string) => process.stderr.write(`${section.name}: ${line}\n`);
  const result = await section.measure({ quick, say });
  const seconds = (performance.now() - start) / 1000;
  keep({ ...result, machine: machineFacts(), quick, seconds });
  for (const aim of result.aims) say(`${aim.met ? "met" : "missed"}: ${aim.aim} (${aim.measured})`);
  say(`${seconds.toFixed(1)} s`);
}

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const wanted = words.filter((word) => !word.startsWith("--"));
  const unknown = words.filter((word) => word.startsWith("--") && !["--quick", "--documents"].includes(word));
  for (const name of wanted) if (!sections.some((section) => section.name === name)) unknown.push(name);
  if (unknown.length > 0) {
    process.stderr.write(`unknown: ${unknown.join(", ")}; sections: ${sections.map(({ name }) => name).join(", ")}\n`);
    process.exitCode = 2;
    return;
  }
  const chosen = sections.filter((section) => wanted.length === 0 || wanted.includes(section.name));
  for (const section of words.includes("--documents") ? [] : chosen) await measure(section, words.includes("--quick"));
  writeDocuments(names);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
