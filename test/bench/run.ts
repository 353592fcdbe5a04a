// The benchmark: measures the named sections (all without a name), keeps their data in docs/bench, and writes
// docs/BENCHMARKS.md and docs/benchmarks.html from all that is kept.
//   npm run bench [-- [--quick] [--resume] [--documents] [SECTION ...]]
// --quick: fewer and smaller rounds. --resume: leaves out what is kept from this commit already, at least as thoroughly
// measured. --documents: measures nothing, only writes the documents, as each section does when it is done.
import { machineFacts } from "./report/machine";
import { keep, kept, writeDocuments } from "./report/record";
import type { Section } from "./report/result";
import { sections } from "./sections/all";

/** In the order of the documents. */
const names = sections.map((section) => section.name);
const options = ["--quick", "--resume", "--documents"];

async function measure(section: Section, quick: boolean): Promise<void> {
  const start = performance.now();
  const say = (line: string) => process.stderr.write(`${section.name}: ${line}\n`);
  const result = await section.measure({ quick, say });
  const seconds = (performance.now() - start) / 1000;
  keep({ ...result, machine: machineFacts(), quick, seconds });
  for (const aim of result.aims) say(`${aim.met ? "met" : "missed"}: ${aim.aim} (${aim.measured})`);
  say(`${seconds.toFixed(1)} s`);
}

/** Sections that are kept from this commit, and not from a quicker run than this one. */
function keptFromNow(quick: boolean): string[] {
  const { commit } = machineFacts();
  const same = kept(names).filter((section) => section.machine.commit === commit && (quick || !section.quick));
  return same.map((section) => section.name);
}

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const wanted = words.filter((word) => !word.startsWith("--"));
  const unknown = words.filter((word) => word.startsWith("--") && !options.includes(word));
  for (const name of wanted) if (!sections.some((section) => section.name === name)) unknown.push(name);
  if (unknown.length > 0) {
    process.stderr.write(`unknown: ${unknown.join(", ")}; sections: ${sections.map(({ name }) => name).join(", ")}\n`);
    process.exitCode = 2;
    return;
  }
  const chosen = sections.filter((section) => wanted.length === 0 || wanted.includes(section.name));
  const quick = words.includes("--quick");
  const there = words.includes("--resume") ? keptFromNow(quick) : [];
  for (const section of words.includes("--documents") ? [] : chosen) {
    if (there.includes(section.name)) continue;
    await measure(section, quick);
    writeDocuments(names);
  }
  writeDocuments(names);
}

// What a section has mounted is undone at the exit.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
