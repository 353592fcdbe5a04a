// Runs the real CRIU as a black box: dump, restore, lazy-pages; its log's error lines become the test's error.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hangMs, stopOption, waitFor } from "./wait";

/** Installed by scripts/install-criu. */
export const criuBinary = process.env.FAULTLINE_CRIU ?? "/opt/criu/criu";

/** Errors of every run without CAP_SYS_RESOURCE, and those that only follow from another. */
const noise = /RLIMIT_NOFILE for self|Killing processes because|Unable to detach|Restoring FAILED\.?|Dumping FAILED/;

/** The lines of a CRIU log that say what went wrong, at most `count`, without time stamps. */
export function criuErrors(log: string, count = 3): string {
  if (!existsSync(log)) return "no log";
  const lines = readFileSync(log, "utf8").split("\n");
  const errors = lines
    .filter((line) => /\bError\b/.test(line) && !noise.test(line))
    .map((line) => line.replace(/^\([\d.]+\)\s*/, ""));
  return (errors.length > 0 ? errors.slice(0, count) : lines.slice(-count)).join(" | ").trim();
}

/** Runs a command to its end and gives its exit status and output; kills it after `limit` milliseconds. */
export function runCommand(
  file: string,
  args: readonly string[],
  limit = hangMs,
): Promise<{ status: number; output: string }> {
  return new Promise((done, fail) => {
    const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const keep = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      output += `\nstill running after ${limit} ms`;
      child.kill("SIGKILL");
    }, limit);
    child.once("error", fail);
    // "exit", not "close": a restored program may hold the pipes open.
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      setImmediate(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        done({ status: code ?? (signal === null ? 1 : 128), output });
      });
    });
  });
}

async function criu(verb: string, dir: string, log: string, args: readonly string[]): Promise<void> {
  // Both ends of a test's connections are in the tree and frozen: no firewall rules are needed to keep packets out.
  const more = args.includes("--tcp-established") ? ["--network-lock", "skip"] : [];
  const { status, output } = await runCommand(criuBinary, [verb, "-D", dir, "-o", log, "-v4", ...args, ...more]);
  if (status !== 0) throw new Error(`criu ${verb} failed: ${criuErrors(join(dir, log))} ${output}`.trim());
}

/** Dumps the tree of `pid` into `dir` and ends it, unless `--leave-running` is among `options`. */
export function criuDump(pid: number, dir: string, options: readonly string[] = []): Promise<void> {
  return criu("dump", dir, "dump.log", ["-t", String(pid), ...stopOption, ...options]);
}

/** Restores `dir` detached; with `lazy` a lazy-pages daemon must be listening in `dir` (see CriuLazyPages). */
export function criuRestore(dir: string, options: readonly string[] = [], lazy = false): Promise<void> {
  return criu("restore", dir, "restore.log", ["-d", ...(lazy ? ["--lazy-pages"] : []), ...options]);
}

/** CRIU's own lazy-pages daemon for one image directory. */
export class CriuLazyPages {
  private readonly child: ChildProcess;
  private readonly dir: string;
  private readonly exited: Promise<number>;

  private constructor(dir: string, child: ChildProcess) {
    this.dir = dir;
    this.child = child;
    this.exited = new Promise((done) => child.once("exit", (code) => done(code ?? 128)));
  }

  static async start(dir: string): Promise<CriuLazyPages> {
    const args = ["lazy-pages", "-D", dir, "-o", "lazy-pages.log", "-v4"];
    const daemon = new CriuLazyPages(dir, spawn(criuBinary, args, { stdio: "ignore", cwd: dir }));
    await waitFor("criu lazy-pages to listen", () => {
      if (daemon.child.exitCode !== null) throw new Error(`criu lazy-pages: ${daemon.errors()}`);
      return existsSync(join(dir, "lazy-pages.socket"));
    });
    return daemon;
  }

  errors(): string {
    return criuErrors(join(this.dir, "lazy-pages.log"));
  }

  /** Waits until every page is served and the daemon ends. */
  async finished(): Promise<void> {
    const status = await this.exited;
    if (status !== 0) throw new Error(`criu lazy-pages failed: ${this.errors()}`);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.exited;
  }
}
