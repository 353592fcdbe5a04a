// Compares `faultline lazy-pages` with `criu lazy-pages` on the same images in one run: fault latency as the faulting
// program sees it while the rest is transferred, time until all is transferred, CPU time and peak memory of the daemon.
//   npm run bench:lazy-pages [-- MEGABYTES [TOUCHES [ROUNDS]]]
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { criuBinary, criuDump, criuRestore } from "../support/criu";
import { packBeside } from "../support/packedPages";
import { type Program, repositoryRoot, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";

interface Measured {
  readonly faults: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  /** Of all touches together. */
  readonly touchedMs: number;
  /** From the restore's return to the daemon's end. */
  readonly drainedMs: number;
  readonly restoreMs: number;
  readonly cpuMs: number;
  readonly peakMib: number;
}

interface Subject {
  readonly name: string;
  readonly drains: boolean;
  readonly packed: boolean;
  start(dir: string): ChildProcess;
}

const faultline = join(repositoryRoot, "bin", "faultline");

function daemon(name: string, file: string, args: readonly string[], drains = true, packed = false): Subject {
  return { name, drains, packed, start: (dir) => spawn(file, [...args, "-D", dir], { cwd: dir, stdio: "ignore" }) };
}

const subjects: readonly Subject[] = [
  daemon("criu lazy-pages", criuBinary, ["lazy-pages", "-o", "lazy.log", "-v0"]),
  daemon("faultline lazy-pages", faultline, ["lazy-pages"]),
  daemon("faultline lazy-pages, packed", faultline, ["lazy-pages"], true, true),
  daemon("faultline --stay-lazy", faultline, ["lazy-pages", "--stay-lazy"], false),
  daemon("faultline --stay-lazy, packed", faultline, ["lazy-pages", "--stay-lazy"], false, true),
];

/** CPU time and peak memory of a running process, or the last that were seen. */
class Watch {
  cpuMs = 0;
  peakMib = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly pid: number) {
    this.timer = setInterval(() => this.look(), 5);
  }

  look(): void {
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, "latin1").split(") ")[1]!.split(" ");
      const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.pid}/status`, "latin1"));
      this.cpuMs = (Number(stat[11]) + Number(stat[12])) * 10;
      if (peak !== null) this.peakMib = Number(peak[1]) / 1024;
    } catch {
      clearInterval(this.timer); // it has ended
    }
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

async function measure(subject: Subject, dir: string, program: Program, packed: readonly string[]): Promise<Measured> {
  for (const name of ["latencies", "verdict", "go"]) rmSync(program.scratch.join(name), { force: true });
  // With a packed file beside the raw one Faultline's daemon reads that; CRIU always reads the raw one.
  for (const file of packed) {
    const from = subject.packed ? `${file}.aside` : file;
    if (existsSync(from)) renameSync(from, subject.packed ? file : `${file}.aside`);
  }
  // CRIU's daemon leaves its socket behind.
  rmSync(join(dir, "lazy-pages.socket"), { force: true });
  const child = subject.start(dir);
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  const watch = new Watch(child.pid!);
  await waitFor("the daemon to listen", () => existsSync(join(dir, "lazy-pages.socket")));
  // Both have settled: neither is measured while it starts.
  await sleep(400);
  const start = performance.now();
  await criuRestore(dir, [], true);
  const restored = performance.now();
  const line = await waitFor("the touches", () => {
    const file = program.scratch.join("latencies");
    return existsSync(file) ? readFileSync(file, "utf8") : undefined;
  });
  if (!subject.drains) program.go();
  watch.look();
  await exited;
  const drained = performance.now();
  watch.stop();
  program.go();
  const verdict = await program.verdict();
  if (verdict !== "PASS") throw new Error(`${subject.name}: ${verdict}`);
  await waitFor("the program to be gone", () => !existsSync(`/proc/${program.pid}`));
  const [faults, p50, p90, p99, max, total] = line.trim().split(" ").map(Number);
  return {
    faults: faults!,
    p50Us: p50! / 1000,
    p90Us: p90! / 1000,
    p99Us: p99! / 1000,
    maxUs: max! / 1000,
    touchedMs: total! / 1e6,
    drainedMs: drained - restored,
    restoreMs: restored - start,
    cpuMs: watch.cpuMs,
    peakMib: watch.peakMib,
  };
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)]!;
}

function row(name: string, rounds: readonly Measured[]): string {
  const of = (key: keyof Measured, digits = 0): string => median(rounds.map((round) => round[key])).toFixed(digits);
  const cells = [of("faults"), of("p50Us", 1), of("p90Us", 1), of("p99Us", 1), of("maxUs"), of("touchedMs", 1)];
  return `| ${[name, ...cells, of("restoreMs"), of("drainedMs"), of("cpuMs"), of("peakMib")].join(" | ")} |`;
}

async function main(): Promise<void> {
  const [megabytes = "256", touches = "3000", rounds = "5"] = process.argv.slice(2);
  process.stdout.write(`${cpus().length} CPUs (${cpus()[0]!.model}), Linux ${release()}, Node ${process.version}, `);
  process.stdout.write(`${new Date().toISOString().slice(0, 10)}; ${megabytes} MiB, ${touches} random touches, `);
  process.stdout.write(`median of ${rounds} rounds; latency as the faulting program sees it\n\n`);
  process.stdout.write(
    "| daemon | faults | p50 µs | p90 µs | p99 µs | max µs | touches ms | restore ms | drained ms | CPU ms | peak MiB |\n",
  );
  process.stdout.write("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n");
  await withTempDir("bench", (dir) =>
    withProgram(
      "timed_faults",
      async (program) => {
        await criuDump(program.pid, dir.path);
        await program.gone();
        const packed = await packBeside(dir.path);
        const results = new Map<Subject, Measured[]>(subjects.map((subject) => [subject, []]));
        for (let round = 0; round < Number(rounds); round++) {
          for (const subject of subjects) {
            results.get(subject)!.push(await measure(subject, dir.path, program, packed));
            await sleep(50);
          }
        }
        for (const [subject, measured] of results) process.stdout.write(`${row(subject.name, measured)}\n`);
      },
      { arguments: [megabytes, touches] },
    ),
  );
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
