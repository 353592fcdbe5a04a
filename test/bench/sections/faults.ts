// How long a restored program waits for a page that it touches, as it measures it itself: one Linux kernel, one program,
// one restorer (CRIU's), and different page daemons; beside them the least that a handler in C needs.
import { execFileSync } from "node:child_process";
import { criuRestore } from "../../support/criu";
import { type TempDir, withTempDir } from "../../support/tempdir";
import { sleep } from "../../support/wait";
import { type Aim, digits, type Plot, type Section, type SectionResult, type Table, times } from "../report/result";
import { distribution, median, pairedRatio } from "../report/statistics";
import { dropFromCache } from "../support/coldStorage";
import { compileYardstick } from "../support/compile";
import { Daemon, type DaemonKind, daemons } from "../support/daemon";
import { DumpedHeap, parseTouches, type Touched, type Touches } from "../support/heap";

/** A touch that takes less found its page there: no fault. */
const faultUs = 1.5;

type Mode = "idle" | "draining";
interface Subject {
  readonly name: string;
  readonly ours: boolean;
  /** `file`: what the C handlers read the pages from. */
  touch(heap: DumpedHeap, touches: Touches, file: string): Promise<Touched>;
}

interface Samples {
  /** Of each round: the touches that were faults. */
  readonly faults: number[][];
  readonly totalMs: number[];
  readonly touches: number[];
}

function daemonSubject(kind: DaemonKind): Subject {
  return {
    name: kind.name,
    ours: kind.ours,
    async touch(heap, touches) {
      heap.plan(touches);
      const daemon = new Daemon(kind, heap.images.path);
      try {
        await daemon.listening();
        await sleep(300); // both have settled: neither is measured while it starts
        await criuRestore(heap.images.path, [], true);
        const touched = await heap.touched();
        await heap.finish(false);
        await daemon.exited;
        return touched;
      } finally {
        await daemon.stop();
      }
    },
  };
}

function handlerSubject(kind: "sleep" | "spin", mode: Mode): Subject {
  return {
    name: kind === "sleep" ? "C handler, sleeps" : "C handler, spins",
    ours: false,
    async touch(heap, { pattern, threads, count }, file) {
      const drain = mode === "idle" ? "idle" : "drain";
      const args = [kind, drain, pattern, threads, count, heap.megabytes, file].map(String);
      const options = { encoding: "utf8", maxBuffer: 2 ** 24 } as const;
      return parseTouches(execFileSync(compileYardstick("uffd_handler"), args, options));
    },
  };
}

const subjects: Record<Mode, readonly Subject[]> = {
  idle: [
    daemonSubject(daemons.rawLazy),
    daemonSubject(daemons.packedLazy),
    handlerSubject("sleep", "idle"),
    handlerSubject("spin", "idle"),
  ],
  draining: [
    daemonSubject(daemons.raw),
    daemonSubject(daemons.packed),
    daemonSubject(daemons.criu),
    handlerSubject("sleep", "draining"),
    handlerSubject("spin", "draining"),
  ],
};

interface Case {
  readonly mode: Mode;
  readonly touches: Touches;
  readonly cold: boolean;
}

function cases(quick: boolean): Case[] {
  const count = quick ? 1000 : 2000;
  const all: Case[] = [];
  for (const mode of ["idle", "draining"] as const) {
    all.push({ mode, touches: { pattern: "random", threads: 1, count }, cold: false });
    all.push({ mode, touches: { pattern: "sequential", threads: 1, count }, cold: false });
    all.push({ mode, touches: { pattern: "random", threads: 8, count }, cold: false });
  }
  for (const mode of ["idle", "draining"] as const) {
    all.push({ mode, touches: { pattern: "random", threads: 1, count: count / 2 }, cold: true });
  }
  return all;
}

function caseName({ mode, touches: { pattern, threads }, cold }: Case): string {
  return `${pattern}${threads > 1 ? `, ${threads} threads` : ""}, ${mode}${cold ? ", cold cache" : ""}`;
}

export const faults: Section = {
  name: "faults",
  async measure({ quick, say }) {
    const [megabytes, rounds] = quick ? [128, 1] : [256, 5];
    const results = new Map<string, Map<string, Samples>>();
    const heap = await DumpedHeap.make(megabytes);
    try {
      await withTempDir("bench-pages", async (dir) => {
        for (const one of cases(quick)) {
          say(caseName(one));
          results.set(caseName(one), await measureCase(heap, one, rounds, dir));
        }
      });
    } finally {
      await heap.end();
    }
    return describe(results, megabytes, rounds);
  },
};

async function measureCase(
  heap: DumpedHeap,
  { mode, touches, cold }: Case,
  rounds: number,
  dir: TempDir,
): Promise<Map<string, Samples>> {
  const among = subjects[mode];
  const file = dir.join("pages.img");
  const rows = new Map<string, Samples>(among.map(({ name }) => [name, { faults: [], totalMs: [], touches: [] }]));
  for (let round = 0; round < rounds; round++) {
    for (const subject of among) {
      if (cold) for (const folder of [dir.path, heap.images.path]) await dropFromCache(folder);
      const { totalMs, touchesUs } = await subject.touch(heap, touches, file);
      const samples = rows.get(subject.name)!;
      samples.faults.push(touchesUs.filter((us) => us >= faultUs));
      samples.totalMs.push(totalMs);
      samples.touches.push(touchesUs.length);
    }
  }
  return rows;
}

/** Medians of the rounds' own quantiles: one disturbed round moves them little. */
function roundQuantile(samples: Samples, key: "p50" | "p90" | "p99"): number {
  return median(samples.faults.map((round) => distribution(round)[key]));
}

function describe(results: Map<string, Map<string, Samples>>, megabytes: number, rounds: number): SectionResult {
  const tables: Table[] = [...results].map(([name, rows]) => ({
    title: `Fault latency: ${name}`,
    columns: ["daemon", "faults", "p50 µs", "p90 µs", "p99 µs", "all touches ms"],
    rows: [...rows].map(([subject, samples]) => [
      subject,
      digits(median(samples.faults.map((round) => round.length))),
      ...(["p50", "p90", "p99"] as const).map((key) => digits(roundQuantile(samples, key))),
      digits(median(samples.totalMs)),
    ]),
  }));
  const raw = Object.fromEntries(
    [...results].map(([name, rows]) => [
      name,
      Object.fromEntries(
        [...rows].map(([subject, { faults: each, totalMs }]) => [subject, { rounds: each.map(distribution), totalMs }]),
      ),
    ]),
  );
  const about =
    `A program with a heap of ${megabytes} MiB is dumped once and restored by CRIU with each page daemon in turn, ` +
    `${rounds} rounds; it times its own reads, one for each touch, from its first instruction on (warm page cache, where nothing else is said). *Idle*: nothing is ` +
    "transferred in the background (CRIU's daemon cannot do that). The C handlers are processes of their own that read " +
    "the page from a file and install it; draining, they copy 64 KiB pieces while no fault waits. A touch under 1.5 µs " +
    "was no fault. *All touches* is what the program waited for altogether: a daemon that brings neighbours early has " +
    "fewer faults, and one that drains fast leaves fewer.";
  const [title, plots] = ["Demand fault latency", [...results].map(([name, rows]) => plot(name, rows))];
  return { name: "faults", title, about, tables, plots, aims: faultAims(results), raw };
}

function plot(name: string, rows: Map<string, Samples>): Plot {
  const bars = [...rows].map(([label, samples]) => {
    const [value, high] = [roundQuantile(samples, "p50"), roundQuantile(samples, "p99")];
    return { label, value, high, ours: label.startsWith("faultline") };
  });
  return { kind: "bars", title: `Fault latency, ${name}: p50, line to p99`, unit: "µs", logarithmic: true, bars };
}

function faultAims(results: Map<string, Map<string, Samples>>): Aim[] {
  const idle = results.get("random, idle")!;
  const draining = results.get("random, draining")!;
  const each = (samples: Samples, key: "p50" | "p99") => samples.faults.map((round) => distribution(round)[key]);
  const ours = idle.get(daemons.rawLazy.name)!;
  const spin = pairedRatio(each(ours, "p50"), each(idle.get("C handler, spins")!, "p50"));
  const drainingRaw = draining.get(daemons.raw.name)!;
  const criu = pairedRatio(each(drainingRaw, "p50"), each(draining.get(daemons.criu.name)!, "p50"));
  const tail = pairedRatio(each(drainingRaw, "p99"), each(ours, "p99"));
  const criuUs = roundQuantile(draining.get(daemons.criu.name)!, "p50");
  const leastUs = roundQuantile(draining.get("C handler, sleeps")!, "p50");
  return [
    {
      aim: "random demand fault p50 at most 1.2 times the spinning C handler",
      measured: times(spin),
      met: spin <= 1.2,
      why:
        "the pager finds the page in its layout and image and notes what it did, where the C handler has one file and one address; " +
        "and what waits in the background (the block around a fault) keeps its thread from the next one for some microseconds",
    },
    {
      aim: "random demand fault p50 at most a third of criu lazy-pages",
      measured: times(criu),
      met: criu <= 1 / 3,
      why:
        `waking a thread on another processor is most of a fault for every handler: a third of its p50 in this run is ${digits(criuUs / 3)} µs, and the C handlers, ` +
        `which do the least there is to do, need ${digits(leastUs)} µs`,
    },
    {
      aim: "p99 while draining at most twice the idle p99",
      measured: times(tail),
      met: tail <= 2,
      why: "a drain step that has begun is not interrupted; with both cores busy, p99 is mostly how long a thread waits for a core",
    },
  ];
}
