// The two engines that a crossing puts together, behind one shape: Faultline's command line and the real CRIU.
// Not for judging: an engine throws what its command said, the crossing makes a row of it.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CriuLazyPages, criuDump, criuRestore, runCommand } from "../support/criu";
import { type ProgramFacts, repositoryRoot } from "../support/program";
import { stopOption, waitFor } from "../support/wait";

export const faultlineBinary = join(repositoryRoot, "bin", "faultline");

/** A restored program's helper processes: the pager, where pages come on demand. */
export interface Restored {
  /** Ends the pager, if it still serves. Only after the program has ended or given its verdict. */
  stop(): Promise<void>;
}

export interface Engine {
  readonly name: "faultline" | "criu";
  /** Dumps the tree of `pid` into the existing directory `dir` and ends it; `forOther`: for the other engine to read. */
  dump(pid: number, dir: string, facts: ProgramFacts, forOther: boolean): Promise<void>;
  /** Restores `dir` detached; lazily or eagerly. */
  restore(dir: string, facts: ProgramFacts, lazy: boolean): Promise<Restored>;
}

async function faultline(args: readonly string[]): Promise<void> {
  const { status, output } = await runCommand(faultlineBinary, args);
  if (status !== 0) throw new Error(output.trim().split("\n").slice(0, 4).join(" | ") || `exit status ${status}`);
}

const helpPages = new Map<string, string>();

/** Those of a program's options that Faultline's verb knows; the others are CRIU's alone and Faultline does without. */
function known(verb: string, options: readonly string[]): string[] {
  let help = helpPages.get(verb);
  if (help === undefined) {
    help = spawnSync(faultlineBinary, [verb, "--help"], { encoding: "utf8" }).stdout;
    helpPages.set(verb, help);
  }
  return options.filter((option) => help.includes(option));
}

/** Faultline's page daemon for CRIU's `restore --lazy-pages`. */
export class FaultlineLazyPages implements Restored {
  private readonly child: ChildProcess;
  private readonly exited: Promise<void>;
  private output = "";

  private constructor(child: ChildProcess) {
    this.child = child;
    this.exited = new Promise((done) => child.once("exit", () => done()));
    const keep = (chunk: Buffer) => {
      this.output += chunk.toString();
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
  }

  static async start(dir: string): Promise<FaultlineLazyPages> {
    const child = spawn(faultlineBinary, ["lazy-pages", "-D", dir], { stdio: ["ignore", "pipe", "pipe"], cwd: dir });
    const daemon = new FaultlineLazyPages(child);
    await waitFor("faultline lazy-pages to listen", () => {
      if (child.exitCode !== null) throw new Error(`faultline lazy-pages: ${daemon.output.trim()}`);
      return existsSync(join(dir, "lazy-pages.socket"));
    });
    return daemon;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.exited;
  }
}

const nothingToStop: Restored = { stop: () => Promise.resolve() };

/** Faultline: packed where it reads its own images, raw where CRIU reads them. */
export const faultlineEngine: Engine = {
  name: "faultline",
  dump: (pid, dir, facts, forOther) =>
    faultline([
      "dump",
      "-t",
      String(pid),
      "-D",
      dir,
      ...stopOption,
      ...(forOther ? ["--compress", "none"] : []),
      ...known("dump", facts.options),
    ]),
  async restore(dir, facts, lazy) {
    await faultline(["restore", "-D", dir, "-d", ...(lazy ? [] : ["--eager"]), ...known("restore", facts.options)]);
    return nothingToStop;
  },
};

export const criuEngine: Engine = {
  name: "criu",
  dump: (pid, dir, facts) => criuDump(pid, dir, facts.options),
  async restore(dir, facts, lazy) {
    const daemon = lazy ? await CriuLazyPages.start(dir) : undefined;
    try {
      await criuRestore(dir, facts.options, lazy);
    } catch (error) {
      await daemon?.stop();
      throw error;
    }
    return daemon ?? nothingToStop;
  },
};

/** The real CRIU restoring with Faultline's page daemon in place of its own. */
export const criuEngineWithFaultlinePages: Engine = {
  ...criuEngine,
  async restore(dir, facts, lazy) {
    if (!lazy) return criuEngine.restore(dir, facts, lazy);
    const daemon = await FaultlineLazyPages.start(dir);
    try {
      await criuRestore(dir, facts.options, true);
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return daemon;
  },
};
