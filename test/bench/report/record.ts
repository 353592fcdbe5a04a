// Keeps sections as docs/bench/NAME.json, and writes the tables and the page from all that are kept.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../../support/program";
import { markdown } from "./markdown";
import { page } from "./page";
import type { RecordedSection } from "./result";

const docs = join(repositoryRoot, "docs");
const folder = join(docs, "bench");

export function keep(section: RecordedSection): void {
  mkdirSync(folder, { recursive: true });
  const text = JSON.stringify(section, (_key, value) => (typeof value === "number" ? rounded(value) : value), 1);
  // Lists of numbers on one line each: a diff of two runs stays readable.
  const compact = text.replace(
    /\[\s+((?:-?[\d.e+-]+,?\s*)+)\]/g,
    (_all, list: string) => `[${list.replace(/\s+/g, " ").trim()}]`,
  );
  writeFileSync(join(folder, `${section.name}.json`), `${compact}\n`);
}

function rounded(value: number): number {
  return Number(value.toPrecision(6));
}

/** The kept sections, in the order of `names`; those that were never measured are left out. */
export function kept(names: readonly string[]): RecordedSection[] {
  const files = names.map((name) => join(folder, `${name}.json`)).filter((file) => existsSync(file));
  return files.map((file) => JSON.parse(readFileSync(file, "utf8")) as RecordedSection);
}

export function writeDocuments(names: readonly string[]): void {
  const sections = kept(names);
  writeFileSync(join(docs, "BENCHMARKS.md"), markdown(sections));
  writeFileSync(join(docs, "benchmarks.html"), page(sections));
}
