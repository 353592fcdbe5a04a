// What a dump costs: how long the program stands, how long it takes, how large it is, CPU and memory; none, lz4 and lz4-hc against
// CRIU, and against CRIU with the directory compressed by zstd -1 behind it, and the freeze against a plain copy of the same
// pages. Of real servers with realistic data.
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeImageOf } from "../../../src/images/framing";
import type { Compression } from "../../../src/task/dump/pageImages";
import { criuBinary } from "../../support/criu";
import { withTempDir } from "../../support/tempdir";
import { type Aim, digits, type Section, type SectionResult, times } from "../report/result";
import { median, pairedRatio } from "../report/statistics";
import { compileYardstick } from "../support/compile";
import { faultline } from "../support/daemon";
import { plainCopyMs } from "../support/plainCopy";
import { directoryMib, Server, type ServerKind } from "../support/server";

interface Sample {
  readonly frozenMs: number;
  readonly totalMs: number;
  readonly cpuMs: number;
  readonly peakMib: number;
  readonly sizeMib: number;
}

interface Used {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly peakMib: number;
}

async function used(folder: string, file: string, args: readonly string[]): Promise<Used> {
  const report = join(folder, "usage");
  const child = spawn(compileYardstick("usage"), [report, file, ...args], { stdio: "ignore" });
  const code = await new Promise<number | null>((done) => child.once("exit", done));
  if (code !== 0) throw new Error(`${file} ${args[0]} exited with ${code}`);
  const [wall, cpu, peak] = readFileSync(report, "utf8").trim().split(" ").map(Number);
  return { wallMs: wall! / 1000, cpuMs: cpu! / 1000, peakMib: peak! / 1024 };
}

/** From the dump's own statistics, which Faultline and CRIU write alike. */
function frozenMs(dir: string): number {
  const file = join(dir, "stats-dump");
  const stats = decodeImageOf("STATS", readFileSync(file), file).records[0]!.message;
  return Number(stats.dump?.frozen_time ?? Number.NaN) / 1000;
}

type Dump = (server: Server, folder: string) => Promise<Sample>;

function ours(compress: Compression): Dump {
  return async (server, folder) => {
    const dir = join(folder, "images");
    const args = ["dump", "-t", String(server.pid), "-D", dir, "--leave-running", "--compress", compress];
    const { wallMs, cpuMs, peakMib } = await used(folder, faultline, args);
    return { frozenMs: frozenMs(dir), totalMs: wallMs, cpuMs, peakMib, sizeMib: directoryMib(dir) };
  };
}

function criu(zstd: boolean): Dump {
  return async (server, folder) => {
    const dir = join(folder, "images");
    execFileSync("mkdir", [dir]);
    const args = ["dump", "-t", String(server.pid), "-D", dir, "--leave-running", "-o", "dump.log", "-v0"];
    const dumped = await used(folder, criuBinary, args);
    const sample = { frozenMs: frozenMs(dir), totalMs: dumped.wallMs, cpuMs: dumped.cpuMs, peakMib: dumped.peakMib };
    if (!zstd) return { ...sample, sizeMib: directoryMib(dir) };
    const packed = await used(folder, "zstd", ["-1", "-q", "-r", "--rm", dir]);
    return {
      frozenMs: sample.frozenMs,
      totalMs: sample.totalMs + packed.wallMs,
      cpuMs: sample.cpuMs + packed.cpuMs,
      peakMib: Math.max(sample.peakMib, packed.peakMib),
      sizeMib: directoryMib(dir),
    };
  };
}

const subjects: Record<string, Dump> = {
  "faultline, none": ours("none"),
  "faultline, lz4": ours("lz4"),
  "faultline, lz4-hc": ours("lz4-hc"),
  criu: criu(false),
  "criu, then zstd -1": criu(true),
};

const keys: Record<ServerKind, { full: number; quick: number }> = {
  redis: { full: 600_000, quick: 100_000 },
  node: { full: 150_000, quick: 30_000 },
  python: { full: 100_000, quick: 30_000 },
};

interface KindResult {
  readonly dumps: Map<string, Sample[]>;
  /** One a round. */
  readonly plainCopiesMs: number[];
}

type Results = Map<ServerKind, KindResult>;

export const dumps: Section = {
  name: "dump",
  async measure({ quick, say }) {
    const results: Results = new Map();
    for (const [kind, count] of Object.entries(keys) as [ServerKind, { full: number; quick: number }][]) {
      say(kind);
      const server = await Server.start(kind, quick ? count.quick : count.full);
      try {
        results.set(kind, await measureKind(server, quick ? 2 : 5));
      } finally {
        await server.end();
      }
    }
    return describe(results);
  },
};

async function measureKind(server: Server, rounds: number): Promise<KindResult> {
  const dumps = new Map<string, Sample[]>(Object.keys(subjects).map((name) => [name, []]));
  const plainCopiesMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    plainCopiesMs.push(plainCopyMs(server.pid));
    for (const [name, dump] of Object.entries(subjects)) {
      dumps.get(name)!.push(await withTempDir("bench-dump", (folder) => dump(server, folder.path)));
    }
  }
  return { dumps, plainCopiesMs };
}

function describe(results: Results): SectionResult {
  const keysOf = ["frozenMs", "totalMs", "cpuMs", "peakMib", "sizeMib"] as const;
  const tables = [...results].map(([kind, { dumps, plainCopiesMs }]) => ({
    title: `Dump of ${kind}, left running`,
    columns: ["dump", "frozen ms", "total ms", "CPU ms", "peak MiB", "size MiB", "size of raw"],
    rows: [
      ...[...dumps].map(([name, each]) => [
        name,
        ...keysOf.map((key) => digits(median(each.map((sample) => sample[key])))),
        `${((100 * sizeOf(dumps, name)) / sizeOf(dumps, "faultline, none")).toFixed(0)} %`,
      ]),
      ["plain copy of the pages", digits(median(plainCopiesMs)), "–", "–", "–", "–", "–"],
    ],
  }));
  const plots = [...results].map(([kind, { dumps }]) => ({
    kind: "bars" as const,
    title: `Dump of ${kind}: time frozen, line to total`,
    unit: "ms",
    logarithmic: true,
    bars: [...dumps].map(([label, each]) => ({
      label,
      value: median(each.map((sample) => sample.frozenMs)),
      high: median(each.map((sample) => sample.totalMs)),
      ours: label.startsWith("faultline"),
    })),
  }));
  const about =
    "Servers that hold JSON records and run on after the dump; the kinds of dump take turns. *Frozen* is what the dump's own " +
    "statistics say, from the first stop until all is read; *total*, *CPU* and *peak* are of the command, Node's start included. " +
    "Faultline's total has the images on the disk (fsync), CRIU's leaves them in the page cache. *Plain copy*: one " +
    "process_vm_readv(2) of the same pages into memory that is there already.";
  const raw = Object.fromEntries(
    [...results].map(([kind, { dumps, plainCopiesMs }]) => [kind, { ...Object.fromEntries(dumps), plainCopiesMs }]),
  );
  return { name: "dump", title: "Dump", about, tables, plots, aims: dumpAims(results), raw };
}

function sizeOf(rows: Map<string, Sample[]>, name: string): number {
  return median(rows.get(name)!.map((sample) => sample.sizeMib));
}

function dumpAims(results: Results): Aim[] {
  const share = [...results].map(([kind, { dumps, plainCopiesMs }]) => ({
    kind,
    share: sizeOf(dumps, "faultline, lz4") / sizeOf(dumps, "faultline, none"),
    time: pairedRatio(
      dumps.get("faultline, lz4")!.map((sample) => sample.totalMs),
      dumps.get("faultline, none")!.map((sample) => sample.totalMs),
    ),
    freeze: pairedRatio(
      dumps.get("faultline, lz4")!.map((sample) => sample.frozenMs),
      plainCopiesMs,
    ),
  }));
  return [
    {
      aim: "a dump freezes for at most 1.5 times a plain copy of the pages",
      measured: share.map((each) => `${each.kind} ${times(each.freeze)}`).join(", "),
      met: share.every((each) => each.freeze <= 1.5),
      why: "beside the copy every thread is stopped and asked for its state; where the copy takes 20 ms, that is half as long",
    },
    {
      aim: "packed images at most 45 % of raw on node, python and redis with realistic data",
      measured: share.map((each) => `${each.kind} ${(each.share * 100).toFixed(0)} %`).join(", "),
      met: share.every((each) => each.share <= 0.45),
    },
    {
      aim: "dump with lz4 not slower than without",
      measured: share.map((each) => `${each.kind} ${times(each.time)}`).join(", "),
      met: share.every((each) => each.time <= 1),
      why:
        "the page cache takes uncompressed pages as fast as memory copies; compressing takes both cores about as long as the disk takes for " +
        "the difference in size. It wins where the disk is slower, and loses where other work has the cores",
    },
  ];
}
