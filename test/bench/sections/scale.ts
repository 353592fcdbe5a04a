// Sizes that this machine cannot hold for real: the page index and the layout of address spaces are pure data structures,
// so a million runs, 16 TiB and a thousand processes are simulated. Shows how time and memory grow, not only how large they are.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImageDirectory } from "../../../src/images/directory";
import { encodeImage, writeImage } from "../../../src/images/framing";
import { decodePagemap } from "../../../src/images/pagemap";
import { LAYOUT_ENTRY_NUMBERS, Space } from "../../../src/space/space";
import { type Aim, digits, type LinePlot, type Section, type SectionResult, type Table } from "../report/result";
import { median } from "../report/statistics";

const firstPage = 0x7f0000000;
const lookups = 200_000;

function milliseconds(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

interface IndexSize {
  readonly runs: number;
  readonly openMs: number;
  readonly lookupNs: number;
  readonly keptMb: number;
}

/** A pagemap of separate one-page runs, opened as a directory would be. */
function measureIndex(runs: number): IndexSize {
  const top = mkdtempSync(join(tmpdir(), "faultline-bench-scale-"));
  try {
    const records = Array.from({ length: runs }, (_each, run) => ({
      message: { vaddr: BigInt((firstPage + run * 3) * 4096), compat_nr_pages: 0, nr_pages: 1n, flags: 6 },
    }));
    const file = join(top, "pagemap-1.img");
    writeFileSync(file, encodeImage("PAGEMAP", records, { head: { pages_id: 1 } }));
    writeImage(top, "inventory.img", "INVENTORY", [{ img_version: 2 }]);
    writeFileSync(join(top, "pages-1.img"), "");
    truncateSync(join(top, "pages-1.img"), runs * 4096);
    const opens = [0, 1, 2].map(() => milliseconds(() => decodePagemap(readFileSync(file), file)));
    const { starts, counts, flags, filePages } = decodePagemap(readFileSync(file), file);
    const kept = [starts, counts, flags, filePages].reduce((sum, array) => sum + array.byteLength, 0);
    using directory = ImageDirectory.open(top);
    const index = directory.pageIndex(1);
    let found = 0;
    const lookupMs = milliseconds(() => {
      for (let each = 0; each < lookups; each++) {
        if (index.lookup(firstPage + ((each * 7919) % runs) * 3).kind === "block") found += 1;
      }
    });
    if (found !== lookups) throw new Error(`${found} of ${lookups} pages found`);
    return { runs, openMs: median(opens), lookupNs: (lookupMs * 1e6) / lookups, keptMb: kept / 1e6 };
  } finally {
    rmSync(top, { recursive: true });
  }
}

interface SpaceSize {
  readonly ranges: number;
  readonly buildMs: number;
  readonly lookupNs: number;
  readonly installNs: number;
  readonly nextMissingNs: number;
  readonly forkNs: number;
  readonly megabytes: number;
}

/** `ranges` separate image ranges of `pageCount` pages, `gap` pages apart. */
function layout(ranges: number, pageCount: number, gap: number): Float64Array {
  const entries = new Float64Array(ranges * LAYOUT_ENTRY_NUMBERS);
  for (let at = 0; at < ranges; at++) {
    entries.set([firstPage + at * (pageCount + gap), pageCount, 0, at * pageCount], at * LAYOUT_ENTRY_NUMBERS);
  }
  return entries;
}

function measureSpace(ranges: number, pageCount = 4, gap = 3): SpaceSize {
  const entries = layout(ranges, pageCount, gap);
  let space = Space.empty();
  const buildMs = milliseconds(() => {
    space = Space.from(entries);
  });
  const random = (each: number) => firstPage + ((each * 7919) % ranges) * (pageCount + gap);
  const per = (count: number, work: (each: number) => void) =>
    (milliseconds(() => {
      for (let each = 0; each < count; each++) work(each);
    }) *
      1e6) /
    count;
  const count = 50_000;
  const lookupNs = per(count, (each) => space.at(random(each)));
  const nextMissingNs = per(count, (each) => space.nextMissing(random(each)));
  const forkNs = per(count, () => space.fork());
  const { bytes } = space.measure();
  const installNs = per(count, (each) => space.installed(random(each), 1));
  return { ranges, buildMs, lookupNs, installNs, nextMissingNs, forkNs, megabytes: bytes / 1e6 };
}

interface Processes {
  readonly processes: number;
  readonly forkMs: number;
  readonly forkMb: number;
  readonly changedMb: number;
}

/** Copies of one layout as fork(2) makes them, each then changed a little of its own. */
function measureProcesses(processes: number): Processes {
  const parent = Space.from(layout(1000, 4, 3));
  const before = settledHeapMb();
  const children: Space[] = [];
  const forkMs = milliseconds(() => {
    for (let each = 0; each < processes; each++) children.push(parent.fork());
  });
  const forked = settledHeapMb();
  children.forEach((child, at) => {
    for (let each = 0; each < 10; each++) child.installed(firstPage + ((at * 13 + each * 97) % 1000) * 7, 1);
  });
  const changed = settledHeapMb();
  if (children.some((child) => child.missingPages === parent.missingPages)) throw new Error("a fork did not change");
  return { processes, forkMs, forkMb: forked - before, changedMb: changed - before };
}

function settledHeapMb(): number {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 1e6;
}

export const scale: Section = {
  name: "scale",
  async measure({ quick, say }) {
    say("page index");
    const sizes = quick ? [10_000, 1_000_000] : [1_000, 10_000, 100_000, 1_000_000];
    const indexes = sizes.map(measureIndex);
    say("layouts");
    measureSpace(1000); // compiled before it is measured
    const spaces = sizes.map((ranges) => measureSpace(ranges));
    const sparse = measureSpace(2 ** 16, 1, 2 ** 16 - 1); // 64 Ki single pages over 2^32 pages: 16 TiB
    say("processes");
    const processes = [10, 100, 1000].map(measureProcesses);
    return describe(indexes, spaces, sparse, processes);
  },
};

function describe(
  indexes: readonly IndexSize[],
  spaces: readonly SpaceSize[],
  sparse: SpaceSize,
  processes: readonly Processes[],
): SectionResult {
  const spaceRow = (
    name: string | number,
    { buildMs, lookupNs, installNs, nextMissingNs, forkNs, megabytes }: SpaceSize,
  ) => [name, ...[buildMs, lookupNs, installNs, nextMissingNs, forkNs, megabytes].map(digits)] as const;
  const tables: Table[] = [
    {
      title: "Pagemap of N runs: read and decode, look up one page",
      columns: ["runs", "open ms", "look-up ns", "kept MB", "bytes a run"],
      rows: indexes.map(({ runs, openMs, lookupNs, keptMb }) => [
        runs,
        ...[openMs, lookupNs, keptMb, (keptMb * 1e6) / runs].map(digits),
      ]),
    },
    {
      title: "Layout of N ranges (VMAs or page runs)",
      columns: ["ranges", "build ms", "fault look-up ns", "mark installed ns", "next to drain ns", "fork ns", "MB"],
      rows: [...spaces.map((space) => spaceRow(space.ranges, space)), spaceRow("65536 over 16 TiB", sparse)],
    },
    {
      title: "N processes forked from one layout of 1000 ranges",
      columns: ["processes", "fork all ms", "MB", "MB after 10 changes each"],
      rows: processes.map(({ processes: count, forkMs, forkMb, changedMb }) => [
        count,
        ...[forkMs, forkMb, changedMb].map((value) => digits(Math.max(0, value))),
      ]),
    },
  ];
  const line = (label: string, key: "lookupNs" | "installNs" | "nextMissingNs" | "forkNs") => ({
    label,
    points: spaces.map((space) => [space.ranges, space[key]] as const),
  });
  const plot: LinePlot = {
    kind: "lines",
    title: "One step in a layout of N ranges",
    xLabel: "ranges",
    yLabel: "ns",
    logarithmicX: true,
    logarithmicY: true,
    lines: [
      line("fault look-up", "lookupNs"),
      line("mark installed", "installNs"),
      line("next to drain", "nextMissingNs"),
      line("fork", "forkNs"),
    ],
  };
  const about =
    "The page index and the layout are measured alone, in one process, without a kernel: a fault look-up and the choice " +
    "of what to drain next should grow with the logarithm of the ranges, fork not at all, opening and memory in proportion.";
  const title = "Scale";
  return {
    name: "scale",
    title,
    about,
    tables,
    plots: [plot],
    aims: scaleAims(spaces),
    raw: { indexes, spaces, sparse, processes },
  };
}

function scaleAims(spaces: readonly SpaceSize[]): Aim[] {
  const [small, large] = [spaces[0]!, spaces[spaces.length - 1]!];
  const growth = large.ranges / small.ranges;
  const [lookup, fork] = [large.lookupNs / small.lookupNs, large.forkNs / small.forkNs];
  return [
    {
      aim: "a fault look-up grows like a logarithm, fork not at all",
      measured: `with ${growth}× the ranges: look-up ${lookup.toFixed(1)}×, fork ${fork.toFixed(1)}×`,
      met: lookup < Math.sqrt(growth) && fork < 5,
      why: "measured on a busy machine, where the larger layouts also leave the processor's cache",
    },
  ];
}
