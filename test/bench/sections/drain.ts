// How fast all of a program's memory comes in when it touches nothing: the transfer in the background alone.
import { execFileSync } from "node:child_process";
import { Restorer } from "../../../src/task/restore/restore";
import { criuRestore } from "../../support/criu";
import { withTempDir } from "../../support/tempdir";
import { sleep } from "../../support/wait";
import { type Aim, digits, type Section, type SectionResult, times } from "../report/result";
import { median, pairedRatio } from "../report/statistics";
import { compileYardstick } from "../support/compile";
import { Daemon, type DaemonKind, daemons } from "../support/daemon";
import { formOf } from "../support/forms";
import { DumpedHeap } from "../support/heap";

const nothing = { pattern: "random", threads: 1, count: 0 } as const;

/** MB (10^6 bytes) a second, from the restore's return to the daemon's end. */
async function drainByDaemon(heap: DumpedHeap, kind: DaemonKind): Promise<number> {
  heap.plan(nothing);
  const daemon = new Daemon(kind, heap.images.path);
  try {
    await daemon.listening();
    await sleep(300);
    await criuRestore(heap.images.path, [], true);
    const from = performance.now();
    await daemon.exited;
    return (heap.megabytes * 1048.576) / (daemon.exitedMs - from);
  } finally {
    await daemon.stop();
    await heap.finish(false);
  }
}

/** The same in a resident process: from where the program runs to where every page is in. */
async function drainByRestorer(heap: DumpedHeap, restorer: Restorer, packed: boolean): Promise<number> {
  heap.plan(nothing);
  const result = await restorer.restore({ imagesDir: formOf(heap.images.path, packed) });
  const from = performance.now();
  try {
    const report = await result.pages;
    if (report?.state !== "done") throw new Error(`the drain ended as ${report?.state}: ${report?.error}`);
    return (heap.megabytes * 1048.576) / (performance.now() - from);
  } finally {
    await heap.finish(false);
    await result.waitExit();
  }
}

export const drain: Section = {
  name: "drain",
  async measure({ quick, say }) {
    const [megabytes, rounds] = quick ? [256, 3] : [512, 7];
    const heap = await DumpedHeap.make(megabytes);
    const restorer = new Restorer().warmUp();
    const rates = new Map<string, number[]>();
    const keep = (name: string, rate: number) => rates.set(name, [...(rates.get(name) ?? []), rate]);
    try {
      await withTempDir("bench-copy", async (dir) => {
        for (let round = 0; round < rounds; round++) {
          say(`round ${round + 1} of ${rounds}`);
          const args = [String(megabytes), dir.join("pages")];
          const printed = execFileSync(compileYardstick("uffd_copy"), args, { encoding: "utf8" });
          const [hot, read] = printed.split(" ").map(Number);
          keep(bare, hot!);
          keep("read(2) and UFFDIO_COPY, 64 KiB, in C", read!);
          keep("faultline restore, raw", await drainByRestorer(heap, restorer, false));
          keep("faultline restore, packed", await drainByRestorer(heap, restorer, true));
          for (const kind of [daemons.criu, daemons.raw, daemons.packed]) {
            keep(lazyName(kind), await drainByDaemon(heap, kind));
          }
        }
      });
    } finally {
      await restorer.close();
      await heap.end();
    }
    return describe(rates, megabytes, rounds);
  },
};

const bare = "UFFDIO_COPY alone, 64 KiB, in C";

function lazyName(kind: DaemonKind): string {
  return kind.ours ? kind.name.replace("faultline", "faultline lazy-pages") : kind.name;
}

function describe(rates: Map<string, number[]>, megabytes: number, rounds: number): SectionResult {
  const base = rates.get(bare)!;
  const rows = [...rates].map(([name, each]) => [
    name,
    digits(median(each)),
    digits(Math.min(...each)),
    digits(Math.max(...each)),
    times(pairedRatio(each, base)),
  ]);
  const table = {
    title: `Drain of ${megabytes} MiB`,
    columns: ["subject", "MB/s", "slowest", "fastest", "of UFFDIO_COPY alone"],
    rows,
  };
  const bars = [...rates].map(([label, each]) => ({ label, value: median(each), ours: label.startsWith("faultline") }));
  const about =
    `A program with ${megabytes} MiB is restored and touches nothing, ${rounds} rounds, warm page cache. *restore*: Faultline's own, ` +
    "in a resident process, from where the program runs to where every page is in. *lazy-pages*: under CRIU's restore, " +
    "from its return to the daemon's end, which for Faultline includes Node's. *UFFDIO_COPY alone* copies one 64 KiB " +
    "buffer that stays in the processor's cache over and over: no image is read.";
  const plots = [{ kind: "bars", title: "Drain", unit: "MB/s", logarithmic: false, bars } as const];
  return { name: "drain", title: "Drain", about, tables: [table], plots, aims: drainAims(rates), raw: [...rates] };
}

function drainAims(rates: Map<string, number[]>): Aim[] {
  const packed = pairedRatio(rates.get("faultline restore, packed")!, rates.get(bare)!);
  const criu = pairedRatio(rates.get(lazyName(daemons.raw))!, rates.get(daemons.criu.name)!);
  return [
    {
      aim: "drain of a packed image at least 70 % of raw UFFDIO_COPY at 64 KiB",
      measured: `${(packed * 100).toFixed(0)} %`,
      met: packed >= 0.7,
      why:
        "one thread installs while another reads, checks and decodes; UFFDIO_COPY alone only installs, from a buffer " +
        "that never leaves the cache (see the row that also reads)",
    },
    {
      aim: "drain from raw images not slower than CRIU's",
      measured: `${times(criu)} CRIU's rate`,
      met: criu >= 1,
      why: "measured to the daemon's end, which for Faultline is Node's exit; the drain goes in short steps, so that faults may come between. See the row of Faultline's own restore for the drain alone",
    },
  ];
}
