// Images on slow storage: a disk that gives 100 MB and 1000 reads a second, with nothing of the images in the page cache.
// What a program waits for its touches, and a server for its first answer, while everything is transferred.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { criuBinary, criuErrors, criuRestore } from "../../support/criu";
import { digits, type Section, type SectionResult, type Table } from "../report/result";
import { median } from "../report/statistics";
import { dropFromCache, SlowDisk } from "../support/coldStorage";
import { Daemon, type DaemonKind, daemons } from "../support/daemon";
import { formOf } from "../support/forms";
import { clockMs, DumpedHeap } from "../support/heap";
import { Server, type ServerKind } from "../support/server";
import { Service } from "../support/service";

interface Sample {
  /** All touches, or the first answer. */
  readonly answerMs: number;
  readonly drainedMs: number;
}

type Samples = Map<string, Sample[]>;

const daemonKinds = [daemons.criu, daemons.raw, daemons.packed];

async function touchHeap(heap: DumpedHeap, kind: DaemonKind, disk: SlowDisk, count: number): Promise<Sample> {
  heap.plan({ pattern: "random", threads: 1, count });
  await dropFromCache(heap.images.path);
  const daemon = new Daemon(kind, heap.images.path);
  try {
    await daemon.listening();
    disk.add(daemon.pid);
    await criuRestore(heap.images.path, [], true);
    const from = performance.now();
    const { totalMs } = await heap.touched();
    await daemon.exited;
    return { answerMs: totalMs, drainedMs: daemon.exitedMs - from };
  } finally {
    await daemon.stop();
    await heap.finish(false);
  }
}

async function measureHeap(disk: SlowDisk, megabytes: number, rounds: number, count: number): Promise<Samples> {
  const results: Samples = new Map(daemonKinds.map(({ name }) => [name, []]));
  const heap = await DumpedHeap.make(megabytes, disk.path);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const kind of daemonKinds) results.get(kind.name)!.push(await touchHeap(heap, kind, disk, count));
    }
  } finally {
    await heap.end();
  }
  return results;
}

type Restore = (server: Server) => Promise<Sample>;

function ours(service: Service, packed: boolean): Restore {
  return async (server) => {
    await dropFromCache(server.images.path);
    const { firstAnswerMs } = await server.asking();
    const from = clockMs();
    const { id } = await service.restore({ directory: formOf(server.images.path, packed) });
    await service.complete(id);
    const drainedMs = clockMs() - from;
    const answerMs = (await firstAnswerMs) - from;
    await service.kill(id);
    return { answerMs, drainedMs };
  };
}

function criu(disk: SlowDisk): Restore {
  return async (server) => {
    const dir = server.images.path;
    rmSync(join(dir, "lazy-pages.socket"), { force: true });
    await dropFromCache(dir);
    const { firstAnswerMs } = await server.asking();
    const from = clockMs();
    const daemon = new Daemon(daemons.criu, dir);
    try {
      disk.add(daemon.pid);
      await daemon.listening();
      const args = ["restore", "-d", "--lazy-pages", "-D", dir, "-o", "restore.log", "-v1"];
      const child = spawn(...disk.command(criuBinary, args), { stdio: "ignore" });
      const code = await new Promise<number | null>((done) => child.once("exit", done));
      if (code !== 0) throw new Error(`criu restore failed: ${criuErrors(join(dir, "restore.log"))}`);
      const answerMs = (await firstAnswerMs) - from;
      await daemon.exited;
      return { answerMs, drainedMs: clockMs() - from };
    } finally {
      await daemon.stop();
      await server.kill();
    }
  };
}

async function measureServer(disk: SlowDisk, kind: ServerKind, keys: number, rounds: number): Promise<Samples> {
  const server = await Server.start(kind, keys, disk.path);
  const service = await Service.start([], disk);
  try {
    await server.dump();
    const subjects: Record<string, Restore> = {
      "criu, lazy": criu(disk),
      "faultline serve, raw": ours(service, false),
      "faultline serve, packed": ours(service, true),
    };
    const results: Samples = new Map(Object.keys(subjects).map((name) => [name, []]));
    for (const restore of Object.values(subjects)) await restore(server); // resident: has restored before
    for (let round = 0; round < rounds; round++) {
      for (const [name, restore] of Object.entries(subjects)) results.get(name)!.push(await restore(server));
    }
    return results;
  } finally {
    await service.end();
    await server.end();
  }
}

export const storage: Section = {
  name: "storage",
  async measure({ quick, say }) {
    const [megabytes, rounds, count] = quick ? [128, 2, 200] : [256, 5, 400];
    const disk = SlowDisk.make(megabytes * 8);
    try {
      say("touches");
      const touches = await measureHeap(disk, megabytes, rounds, count);
      const servers = new Map<ServerKind, Samples>();
      for (const [kind, keys] of [
        ["redis", 200_000],
        ["node", 50_000],
      ] as const) {
        say(kind);
        servers.set(kind, await measureServer(disk, kind, quick ? keys / 4 : keys, rounds));
      }
      return describe(touches, servers, megabytes, count);
    } finally {
      disk.remove();
    }
  },
};

function table(title: string, first: string, results: Samples): Table {
  const of = (each: readonly Sample[], key: keyof Sample) => digits(median(each.map((sample) => sample[key])));
  const rows = [...results].map(([name, each]) => [name, of(each, "answerMs"), of(each, "drainedMs")]);
  return { title, columns: ["subject", first, "drained ms"], rows };
}

function plot(title: string, results: Samples) {
  const bars = [...results].map(([label, each]) => {
    const [value, high] = (["answerMs", "drainedMs"] as const).map((key) => median(each.map((sample) => sample[key])));
    return { label, value: value!, high: high!, ours: label.startsWith("faultline") };
  });
  return { kind: "bars" as const, title, unit: "ms", logarithmic: false, bars };
}

function describe(
  touches: Samples,
  servers: Map<ServerKind, Samples>,
  megabytes: number,
  count: number,
): SectionResult {
  const about =
    "The images lie on an ext4 in a file behind a loop device with 128 KiB of read-ahead, of which the reading processes get 100 " +
    "MB and 1000 reads a second (cgroup v1, blkio); they are put out of the page cache before each restore. *Touches*: what " +
    "the program waited for all of them; *drained*: from the restore's return to the daemon's end. *Servers*: from the command " +
    "(criu lazy-pages and restore, or curl to `faultline serve`) to the first byte of an answer, and until every page is in.";
  const named = [...servers].map(([kind, results]) => ({ kind, results }));
  return {
    name: "storage",
    title: "Slow storage",
    about,
    tables: [
      table(`Cold: ${count} random touches in ${megabytes} MiB`, "touches ms", touches),
      ...named.map(({ kind, results }) => table(`Cold: ${kind}`, "first answer ms", results)),
    ],
    plots: [
      plot("Slow storage, a heap: the touches, line to drained", touches),
      ...named.map(({ kind, results }) => plot(`Slow storage, ${kind}: first answer, line to drained`, results)),
    ],
    aims: [],
    raw: { touches: Object.fromEntries(touches), servers: named.map(({ kind, results }) => [kind, [...results]]) },
  };
}
