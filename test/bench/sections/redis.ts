// A redis under load while its memory comes in behind it, against the same redis a moment later, with everything there.
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Restorer } from "../../../src/task/restore/restore";
import { criuBinary } from "../../support/criu";
import { type Aim, digits, type Section, type SectionResult, times } from "../report/result";
import { median, pairedRatio } from "../report/statistics";
import { Daemon, daemons } from "../support/daemon";
import { formOf } from "../support/forms";
import { type Load, load, Server } from "../support/server";

interface Sample {
  readonly during: Load;
  readonly after: Load;
  readonly drainedMs: number;
}

type Restore = (server: Server) => Promise<{ drained: Promise<unknown>; settle(): Promise<unknown> }>;

async function ours(server: Server, restorer: Restorer, packed: boolean): ReturnType<Restore> {
  const result = await restorer.restore({ imagesDir: formOf(server.images.path, packed) });
  return { drained: result.pages, settle: () => result.waitExit() };
}

async function criu(server: Server): ReturnType<Restore> {
  const dir = server.images.path;
  rmSync(join(dir, "lazy-pages.socket"), { force: true });
  const daemon = new Daemon(daemons.criu, dir);
  await daemon.listening();
  const args = ["restore", "-d", "--lazy-pages", "-D", dir, "-o", "restore.log", "-v0"];
  await exitOf(spawn(criuBinary, args, { stdio: "ignore" }));
  return { drained: daemon.exited, settle: () => daemon.stop() };
}

function exitOf(child: ChildProcess): Promise<void> {
  return new Promise((done, fail) => {
    child.once("exit", (code) => (code === 0 ? done() : fail(new Error(`criu restore exited with ${code}`))));
  });
}

async function measureOne(server: Server, restore: Restore, windowMs: number): Promise<Sample> {
  const { drained, settle } = await restore(server);
  const from = performance.now();
  const drainedAt = drained.then(() => performance.now());
  // Only what is asked while pages are missing: what follows is the same for all.
  const during = await load(server, drainMsMax, drained);
  const drainedMs = (await drainedAt) - from;
  const after = await load(server, windowMs);
  await server.kill();
  await settle();
  return { during, after, drainedMs };
}

/** A drain under load that takes longer is measured that long. */
const drainMsMax = 20_000;

export const redis: Section = {
  name: "redis",
  async measure({ quick, say }) {
    const [keys, rounds, windowMs] = quick ? [200_000, 3, 500] : [600_000, 7, 1000];
    const restorer = new Restorer().warmUp();
    const subjects: Record<string, Restore> = {
      "faultline, raw": (server) => ours(server, restorer, false),
      "faultline, packed": (server) => ours(server, restorer, true),
      "criu, lazy": criu,
    };
    const results = new Map<string, Sample[]>(Object.keys(subjects).map((name) => [name, []]));
    const server = await Server.start("redis", keys);
    try {
      await server.dump();
      for (let round = 0; round < rounds; round++) {
        say(`round ${round + 1} of ${rounds}`);
        for (const [name, restore] of Object.entries(subjects)) {
          results.get(name)!.push(await measureOne(server, restore, windowMs));
        }
      }
    } finally {
      await restorer.close();
      await server.end();
    }
    return describe(results, keys, windowMs);
  },
};

function describe(results: Map<string, Sample[]>, keys: number, windowMs: number): SectionResult {
  const of = (each: readonly Sample[], part: "during" | "after", key: keyof Load) =>
    digits(median(each.map((sample) => sample[part][key])));
  const table = {
    title: "GET from four connections",
    columns: [
      "restorer",
      "requests/s",
      "p50 µs",
      "p99 µs",
      "max µs",
      "undisturbed: requests/s",
      "p50 µs",
      "p99 µs",
      "drained after ms",
    ],
    rows: [...results].map(([name, each]) => [
      name,
      ...(["perSecond", "p50Us", "p99Us", "maxUs"] as const).map((key) => of(each, "during", key)),
      ...(["perSecond", "p50Us", "p99Us"] as const).map((key) => of(each, "after", key)),
      digits(median(each.map((sample) => sample.drainedMs))),
    ]),
  };
  const bars = [...results].map(([label, each]) => {
    const at = (key: keyof Load) => median(each.map((sample) => sample.during[key]));
    return { label, value: at("p50Us"), high: at("p99Us"), ours: label.startsWith("faultline") };
  });
  const about =
    `A redis with ${keys} JSON records is restored and asked at once by four connections for random keys, one request at a ` +
    `time each, until every page is in; then the same redis again, for ${windowMs} ms (*undisturbed*). Both ` +
    "restorers are asked to restore lazily and to bring the rest as fast as they can.";
  const title = "Redis under load during the drain";
  const plots = [
    {
      kind: "bars",
      title: "GET while the memory comes in: p50, line to p99",
      unit: "µs",
      logarithmic: true,
      bars,
    } as const,
  ];
  return { name: "redis", title, about, tables: [table], plots, aims: redisAims(results), raw: [...results] };
}

function redisAims(results: Map<string, Sample[]>): Aim[] {
  const p99 = (name: string) => results.get(name)!.map((sample) => sample.during.p99Us);
  const ratio = pairedRatio(p99("faultline, raw"), p99("criu, lazy"));
  return [
    {
      aim: "redis p99 during the drain at most half of CRIU's",
      measured: times(ratio),
      met: ratio <= 0.5,
      why:
        "four client threads, redis and the pager share two cores: while it drains, the pager's thread keeps one of them, and a " +
        "request that waits for the other waits longer than one that waits for a page; CRIU's drain is over sooner",
    },
  ];
}
