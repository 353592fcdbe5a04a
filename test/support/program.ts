// Compiles a C program of test/programs once, runs it in a session of its own, and reads its verdict.
// The protocol with the program is described in test/programs/README.md. Not for dumping or restoring: see the engines.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { extname, join, resolve } from "node:path";
import { endProcesses, isGone, type ProcessStat, processStat, processTree, sessionMembers } from "./processes";
import { TempDir } from "./tempdir";
import { hangMs, waitFor } from "./wait";

/** The repository root, from dist/test/support. */
export const repositoryRoot = resolve(__dirname, "..", "..", "..");
const programsFolder = join(repositoryRoot, "test", "programs");
/** Compiled programs stay here between runs, under a name that holds a hash of all that made them. */
const cacheFolder = join(tmpdir(), `faultline-programs-${userInfo().uid}`);
const flags = ["-O1", "-g", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-pthread"];

/** What the first comment of a program says about it, one `key: value` line each. */
export interface ProgramFacts {
  readonly name: string;
  /** One line: what the program holds. From the first line of its comment. */
  readonly about: string;
  /** `options:` long options that dump and restore both need, as CRIU spells them. */
  readonly options: readonly string[];
  /** `link:` "static", or "dynamic" (the default). */
  readonly link: "static" | "dynamic";
  /** `alone:` why no other program may be crossed meanwhile. */
  readonly alone: string | undefined;
  /** `criu:` why the real CRIU cannot do it, where it cannot; from a run of CRIU itself. */
  readonly criuCannot: string | undefined;
}

export function programSource(name: string): string {
  return join(programsFolder, `${name}.c`);
}

/** The facts in the first comment of a file, C (`//`) or script (`#`, after its first line). */
function factsOf(name: string, file: string): ProgramFacts {
  const lines = readFileSync(file, "utf8").split("\n");
  if (lines[0]?.startsWith("#!")) lines.shift();
  const end = lines.findIndex((line) => !/^(\/\/|#(?!include))/.test(line));
  const comment = lines.slice(0, end).map((line) => line.replace(/^(\/\/|#) ?/, ""));
  const value = (key: string) => comment.find((line) => line.startsWith(`${key}: `))?.slice(key.length + 2);
  return {
    name,
    about: comment[0] ?? "",
    options: value("options")?.split(/\s+/) ?? [],
    link: value("link") === "static" ? "static" : "dynamic",
    alone: value("alone"),
    criuCannot: value("criu"),
  };
}

export function programFacts(name: string): ProgramFacts {
  return factsOf(name, programSource(name));
}

/** Real software that follows the same protocol: the scripts of test/interop/software, run by their interpreters. */
const softwareFolder = join(repositoryRoot, "test", "interop", "software");
const interpreters: Record<string, readonly string[]> = {
  ".py": ["/usr/bin/python3"],
  ".js": [process.execPath],
  ".sh": ["/bin/bash"],
  ".pl": ["/usr/bin/perl"],
  ".rb": ["/usr/bin/ruby"],
  // A JVM that compiles the file itself (JEP 330), with a heap small enough that it collects garbage all the time.
  ".java": ["/usr/bin/java", "-Xmx64m", "-XX:+UseG1GC"],
};

export function softwareFacts(file: string): ProgramFacts {
  return factsOf(file, join(softwareFolder, file));
}

function commandOf(facts: ProgramFacts, link: "static" | "dynamic"): readonly string[] {
  const interpreter = interpreters[extname(facts.name)];
  if (interpreter === undefined) return [compileProgram(facts.name, link)];
  return [...interpreter, join(softwareFolder, facts.name)];
}

/** Compiles test/programs/NAME.c and returns the executable; a second call with the same sources compiles nothing. */
export function compileProgram(name: string, link: "static" | "dynamic" = programFacts(name).link): string {
  const source = programSource(name);
  const all = link === "static" ? [...flags, "-static"] : flags;
  const hash = createHash("sha256").update(all.join(" "));
  for (const file of [source, join(programsFolder, "check.h")]) hash.update("\0").update(readFileSync(file));
  const folder = join(cacheFolder, hash.digest("hex").slice(0, 16));
  const executable = join(folder, name);
  if (existsSync(executable)) return executable;
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const temporary = `${executable}.${process.pid}`;
  execFileSync("gcc", [...all, "-o", temporary, source, "-lm"], { stdio: ["ignore", "inherit", "inherit"] });
  publish(temporary, executable);
  return executable;
}

/** Gives the file its name unless another test process was first: that one's program may run already, and must stay named. */
export function publish(temporary: string, name: string): void {
  try {
    linkSync(temporary, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  rmSync(temporary);
}

export interface StartOptions {
  readonly link?: "static" | "dynamic" | undefined;
  readonly arguments?: readonly string[] | undefined;
}

/** A running test program with its scratch directory. */
export class Program {
  readonly name: string;
  readonly pid: number;
  readonly scratch: TempDir;
  readonly facts: ProgramFacts;
  private readonly child: ChildProcess;
  private readonly reaped: Promise<void>;
  private known: readonly ProcessStat[] = [];

  private constructor(facts: ProgramFacts, child: ChildProcess, scratch: TempDir) {
    this.facts = facts;
    this.name = facts.name;
    this.child = child;
    this.scratch = scratch;
    this.pid = child.pid!;
    this.reaped = new Promise((done) => child.once("exit", () => done()));
  }

  /** Starts a program of test/programs, or a script of test/interop/software, by name (see `spawn`). */
  static start(name: string, options: StartOptions = {}): Program {
    const facts = extname(name) === "" ? programFacts(name) : softwareFacts(name);
    const [executable, ...first] = commandOf(facts, options.link ?? facts.link);
    const scratch = new TempDir(name, true);
    return Program.spawn(facts, executable!, [...first, scratch.path, ...(options.arguments ?? [])], scratch);
  }

  /** Starts any command in a new session: stdin /dev/null, output into SCRATCH/output, no pipe to the test. */
  static spawn(facts: ProgramFacts, executable: string, args: readonly string[], scratch: TempDir): Program {
    const output = openSync(scratch.join("output"), "a");
    try {
      const child = spawn(executable, args, {
        detached: true,
        stdio: ["ignore", output, output],
        cwd: "/",
        env: { PATH: "/usr/bin:/bin", HOME: "/" },
      });
      if (child.pid === undefined) throw new Error(`cannot start ${executable}`);
      return new Program(facts, child, scratch);
    } finally {
      closeSync(output);
    }
  }

  /** Waits until the program has set itself up. Fails at once with its verdict where it gave one instead. */
  async ready(): Promise<void> {
    await waitFor(`${this.name} to be ready`, () => {
      if (existsSync(this.scratch.join("ready"))) return true;
      const verdict = this.verdictNow();
      if (verdict !== undefined) throw new Error(`${this.name} set-up: ${verdict}`);
      if (this.child.exitCode !== null)
        throw new Error(`${this.name} exited with ${this.child.exitCode}: ${this.output()}`);
      return false;
    });
    this.remember();
  }

  /** The tree as it was when it got ready (or was last looked at). */
  tree(): readonly ProcessStat[] {
    return this.known;
  }

  /** Looks at the tree again: processes restored since then, or made since then, are ended with it. */
  remember(): void {
    const more = processTree(this.pid);
    this.known = [...this.known, ...more];
  }

  /** Waits until every process of the tree is gone and its pid free, as after a dump that ends it. */
  async gone(): Promise<void> {
    await this.reaped;
    const left = () => [...this.known.filter((stat) => !isGone(stat.pid)), ...sessionMembers(this.pid)];
    await waitFor(`${this.name} to be gone`, () => left().length === 0);
  }

  /** Tells the program to go on and check itself. */
  go(): void {
    writeFileSync(this.scratch.join("go"), "");
  }

  /** Forgets the verdict and `go`: the same dump is about to be restored once more. */
  again(): void {
    for (const name of ["go", "verdict"]) rmSync(this.scratch.join(name), { force: true });
  }

  /** The verdict, where the program has given it already. */
  verdictNow(): string | undefined {
    const file = this.scratch.join("verdict");
    return existsSync(file) ? readFileSync(file, "utf8").trim() : undefined;
  }

  /** What the program printed so far. */
  output(): string {
    return readFileSync(this.scratch.join("output"), "utf8");
  }

  /** "PASS", or "FAIL reason" as the program said it, or "FAIL ..." when it died or hung without a verdict. */
  async verdict(limitMs = hangMs): Promise<string> {
    const end = Date.now() + limitMs;
    const found = await waitFor(
      `the verdict of ${this.name}`,
      () => {
        const verdict = this.verdictNow();
        if (verdict !== undefined) return verdict;
        const state = processStat(this.pid)?.state;
        if (state === undefined || state === "Z")
          return this.verdictNow() ?? `FAIL ended without a verdict ${this.output()}`;
        return Date.now() > end ? `FAIL no verdict after ${limitMs} ms (state ${state})` : false;
      },
      limitMs + 5_000,
    );
    return found.trim();
  }

  /** Ends whatever is left of the tree, reaps it and removes the scratch directory. */
  async end(): Promise<void> {
    await endProcesses([
      ...this.known,
      ...processTree(this.pid).filter(() => this.child.exitCode === null && this.child.signalCode === null),
    ]);
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGKILL");
      await this.reaped;
    }
    this.scratch[Symbol.dispose]();
  }
}

/** Starts a program, waits until it is ready, runs `body`, and ends the program whatever happened. */
export async function withProgram<T>(
  name: string,
  body: (program: Program) => Promise<T>,
  options: StartOptions = {},
): Promise<T> {
  const program = Program.start(name, options);
  try {
    await program.ready();
    return await body(program);
  } finally {
    await program.end();
  }
}
