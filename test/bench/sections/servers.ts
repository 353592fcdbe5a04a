// From the command to the first answer of a real server: redis, node and python with realistic data.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Restorer } from "../../../src/task/restore/restore";
import { criuBinary, criuErrors } from "../../support/criu";
import { type Aim, digits, type Section, type SectionResult } from "../report/result";
import { median } from "../report/statistics";
import { dropFromCache } from "../support/coldStorage";
import { Daemon, daemons, faultline } from "../support/daemon";
import { formOf } from "../support/forms";
import { clockMs } from "../support/heap";
import { Server, type ServerKind } from "../support/server";
import { Service } from "../support/service";

interface Sample {
  /** Until the tree runs, as the restorer says; NaN where it does not say. */
  readonly runsMs: number;
  readonly answerMs: number;
}

type Restore = (server: Server) => Promise<{ runsAtMs: number; settle(): Promise<unknown> }>;

function resident(restorer: Restorer, packed: boolean): Restore {
  return async (server) => {
    const result = await restorer.restore({ imagesDir: formOf(server.images.path, packed) });
    return { runsAtMs: clockMs(), settle: async () => Promise.all([result.pages, result.waitExit()]) };
  };
}

/** Asked by curl, as a platform would. */
function served(service: Service, packed: boolean): Restore {
  return async (server) => {
    const { id, runsAtMs } = await service.restore({ directory: formOf(server.images.path, packed) });
    return { runsAtMs, settle: () => service.kill(id) };
  };
}

function command(packed: boolean, options: readonly string[]): Restore {
  return async (server) => {
    const args = ["restore", "-D", formOf(server.images.path, packed), "--json", ...options];
    const child = spawn(faultline, args, { stdio: ["ignore", "pipe", "inherit"] });
    const closed = new Promise<void>((done) => child.once("close", () => done()));
    await new Promise<void>((done, fail) => {
      child.stdout.on("data", (chunk: Buffer) => chunk.includes('"event":"running"') && done());
      child.once("close", (code) => fail(new Error(`faultline restore exited with ${code}`)));
    });
    return { runsAtMs: clockMs(), settle: () => closed };
  };
}

function criu(lazy: boolean): Restore {
  return async (server) => {
    const dir = server.images.path;
    rmSync(join(dir, "lazy-pages.socket"), { force: true });
    const daemon = lazy ? new Daemon(daemons.criu, dir) : undefined;
    await daemon?.listening();
    const args = ["restore", "-d", "-D", dir, "-o", "restore.log", "-v1", ...(lazy ? ["--lazy-pages"] : [])];
    const child = spawn(criuBinary, args, { stdio: "ignore" });
    const code = await new Promise<number | null>((done) => child.once("exit", done));
    if (code !== 0) throw new Error(`criu restore failed: ${criuErrors(join(dir, "restore.log"))}`);
    return { runsAtMs: clockMs(), settle: async () => daemon?.stop() };
  };
}

async function measureOne(server: Server, restore: Restore, cold = false): Promise<Sample> {
  if (cold) await dropFromCache(server.images.path);
  const { firstAnswerMs } = await server.asking();
  const start = clockMs();
  const { runsAtMs, settle } = await restore(server);
  const answerMs = (await firstAnswerMs) - start;
  await server.kill();
  await settle();
  return { runsMs: runsAtMs - start, answerMs };
}

const kinds: Record<ServerKind, { full: number; quick: number }> = {
  redis: { full: 600_000, quick: 100_000 },
  node: { full: 150_000, quick: 30_000 },
  python: { full: 100_000, quick: 30_000 },
};

/** Restored with the images out of the page cache too. */
const coldSubjects = ["faultline serve, raw", "faultline serve, packed", "criu, lazy", "criu, eager"];
const coldName = (name: string) => `${name}, cold cache`;

type Results = Map<ServerKind, Map<string, Sample[]>>;

export const servers: Section = {
  name: "servers",
  async measure({ quick, say }) {
    const restorer = new Restorer().warmUp();
    const service = await Service.start();
    const subjects: Record<string, Restore> = {
      "faultline resident, raw": resident(restorer, false),
      "faultline resident, packed": resident(restorer, true),
      "faultline serve, raw": served(service, false),
      "faultline serve, packed": served(service, true),
      "faultline command, raw": command(false, []),
      "faultline command, packed": command(true, []),
      "faultline command, eager, raw": command(false, ["--eager"]),
      "criu, lazy": criu(true),
      "criu, eager": criu(false),
    };
    const results: Results = new Map();
    try {
      for (const [kind, keys] of Object.entries(kinds) as [ServerKind, { full: number; quick: number }][]) {
        say(kind);
        results.set(kind, await measureKind(kind, quick ? keys.quick : keys.full, quick ? 2 : 7, subjects));
      }
    } finally {
      await restorer.close();
      await service.end();
    }
    return describe(results);
  },
};

/** Another one first in each round: whoever comes first finds the processor's caches full of what others left. */
function rotated<T>(list: readonly T[], by: number): T[] {
  const first = by % list.length;
  return [...list.slice(first), ...list.slice(0, first)];
}

async function measureKind(
  kind: ServerKind,
  keys: number,
  rounds: number,
  subjects: Record<string, Restore>,
): Promise<Map<string, Sample[]>> {
  const rows = new Map<string, Sample[]>(Object.keys(subjects).map((name) => [name, []]));
  for (const name of coldSubjects) rows.set(coldName(name), []);
  const server = await Server.start(kind, keys);
  try {
    await server.dump();
    for (const [name, restore] of Object.entries(subjects)) {
      // That means: has restored before. Twice, as images that were just written are planned once more the next time.
      for (let round = 0; /resident|serve/.test(name) && round < 2; round++) await measureOne(server, restore);
    }
    for (let round = 0; round < rounds; round++) {
      for (const [name, restore] of rotated(Object.entries(subjects), round)) {
        rows.get(name)!.push(await measureOne(server, restore));
      }
      for (const name of coldSubjects) {
        rows.get(coldName(name))!.push(await measureOne(server, subjects[name]!, true));
      }
    }
  } finally {
    await server.end();
  }
  return rows;
}

function describe(results: Results): SectionResult {
  const names = [...results.get("redis")!.keys()];
  const tables = (["answerMs", "runsMs"] as const).map((key) => ({
    title:
      key === "answerMs"
        ? "Command to first answer, ms (median and slowest)"
        : "Until the restorer says that the tree runs, ms",
    columns: ["restorer", ...[...results.keys()].flatMap((kind) => [kind, "slowest"])],
    rows: names.map((name) => [
      name,
      ...[...results.values()].flatMap((rows) => {
        const each = rows.get(name)!.map((sample) => sample[key]);
        return [digits(median(each)), digits(Math.max(...each))];
      }),
    ]),
  }));
  const plots = [...results].map(([kind, rows]) => ({
    kind: "bars" as const,
    title: `Command to first answer: ${kind}`,
    unit: "ms",
    logarithmic: false,
    bars: [...rows].map(([label, each]) => ({
      label,
      value: median(each.map((sample) => sample.answerMs)),
      ours: label.startsWith("faultline"),
    })),
  }));
  const about =
    "Each server holds JSON records, is dumped once and restored again and again; a C program tries to connect every 0.3 ms " +
    "from before the restore and notes when the first byte of an answer comes. *Resident*: class `Restorer` in the measuring " +
    "process; *serve*: `faultline serve` asked by curl; *command*: Node's start included. The page cache is warm, where nothing " +
    "else is said. *Resident* and *serve* have restored the directory twice before. Each round begins with another restorer. The times until the tree runs are as the restorer's caller sees them.";
  const raw = Object.fromEntries([...results].map(([kind, rows]) => [kind, Object.fromEntries(rows)]));
  return { name: "servers", title: "First answer of a server", about, tables, plots, aims: serverAims(results), raw };
}

function serverAims(results: Results): Aim[] {
  const runs = (kind: ServerKind) =>
    results
      .get(kind)!
      .get("faultline resident, raw")!
      .map((sample) => sample.runsMs);
  const [node, redis] = [median(runs("node")), median(runs("redis"))];
  return [
    {
      aim: "a resident process restores node and redis until they run in 5 ms",
      measured: `node ${digits(node)} ms, redis ${digits(redis)} ms`,
      met: node <= 5 && redis <= 5,
      why: "see *How long it takes* in restore.md: `npm run bench:restore` measures it in a process that does nothing else",
    },
  ];
}
