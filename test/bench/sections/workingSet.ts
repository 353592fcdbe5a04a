// The recorded working set on real servers: how many demand faults the next restore is spared, and the first answer with
// nothing of the images in the page cache, with it and without, for raw, packed, and packed by working set.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { packDirectory } from "../../../src/images/pack";
import { readWorkingSet, workingSetName } from "../../../src/images/workingSet";
import { Restorer } from "../../../src/task/restore/restore";
import { type Aim, digits, type Plot, type Section, type SectionResult, type Table, times } from "../report/result";
import { median, pairedRatio } from "../report/statistics";
import { dropFromCache, SlowDisk } from "../support/coldStorage";
import { clockMs, soon } from "../support/heap";
import { Server, type ServerKind } from "../support/server";
import { Service } from "../support/service";

const forms = ["raw", "packed", "packed by working set"] as const;
type Form = (typeof forms)[number];
const storages = ["cold", "cold, slow disk"] as const;
type Storage = (typeof storages)[number];

interface Pair {
  readonly withoutMs: number[];
  readonly withMs: number[];
}

interface Faults {
  readonly without: number[];
  readonly with: number[];
  readonly prefetchedPages: number[];
}

interface Measured {
  readonly faults: Faults;
  readonly recordedPages: number;
  readonly missingPages: number;
  readonly answers: Map<string, Pair>;
}

const keys: Record<ServerKind, { full: number; quick: number }> = {
  redis: { full: 600_000, quick: 100_000 },
  node: { full: 150_000, quick: 30_000 },
  python: { full: 100_000, quick: 30_000 },
};

/** Further requests that both restores answer while their faults are counted. */
const moreRequests = 30;

export const workingSet: Section = {
  name: "workingset",
  async measure({ quick, say }) {
    const results = new Map<ServerKind, Measured>();
    for (const [kind, count] of Object.entries(keys) as [ServerKind, { full: number; quick: number }][]) {
      say(kind);
      results.set(kind, await measureKind(kind, quick ? count.quick : count.full, quick ? 2 : 7));
    }
    return describe(results);
  },
};

async function measureKind(kind: ServerKind, count: number, rounds: number): Promise<Measured> {
  const disk = SlowDisk.make(2048);
  try {
    const server = await Server.start(kind, count, disk.path);
    try {
      await server.dump(false);
      const { faults, missingPages } = await countFaults(server, Math.min(rounds, 3));
      const ranges = readWorkingSet(server.images.path, server.pid)!.ranges;
      const recordedPages = ranges.reduce((sum, range) => sum + range.pageCount, 0);
      const answers = await firstAnswers(server, await allForms(server), disk, rounds);
      return { faults, recordedPages, missingPages, answers };
    } finally {
      await server.end();
    }
  } finally {
    disk.remove();
  }
}

/** Directories on the same disk. */
async function allForms(server: Server): Promise<Map<Form, string>> {
  const raw = server.images.path;
  const directories = new Map<Form, string>();
  for (const form of ["packed", "packed by working set"] as const) {
    const copy = join(raw, form.replaceAll(" ", "-"));
    await packDirectory(raw, { output: copy, byWorkingSet: form !== "packed" });
    directories.set(form, copy);
  }
  return directories.set("raw", raw);
}

/** Stays lazy: without the drain, every page that is touched is a fault or was brought by the working set. */
async function countFaults(server: Server, rounds: number): Promise<{ faults: Faults; missingPages: number }> {
  const restorer = new Restorer({ stayLazy: true }).warmUp();
  const imagesDir = server.images.path;
  const faults: Faults = { without: [], with: [], prefetchedPages: [] };
  let missingPages = 0;
  const restore = async (options: { record?: boolean; workingSet?: boolean }) => {
    const result = await restorer.restore({ imagesDir, ...options });
    missingPages = result.missingPages;
    await server.answered();
    await server.ask(moreRequests);
    await server.kill();
    await result.waitExit();
    return (await result.pages)!;
  };
  try {
    await restore({ record: true });
    await soon("the recording", () => existsSync(join(imagesDir, workingSetName(server.pid))));
    for (let round = 0; round < rounds; round++) {
      faults.without.push((await restore({ workingSet: false })).faults);
      const report = await restore({});
      faults.with.push(report.faults);
      faults.prefetchedPages.push(report.prefetchedPages);
    }
  } finally {
    await restorer.close();
  }
  return { faults, missingPages };
}

async function firstAnswers(
  server: Server,
  directories: Map<Form, string>,
  disk: SlowDisk,
  rounds: number,
): Promise<Map<string, Pair>> {
  const answers = new Map<string, Pair>();
  for (const storage of storages) {
    const service = await Service.start([], storage === "cold" ? undefined : disk);
    try {
      const one = (directory: string, wanted: boolean) => firstAnswer(server, service, directory, wanted);
      for (const directory of directories.values()) await one(directory, true); // resident: has restored before
      for (let round = 0; round < rounds; round++) {
        for (const form of forms) {
          const directory = directories.get(form)!;
          const pair = answers.get(`${form}, ${storage}`) ?? { withoutMs: [], withMs: [] };
          answers.set(`${form}, ${storage}`, pair);
          pair.withoutMs.push(await one(directory, false));
          pair.withMs.push(await one(directory, true));
        }
      }
    } finally {
      await service.end();
    }
  }
  return answers;
}

/** From the request by curl to the first byte of the server's first answer. */
async function firstAnswer(server: Server, service: Service, directory: string, wanted: boolean): Promise<number> {
  await dropFromCache(directory);
  const { firstAnswerMs } = await server.asking();
  const start = clockMs();
  const { id } = await service.restore({ directory, workingSet: wanted });
  const answerMs = (await firstAnswerMs) - start;
  await service.kill(id);
  return answerMs;
}

function ratio({ withoutMs, withMs }: Pair): number {
  return pairedRatio(withoutMs, withMs);
}

function spared({ without, with: rest }: Faults): number {
  return 1 - median(rest) / median(without);
}

function describe(results: Map<ServerKind, Measured>): SectionResult {
  const about =
    "Servers that hold JSON records, restored by `faultline serve`, asked by curl. *Faults*: a restore that stays lazy answers " +
    `the same ${moreRequests + 1} requests with and without the set that one such restore recorded. *First answer*: from the ` +
    "request by curl to the first byte of the server's first answer, the images out of the page cache before each restore, the " +
    "drain as ever, with and without in turns; *slow disk*: at most 100 MB and 1000 reads a second.";
  const title = "The working set";
  const raw = Object.fromEntries(
    [...results].map(([kind, { answers, ...rest }]) => [kind, { ...rest, answers: Object.fromEntries(answers) }]),
  );
  const tables = [faultTable(results), ...[...results].map(([kind, measured]) => answerTable(kind, measured))];
  const plots = [...results].map(([kind, measured]) => answerPlot(kind, measured));
  return { name: "workingset", title, about, tables, plots, aims: workingSetAims(results), raw };
}

function faultTable(results: Map<ServerKind, Measured>): Table {
  return {
    title: "Demand faults of a restore that stays lazy",
    columns: ["server", "without", "with", "spared", "recorded pages", "of missing pages"],
    rows: [...results].map(([kind, { faults, recordedPages, missingPages }]) => [
      kind,
      digits(median(faults.without)),
      digits(median(faults.with)),
      `${(100 * spared(faults)).toFixed(1)} %`,
      recordedPages,
      missingPages,
    ]),
  };
}

function answerTable(kind: ServerKind, { answers }: Measured): Table {
  return {
    title: `${kind}: request to first answer, ms`,
    columns: ["images", "without", "slowest", "with", "slowest", "without / with"],
    rows: [...answers].map(([name, pair]) => [
      name,
      digits(median(pair.withoutMs)),
      digits(Math.max(...pair.withoutMs)),
      digits(median(pair.withMs)),
      digits(Math.max(...pair.withMs)),
      times(ratio(pair)),
    ]),
  };
}

function answerPlot(kind: ServerKind, { answers }: Measured): Plot {
  const bars = [...answers].flatMap(([name, { withoutMs, withMs }]) => [
    { label: `${name}: without`, value: median(withoutMs), ours: false },
    { label: `${name}: with`, value: median(withMs), ours: true },
  ]);
  return { kind: "bars", title: `First answer of ${kind}`, unit: "ms", logarithmic: false, bars };
}

function workingSetAims(results: Map<ServerKind, Measured>): Aim[] {
  const shares = [...results].map(([kind, { faults }]) => ({ kind, share: spared(faults) }));
  const best = (storage: Storage) =>
    [...results].map(([kind, { answers }]) => ({
      kind,
      // The form that the set is for, against the same pages packed without it.
      ratio: pairedRatio(answers.get(`packed, ${storage}`)!.withoutMs, answers.get(`${forms[2]}, ${storage}`)!.withMs),
    }));
  const [plain, slow] = [best("cold"), best("cold, slow disk")];
  const said = (each: { kind: ServerKind; ratio: number }[]) =>
    each.map((one) => `${one.kind} ${times(one.ratio)}`).join(", ");
  return [
    {
      aim: "with a recorded working set at least 95 % of the demand faults are gone",
      measured: shares.map(({ kind, share }) => `${kind} ${(100 * share).toFixed(1)} %`).join(", "),
      met: shares.every(({ share }) => share >= 0.95),
      why:
        "what is left are pages that the same requests did not touch in the restore that recorded: what a server does by the clock, such " +
        "as moving its records to a larger table, differs from one restore to the next",
    },
    {
      aim: "first answer with a cold cache at least twice as fast with the working set (packed by it, against packed without)",
      measured: `slow disk: ${said(slow)}; this machine's disk: ${said(plain)}`,
      met: slow.every((one) => one.ratio >= 2),
      why:
        "the restore itself, before the first page, takes a part that no working set shortens; where the disk is fast, or a server " +
        "touches as little before its first answer as redis does, that part is most of it",
    },
  ];
}
