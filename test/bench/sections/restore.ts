// From the command to the program: its first instruction, and all its memory there; for three sizes, eager and lazy, as a
// command and in a resident process, and by CRIU.
import { type ChildProcess, spawn } from "node:child_process";
import { Restorer } from "../../../src/task/restore/restore";
import { criuBinary } from "../../support/criu";
import { type Aim, digits, type LinePlot, type Section, type SectionResult, type Table, times } from "../report/result";
import { median, pairedRatio } from "../report/statistics";
import { Daemon, daemons, faultline } from "../support/daemon";
import { formOf } from "../support/forms";
import { clockMs, DumpedHeap } from "../support/heap";
import { Service } from "../support/service";

const nothing = { pattern: "random", threads: 1, count: 0 } as const;

interface Sample {
  readonly firstMs: number;
  readonly allMs: number;
}
interface Subject {
  readonly name: string;
  /** Restores, and resolves when every page is in, with the time of that. */
  restore(heap: DumpedHeap): Promise<{ allAtMs: number; settle(): Promise<void> }>;
}

function ended(child: ChildProcess, what: string): Promise<number> {
  return new Promise((done, fail) => {
    child.once("error", fail);
    child.once("exit", (code) => (code === 0 ? done(clockMs()) : fail(new Error(`${what} exited with ${code}`))));
  });
}

const settled = { settle: async () => undefined };

function ourCommand(name: string, packed: boolean, options: readonly string[]): Subject {
  return {
    name,
    async restore(heap) {
      const args = ["restore", "-D", formOf(heap.images.path, packed), "--json", ...options];
      const child = spawn(faultline, args, { stdio: ["ignore", "pipe", "inherit"] });
      const exit = new Promise<void>((done) => child.once("close", () => done()));
      const allAtMs = await new Promise<number>((done, fail) => {
        let text = "";
        const wanted = options.includes("--eager") ? '"event":"running"' : '"event":"pages"';
        child.stdout.on("data", (chunk: Buffer) => {
          text += chunk.toString();
          if (text.includes(wanted)) done(clockMs());
        });
        child.once("close", (code) => fail(new Error(`faultline restore exited with ${code}`)));
      });
      return { allAtMs, settle: () => exit };
    },
  };
}

function resident(name: string, restorer: Restorer, packed: boolean, eager: boolean): Subject {
  return {
    name,
    async restore(heap) {
      const result = await restorer.restore({ imagesDir: formOf(heap.images.path, packed), eager });
      await result.pages;
      const allAtMs = clockMs();
      return { allAtMs, settle: async () => void (await result.waitExit()) };
    },
  };
}

function served(name: string, service: Service, packed: boolean): Subject {
  return {
    name,
    async restore(heap) {
      const { id } = await service.restore({ directory: formOf(heap.images.path, packed) });
      await service.complete(id);
      return { allAtMs: clockMs(), settle: () => service.kill(id) };
    },
  };
}

const criuArgs = (heap: DumpedHeap) => ["restore", "-d", "-D", heap.images.path, "-o", "restore.log", "-v0"];

const criuEager: Subject = {
  name: "criu, eager",
  async restore(heap) {
    return { allAtMs: await ended(spawn(criuBinary, criuArgs(heap), { stdio: "ignore" }), "criu restore"), ...settled };
  },
};

const criuLazy: Subject = {
  name: "criu, lazy",
  async restore(heap) {
    const daemon = new Daemon(daemons.criu, heap.images.path);
    try {
      await daemon.listening();
      await ended(spawn(criuBinary, [...criuArgs(heap), "--lazy-pages"], { stdio: "ignore" }), "criu restore");
      await daemon.exited;
      return { allAtMs: clockMs(), ...settled };
    } finally {
      await daemon.stop();
    }
  },
};

async function measureOne(subject: Subject, heap: DumpedHeap): Promise<Sample> {
  heap.plan(nothing);
  const start = clockMs();
  const { allAtMs, settle } = await subject.restore(heap);
  const first = await heap.firstMs();
  await heap.finish(false);
  await settle();
  return { firstMs: first - start, allMs: allAtMs - start };
}

type Results = Map<number, Map<string, Sample[]>>;

export const restore: Section = {
  name: "restore",
  async measure({ quick, say }) {
    const restorer = new Restorer().warmUp();
    const service = await Service.start();
    const subjects = [
      resident("faultline resident, lazy, raw", restorer, false, false),
      resident("faultline resident, lazy, packed", restorer, true, false),
      resident("faultline resident, eager, raw", restorer, false, true),
      served("faultline serve, lazy, raw", service, false),
      served("faultline serve, lazy, packed", service, true),
      ourCommand("faultline command, lazy, raw", false, []),
      ourCommand("faultline command, lazy, packed", true, []),
      ourCommand("faultline command, eager, raw", false, ["--eager"]),
      criuLazy,
      criuEager,
    ];
    const results: Results = new Map();
    try {
      for (const megabytes of quick ? [64, 512] : [64, 512, 2048]) {
        const rounds = quick ? 3 : megabytes > 1000 ? 3 : 7;
        say(`${megabytes} MiB, ${rounds} rounds`);
        results.set(megabytes, await measureSize(megabytes, rounds, subjects));
      }
    } finally {
      await restorer.close();
      await service.end();
    }
    return describe(results);
  },
};

async function measureSize(
  megabytes: number,
  rounds: number,
  subjects: readonly Subject[],
): Promise<Map<string, Sample[]>> {
  const rows = new Map<string, Sample[]>(subjects.map(({ name }) => [name, []]));
  const heap = await DumpedHeap.make(megabytes);
  try {
    for (const subject of subjects) {
      // That means: has restored before. Twice, as images that were just written are planned once more the next time.
      for (let round = 0; /resident|serve/.test(subject.name) && round < 2; round++) await measureOne(subject, heap);
    }
    for (let round = 0; round < rounds; round++) {
      for (const subject of subjects) rows.get(subject.name)!.push(await measureOne(subject, heap));
    }
  } finally {
    await heap.end();
  }
  return rows;
}

function describe(results: Results): SectionResult {
  const sizes = [...results.keys()];
  const names = [...results.get(sizes[0]!)!.keys()];
  const table = (title: string, key: keyof Sample): Table => ({
    title,
    columns: ["restorer", ...sizes.flatMap((size) => [`${size} MiB`, "slowest"])],
    rows: names.map((name) => [
      name,
      ...sizes.flatMap((size) => {
        const each = results
          .get(size)!
          .get(name)!
          .map((sample) => sample[key]);
        return [digits(median(each)), digits(Math.max(...each))];
      }),
    ]),
  });
  const tables = [
    table("Command to first instruction, ms (median and slowest)", "firstMs"),
    table("Command to every page there, ms (median and slowest)", "allMs"),
  ];
  const plot = (title: string, key: keyof Sample, of: readonly string[]): LinePlot => ({
    kind: "lines",
    title,
    xLabel: "MiB",
    yLabel: "ms",
    logarithmicX: true,
    logarithmicY: true,
    lines: of.map((label) => ({
      label: label.replace("faultline ", "").replace(", raw", ""),
      points: sizes.map(
        (size) =>
          [
            size,
            median(
              results
                .get(size)!
                .get(label)!
                .map((sample) => sample[key]),
            ),
          ] as const,
      ),
    })),
  });
  const drawn = ["faultline resident, lazy, raw", "faultline command, lazy, raw", "criu, lazy", "criu, eager"];
  const plots = [plot("To the first instruction", "firstMs", drawn), plot("To every page there", "allMs", drawn)];
  const about =
    "One program with a large heap, restored again and again; warm page cache. It notes the time of its first instruction " +
    "on the real-time clock. *Command*: from spawning `faultline restore` (or `criu restore`, for lazy with the start of " +
    "`criu lazy-pages` before it), Node's start included. *Resident*: class `Restorer` in a process that has restored the directory twice before; *serve*: `faultline serve` asked by curl.";
  const raw = Object.fromEntries([...results].map(([size, rows]) => [size, Object.fromEntries(rows)]));
  return { name: "restore", title: "Restore", about, tables, plots, aims: restoreAims(results, sizes), raw };
}

function restoreAims(results: Results, sizes: readonly number[]): Aim[] {
  const name = "faultline resident, lazy, raw";
  const first = (size: number, subject: string) =>
    results
      .get(size)!
      .get(subject)!
      .map((sample) => sample.firstMs);
  const [small, large] = [sizes[0]!, sizes[sizes.length - 1]!];
  const growth = median(first(large, name)) / median(first(small, name));
  const againstCriu = pairedRatio(first(large, name), first(large, "criu, lazy"));
  return [
    {
      // A quick run has no 2 GB: it says what it compared.
      aim: `first instruction independent of memory size (${large} MiB within 1.3 times of ${small} MiB)`,
      measured: `${times(growth)} (${large} against ${small} MiB, resident); ${times(againstCriu)} of criu's lazy restore`,
      met: growth <= 1.3,
      why: "see the table: the medians of few runs on a busy machine differ by more than the sizes do",
    },
  ];
}
