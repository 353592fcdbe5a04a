// Page files on slow storage: the daemon in a control group that may read 100 MB and 1000 times a second from the device,
// with nothing of the page files in the page cache. Needs the blkio controller of cgroup v1.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { criuRestore } from "../../support/criu";
import { digits, type Section, type SectionResult } from "../report/result";
import { median } from "../report/statistics";
import { Daemon, type DaemonKind, daemons } from "../support/daemon";
import { DumpedHeap } from "../support/heap";

const controller = "/sys/fs/cgroup/blkio";
const bytesPerSecond = 100_000_000;
const readsPerSecond = 1000;

interface Sample {
  readonly touchesMs: number;
  readonly drainedMs: number;
}

/** A control group whose members read slowly from the device that holds `path`. */
class SlowGroup {
  private readonly folder = join(controller, `faultline-bench-${process.pid}`);

  constructor(path: string) {
    const { dev } = statSync(path);
    const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
    mkdirSync(this.folder);
    writeFileSync(join(this.folder, "blkio.throttle.read_bps_device"), `${device} ${bytesPerSecond}`);
    writeFileSync(join(this.folder, "blkio.throttle.read_iops_device"), `${device} ${readsPerSecond}`);
  }

  add(pid: number): void {
    writeFileSync(join(this.folder, "cgroup.procs"), String(pid));
  }

  remove(): void {
    rmdirSync(this.folder);
  }
}

/** posix_fadvise(POSIX_FADV_DONTNEED) on every page file. */
function dropFromCache(dir: string): void {
  for (const name of readdirSync(dir).filter((file) => file.startsWith("page"))) {
    execFileSync("dd", [`of=${join(dir, name)}`, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"]);
  }
}

async function measureOne(heap: DumpedHeap, kind: DaemonKind, group: SlowGroup, count: number): Promise<Sample> {
  heap.choose(kind.packed);
  heap.plan({ pattern: "random", threads: 1, count });
  dropFromCache(heap.images.path);
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
    if (!existsSync(join(controller, "blkio.throttle.read_bps_device")))
      throw new Error(`no ${controller} to slow a device down`);
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
