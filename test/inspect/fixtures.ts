// The three fixtures and crit's own decoding of them, for tests that compare answers with facts from elsewhere.
import { closeSync, cpSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import { repositoryRoot } from "../support/program";

export const fixtureNames = ["patchwork", "python-http", "redis"] as const;
export type FixtureName = (typeof fixtureNames)[number];

export function fixtureImages(name: FixtureName): string {
  return join(repositoryRoot, "test", "fixtures", name, "images");
}

/** The entries of an image file as crit decoded it. 64-bit numbers beyond 2^53 are inexact; addresses are strings. */
export function critEntries<T>(name: FixtureName, image: string): T[] {
  const file = join(repositoryRoot, "test", "fixtures", name, "crit", `${image}.json`);
  return (JSON.parse(readFileSync(file, "utf8")) as { entries: T[] }).entries;
}

export interface CritTask {
  readonly pid: number;
  readonly ppid: number;
  readonly threads: readonly number[];
}

export interface CritVma {
  readonly start: string;
  readonly end: string;
  readonly pgoff: number;
  readonly shmid: number;
  readonly prot: string;
  readonly flags: string;
  readonly status: string;
}

export interface CritRun {
  readonly vaddr: string;
  readonly nr_pages: number;
  readonly flags: string;
}

/** The pagemap's runs with the page of pages-N.img that each begins at. */
export function critRuns(
  name: FixtureName,
  image: string,
): { pagesId: number; runs: (CritRun & { filePage: number })[] } {
  const [head, ...runs] = critEntries<CritRun & { pages_id: number }>(name, image);
  let filePage = 0;
  const placed = runs.map((run) => {
    const here = { ...run, filePage };
    if (run.flags.includes("PE_PRESENT")) filePage += run.nr_pages;
    return here;
  });
  return { pagesId: head!.pages_id, runs: placed };
}

/** Copies a fixture's images to the new directory `to` with every pages-N.img packed; gives `to`. */
export async function packedCopy(name: FixtureName, to: string): Promise<string> {
  cpSync(fixtureImages(name), to, { recursive: true });
  for (const image of readdirSync(to).filter((file) => file.startsWith("pagemap-"))) {
    const { pagesId, runs } = critRuns(name, image);
    const raw = join(to, `pages-${pagesId}.img`);
    const writer = await PackedPagesWriter.create(join(to, `pagez-${pagesId}.img`));
    const fd = openSync(raw, "r");
    for (const run of runs) {
      if (run.flags.includes("PE_PRESENT")) await writer.addFileRun(fd, run.filePage * 4096, run.nr_pages);
    }
    await writer.finish();
    closeSync(fd);
    rmSync(raw);
  }
  return to;
}
