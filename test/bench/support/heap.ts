// A dumped program with a large heap that can be restored any number of times and times its own touches (c/faulting.c).
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { criuDump } from "../../support/criu";
import { processStat } from "../../support/processes";
import { Program, type ProgramFacts } from "../../support/program";
import { TempDir } from "../../support/tempdir";
import { sleep } from "../../support/wait";
import { compileYardstick } from "./compile";
import { packForm } from "./forms";

export const noFacts = { options: [], link: "dynamic", alone: undefined, criuCannot: undefined } as const;

export interface Touches {
  readonly pattern: "random" | "sequential";
  readonly threads: number;
  readonly count: number;
}

export interface Touched {
  readonly totalMs: number;
  /** One for each touch, microseconds. */
  readonly touchesUs: readonly number[];
}

/** "TOTAL LATENCY LATENCY ...", nanoseconds, as c/touches.h writes it. */
export function parseTouches(text: string): Touched {
  const [total, ...each] = text.trim().split(" ").map(Number);
  return { totalMs: total! / 1e6, touchesUs: each.map((ns) => ns / 1000) };
}

/** Polls twice a millisecond: the measured times are the program's own, this only must not be far behind. */
export async function soon<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  limitMs = 60_000,
): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await sleep(1);
  }
}

export class DumpedHeap {
  private constructor(
    readonly program: Program,
    readonly megabytes: number,
    readonly images: TempDir,
  ) {}

  /** `under`: where the images shall be. */
  static async make(megabytes: number, under?: string): Promise<DumpedHeap> {
    const scratch = new TempDir("bench-program", true);
    const facts: ProgramFacts = { name: "faulting", about: "a large heap", ...noFacts };
    const program = Program.spawn(facts, compileYardstick("faulting"), [scratch.path, String(megabytes)], scratch);
    const heap = new DumpedHeap(program, megabytes, new TempDir("bench-heap", false, under));
    await program.ready();
    await criuDump(program.pid, heap.images.path);
    await program.gone();
    await packForm(heap.images.path);
    return heap;
  }

  get pid(): number {
    return this.program.pid;
  }

  /** Before a restore: what the program shall do when it runs. */
  plan(touches: Touches): void {
    for (const name of ["latencies", "verdict", "go", "first"])
      rmSync(this.program.scratch.join(name), { force: true });
    rmSync(join(this.images.path, "lazy-pages.socket"), { force: true });
    const { pattern, threads, count } = touches;
    writeFileSync(this.program.scratch.join("touch"), `${pattern} ${threads} ${count}\n`);
  }

  /** When the first instruction ran, on the clock of clockMs. */
  async firstMs(): Promise<number> {
    const file = this.program.scratch.join("first");
    await soon("the first instruction", () => existsSync(file));
    return Number(readFileSync(file, "utf8")) / 1e6;
  }

  async touched(): Promise<Touched> {
    const file = this.program.scratch.join("latencies");
    await soon("the touches", () => {
      if (processStat(this.pid) === undefined) throw new Error(`the program ended: ${this.program.verdictNow()}`);
      return existsSync(file);
    });
    return parseTouches(readFileSync(file, "utf8"));
  }

  /** Ends the restored program, after it has checked all its memory where asked to. */
  async finish(check: boolean): Promise<void> {
    if (check) {
      this.program.go();
      const verdict = await this.program.verdict(60_000);
      if (verdict !== "PASS") throw new Error(`the restored program says ${verdict}`);
    } else if (processStat(this.pid)?.comm === "faulting") process.kill(this.pid, "SIGKILL");
    await soon("the program to be gone", () => {
      const stat = processStat(this.pid);
      return stat === undefined || stat.comm !== "faulting";
    });
  }

  async end(): Promise<void> {
    await this.program.end();
    this.images[Symbol.dispose]();
  }
}

/** Milliseconds of CLOCK_REALTIME, finer than Date.now: what the C programs tell times of events in. */
export function clockMs(): number {
  return performance.timeOrigin + performance.now();
}
