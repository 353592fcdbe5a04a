// A page daemon under measurement: `criu lazy-pages` or `faultline lazy-pages`, with its CPU time and peak memory.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { criuBinary } from "../../support/criu";
import { repositoryRoot } from "../../support/program";
import { formOf } from "./forms";
import { soon } from "./heap";

export const faultline = join(repositoryRoot, "bin", "faultline");

export interface DaemonKind {
  readonly name: string;
  readonly ours: boolean;
  readonly packed: boolean;
  readonly options: readonly string[];
}

export const daemons = {
  criu: { name: "criu lazy-pages", ours: false, packed: false, options: [] },
  raw: { name: "faultline, raw", ours: true, packed: false, options: [] },
  packed: { name: "faultline, packed", ours: true, packed: true, options: [] },
  rawLazy: { name: "faultline, raw", ours: true, packed: false, options: ["--stay-lazy"] },
  packedLazy: { name: "faultline, packed", ours: true, packed: true, options: ["--stay-lazy"] },
} satisfies Record<string, DaemonKind>;

/** CPU time of all threads, milliseconds, from the scheduler's own count; undefined when the process has gone. */
export function cpuMs(pid: number): number | undefined {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`);
    const each = tasks.map((tid) => Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, "utf8").split(" ")[0]));
    return each.reduce((sum, ns) => sum + ns, 0) / 1e6;
  } catch {
    return undefined; // it ended between two looks
  }
}

export function peakMib(pid: number): number | undefined {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]) / 1024;
  } catch {
    return undefined;
  }
}

export class Daemon {
  readonly exited: Promise<void>;
  /** When it ended, on performance.now's clock. */
  exitedMs = Number.NaN;
  private readonly child: ChildProcess;

  constructor(
    kind: DaemonKind,
    private readonly dir: string,
  ) {
    const [file, args] = kind.ours
      ? [faultline, ["lazy-pages", ...kind.options, "-D", formOf(dir, kind.packed), "-W", dir]]
      : [criuBinary, ["lazy-pages", "-D", dir, "-o", "lazy.log", "-v0"]];
    this.child = spawn(file, args, { cwd: dir, stdio: "ignore" });
    this.exited = new Promise((done) =>
      this.child.once("exit", () => {
        this.exitedMs = performance.now();
        done();
      }),
    );
  }

  get pid(): number {
    return this.child.pid!;
  }

  async listening(): Promise<void> {
    await soon("the daemon to listen", () => {
      if (this.child.exitCode !== null) throw new Error(`the daemon exited with ${this.child.exitCode}`);
      return existsSync(join(this.dir, "lazy-pages.socket"));
    });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.exited;
  }
}
