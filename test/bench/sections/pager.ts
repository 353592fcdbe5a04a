// What a page daemon costs: CPU time for one restore with some faults and the drain, memory, and what it takes when it only
// waits, with a program behind it that stays lazy.
import { criuRestore } from "../../support/criu";
import { sleep } from "../../support/wait";
import { digits, type Section, type SectionResult } from "../report/result";
import { median } from "../report/statistics";
import { cpuMs, Daemon, type DaemonKind, daemons, peakMib } from "../support/daemon";
import { DumpedHeap } from "../support/heap";

interface Sample {
  /** Until it listens: Node's start and warm-up, or next to nothing. */
  readonly startCpuMs: number;
  /** From there to the end of the touches, or until all is there. */
  readonly workCpuMs: number;
  readonly peakMib: number;
  /** While it only waits, CPU milliseconds a second. */
  readonly idleMsPerSecond: number;
}

async function measureOne(heap: DumpedHeap, kind: DaemonKind, count: number): Promise<Sample> {
  heap.plan({ pattern: "random", threads: 1, count });
  const daemon = new Daemon(kind, heap.images.path);
  try {
    await daemon.listening();
    await sleep(400);
    const startCpuMs = cpuMs(daemon.pid) ?? Number.NaN;
    let [last, peak, over] = [startCpuMs, 0, false];
    void daemon.exited.then(() => {
      over = true;
    });
    await criuRestore(heap.images.path, [], true);
    const touched = heap.touched();
    const lazy = kind.options.includes("--stay-lazy");
    const look = () => {
      last = Math.max(last, cpuMs(daemon.pid) ?? 0); // threads that have ended are no longer counted
      peak = peakMib(daemon.pid) || peak;
    };
    while (!over && !lazy) {
      look();
      await sleep(2);
    }
    await touched;
    if (lazy) look();
    const idleMsPerSecond = lazy ? await idleCost(daemon.pid) : Number.NaN;
    await heap.finish(false);
    return { startCpuMs, workCpuMs: last - startCpuMs, peakMib: peak, idleMsPerSecond };
  } finally {
    await daemon.stop();
  }
}

async function idleCost(pid: number): Promise<number> {
  await sleep(300);
  const [before, start] = [cpuMs(pid), performance.now()];
  await sleep(2000);
  const after = cpuMs(pid);
  if (before === undefined || after === undefined) throw new Error("the daemon ended while its program is lazy");
  return ((after - before) * 1000) / (performance.now() - start);
}

const subjects: readonly (readonly [string, DaemonKind])[] = [
  ["criu lazy-pages", daemons.criu],
  ["faultline, raw", daemons.raw],
  ["faultline, packed", daemons.packed],
  ["faultline, raw, stays lazy", daemons.rawLazy],
];

export const pager: Section = {
  name: "pager",
  async measure({ quick, say }) {
    const [megabytes, rounds, count] = [256, quick ? 2 : 5, 1000];
    const results = new Map<string, Sample[]>(subjects.map(([name]) => [name, []]));
    const heap = await DumpedHeap.make(megabytes);
    try {
      for (let round = 0; round < rounds; round++) {
        say(`round ${round + 1} of ${rounds}`);
        for (const [name, kind] of subjects) results.get(name)!.push(await measureOne(heap, kind, count));
      }
    } finally {
      await heap.end();
    }
    return describe(results, megabytes, count);
  },
};

function describe(results: Map<string, Sample[]>, megabytes: number, count: number): SectionResult {
  const keys = ["startCpuMs", "workCpuMs", "peakMib", "idleMsPerSecond"] as const;
  const table = {
    title: "CPU and memory of the daemon",
    columns: ["daemon", "CPU to start ms", "CPU for the restore ms", "peak MiB", "idle: CPU ms a second"],
    rows: [...results].map(([name, each]) => [
      name,
      ...keys.map((key) => digits(median(each.map((sample) => sample[key])))),
    ]),
  };
  const about =
    `${count} random touches in ${megabytes} MiB and the drain of the rest, or none where it stays lazy; CPU time of all threads, by ` +
    "the scheduler's own count, looked at until shortly before the end. *Idle*: two seconds after the touches, with most " +
    "of the program's memory missing and nobody asking for it.";
  return { name: "pager", title: "The daemon's cost", about, tables: [table], plots: [], aims: [], raw: [...results] };
}
