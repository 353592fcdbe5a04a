// Page files on slow storage: the daemon in a control group that may read 100 MB and 1000 times a second from the device,
// with nothing of the page files in the page cache.
import { criuRestore } from "../../support/criu";
import { digits, type Section, type SectionResult } from "../report/result";
import { median } from "../report/statistics";
import { dropFromCache, SlowGroup } from "../support/coldStorage";
import { Daemon, type DaemonKind, daemons } from "../support/daemon";
import { DumpedHeap } from "../support/heap";

interface Sample {
  readonly touchesMs: number;
  readonly drainedMs: number;
}

async function measureOne(heap: DumpedHeap, kind: DaemonKind, group: SlowGroup, count: number): Promise<Sample> {
  heap.choose(kind.packed);
  heap.plan({ pattern: "random", threads: 1, count });
  await dropFromCache(heap.images.path);
  const daemon = new Daemon(kind, heap.images.path);
  try {
    await daemon.listening();
    group.add(daemon.pid);
    await criuRestore(heap.images.path, [], true);
    const from = performance.now();
    const { totalMs } = await heap.touched();
    await daemon.exited;
    return { touchesMs: totalMs, drainedMs: daemon.exitedMs - from };
  } finally {
    await daemon.stop();
    await heap.finish(false);
  }
}

const kinds = [daemons.criu, daemons.raw, daemons.packed];

export const storage: Section = {
  name: "storage",
  async measure({ quick, say }) {
    const [megabytes, rounds, count] = quick ? [128, 2, 200] : [256, 3, 400];
    const results = new Map<string, Sample[]>(kinds.map(({ name }) => [name, []]));
    const heap = await DumpedHeap.make(megabytes);
    const group = new SlowGroup(heap.images.path);
    try {
      for (let round = 0; round < rounds; round++) {
        say(`round ${round + 1} of ${rounds}`);
        for (const kind of kinds) results.get(kind.name)!.push(await measureOne(heap, kind, group, count));
      }
    } finally {
      await heap.end();
      group.remove();
    }
    return describe(results, megabytes, count);
  },
};

function describe(results: Map<string, Sample[]>, megabytes: number, count: number): SectionResult {
  const of = (each: readonly Sample[], key: keyof Sample) => median(each.map((sample) => sample[key]));
  const table = {
    title: `Cold, 100 MB/s, 1000 reads a second: ${count} random touches in ${megabytes} MiB`,
    columns: ["daemon", "touches ms", "drained ms"],
    rows: [...results].map(([name, each]) => [name, digits(of(each, "touchesMs")), digits(of(each, "drainedMs"))]),
  };
  const bars = [...results].map(([label, each]) => {
    const [value, high] = [of(each, "touchesMs"), of(each, "drainedMs")];
    return { label, value, high, ours: label.startsWith("faultline") };
  });
  const about =
    "The page files are put out of the page cache before each restore, and the daemon's control group may read 100 MB and " +
    "1000 times a second. *Touches*: what the program waited for all of them; *drained*: from the restore's return to the daemon's end.";
  const plots = [
    {
      kind: "bars",
      title: "Slow storage: the touches, line to drained",
      unit: "ms",
      logarithmic: false,
      bars,
    } as const,
  ];
  return { name: "storage", title: "Slow storage", about, tables: [table], plots, aims: [], raw: [...results] };
}
