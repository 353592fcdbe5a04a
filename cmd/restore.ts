// faultline restore: brings an image directory back as running processes. Options as CRIU's where the meaning is the same.
import { accessSync, closeSync, constants, existsSync, writeFileSync, writeSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { checked, FaultlineError } from "../src/errors";
import { native } from "../src/native";
import type { ErrorPolicy, PagerOptions, SessionReport } from "../src/pager/requests";
import type { ExitStatus, RestoreOptions, RestoreProgress, RestoreResult } from "../src/task/restore/restore";
import { acceptCriuOptions } from "./support/criuOptions";
import { bytesOption, onErrorHelp, policyOption, wholeOption } from "./support/options";
import { guardStandardOutput } from "./support/standardOutput";
import { signalDescriptor } from "./support/statusDescriptor";

interface Options {
  readonly imagesDir: string;
  readonly workDir?: string;
  readonly restoreDetached?: true;
  readonly pidfile?: string;
  readonly statusFd?: number;
  readonly shellJob?: true;
  readonly tcpEstablished?: true;
  readonly tcpClose?: true;
  readonly extUnixSk?: true;
  readonly eager?: true;
  readonly force?: true;
  readonly stayLazy?: true;
  readonly record?: true;
  readonly workingSet: boolean;
  readonly drainRate?: number;
  readonly onError: ErrorPolicy;
  readonly logFile?: string;
  readonly verbose?: string | true;
  readonly json?: true;
}

/** What a person would send to the program, and what ends a session: all go on to the root of the tree. */
const forwarded = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT"] as const;
/** Those by which a person ends a restore that has not come to the end. */
const ending: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];

/** What a terminal, and the shell on it, send to a whole process group. */
const sentToGroups: readonly NodeJS.Signals[] = ["SIGINT", "SIGQUIT", "SIGHUP", "SIGCONT"];

/** How long a signal of the shell that has ended may still be on its way, milliseconds. */
const takenPatienceMs = 50;

export function define(command: Command): void {
  command
    .requiredOption("-D, --images-dir <dir>", "the image directory")
    .option("-W, --work-dir <dir>", "where the pid file and the log go (default: the current directory)")
    .option("-d, --restore-detached", "return when the tree runs; pages follow from the background")
    .option("--pidfile <file>", "write the root's pid there")
    .option(
      "--status-fd <fd>",
      "write a NUL byte to this descriptor when the tree runs, and close it",
      wholeOption("--status-fd"),
    )
    .option("-j, --shell-job", "the tree is part of a shell's session and joins this one")
    .option("--tcp-established", "keep established TCP connections")
    .option("--tcp-close", "close established TCP connections")
    .option("-l, --file-locks", "accepted as CRIU's: the locks in the image are always taken")
    .option("--ext-unix-sk", "connect unix sockets again that were connected to a name outside of the image")
    .option("--skip-in-flight", "accepted as CRIU's: connections not accepted yet are in no image")
    .option(
      "--ghost-limit <size>",
      "accepted as CRIU's: deleted files in the image are always made",
      bytesOption("--ghost-limit", 0),
    )
    .option("--link-remap", "accepted as CRIU's: names that the dump gave are always taken away")
    .option("--eager", "read all pages before the tree runs")
    .option("--force", "go on where a mapped file has changed since the dump")
    .option("--stay-lazy", "bring pages only when they are touched")
    .option("--record", "note which pages are touched, for the working set of the next restore")
    .option("--no-working-set", "do not install the recorded working set ahead of the touches")
    .option("--drain-rate <bytes>", "most bytes a second in the background, e.g. 50M", bytesOption("--drain-rate", 1))
    .option("--on-error <policy>", onErrorHelp, policyOption("--on-error"), "kill")
    .option("-o, --log-file <file>", "where messages go once detached (default: nowhere)")
    .option("-v, --verbose [level]", "say what is done, on stderr")
    .option("--json", "print what happened as JSON, one object a line");
  acceptCriuOptions(command)
    .addHelpText(
      "after",
      `
In the foreground it forwards signals to the root of the tree and exits with its code. Lazy by default: the program
runs at once, and this process brings its pages. If that process is killed, a watchdog ends the tree, so that no
missing page ever reads as zero.

Example:
  faultline restore -D /var/checkpoints/redis -d --pidfile /run/redis.pid`,
    )
    .action((options: Options) => run(options));
}

async function run(options: Options): Promise<void> {
  sayFailure();
  const pagerOptions = checkOptions(options);
  const detached = options.restoreDetached === true;
  const signals = new SignalRelay();
  const { restore } = require("../src/task/restore/restore") as typeof import("../src/task/restore/restore");
  const request: RestoreOptions & Partial<PagerOptions> = {
    imagesDir: options.imagesDir,
    eager: options.eager === true,
    force: options.force === true,
    shellJob: options.shellJob === true,
    tcpEstablished: options.tcpEstablished === true,
    tcpClose: options.tcpClose === true,
    externalUnix: options.extUnixSk === true,
    record: options.record === true,
    workingSet: options.workingSet,
    onWarning: (line) => void process.stderr.write(`faultline: warning: ${line}\n`),
    signal: signals.aborted,
    pagerHere: detached,
    onProgress: options.verbose === undefined ? undefined : sayProgress,
    ...pagerOptions,
  };
  const result = await restore(request);
  if (!detached) signals.passTo(result.pid, options.shellJob === true && isInOurGroup(result.pid));
  announce(options, result);
  if (detached) await serveDetached(options, result, signals);
  else process.exitCode = await serveForeground(options, result);
  signals.end();
}

/**
 * The signals of this process from the first moment on. Until the tree runs they are kept, and those that mean "end"
 * abort the restore; then all of them go to the root of the tree. The handlers stay the same throughout: Node drops a
 * signal that came to one handler and was not read yet when that was taken off.
 */
class SignalRelay {
  readonly #abort = new AbortController();
  readonly #kept: NodeJS.Signals[] = [];
  readonly #handler = (signal: NodeJS.Signals): void => this.#receive(signal);
  #pid = 0;
  #isInOurGroup = false;

  constructor() {
    for (const signal of forwarded) process.on(signal, this.#handler);
  }

  get aborted(): AbortSignal {
    return this.#abort.signal;
  }

  /**
   * The tree runs; what came too late to abort the restore is the program's. With `isInOurGroup` it has by itself what came
   * to the group: passed on too, one Ctrl-C would be two.
   */
  passTo(pid: number, isInOurGroup: boolean): void {
    this.#pid = pid;
    this.#isInOurGroup = isInOurGroup;
    for (const signal of this.#kept) send(pid, signal);
  }

  end(): void {
    for (const signal of forwarded) process.off(signal, this.#handler);
  }

  #receive(signal: NodeJS.Signals): void {
    if (this.#pid > 0) {
      if (!this.#isInOurGroup || !sentToGroups.includes(signal)) send(this.#pid, signal);
      return;
    }
    this.#kept.push(signal);
    if (ending.includes(signal)) this.#abort.abort(signal);
  }
}

/** False for a process that has ended. */
function isInOurGroup(pid: number): boolean {
  const { readStat } = require("../src/task/proc") as typeof import("../src/task/proc");
  try {
    return readStat(pid).pgrp === readStat(process.pid).pgrp;
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return false;
    throw error;
  }
}

/** Sends a signal to a process that may have ended. */
function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function checkOptions(options: Options): Partial<PagerOptions> {
  if (options.shellJob === true && options.restoreDetached === true) {
    throw usage("-j keeps the tree in this session, -d leaves it");
  }
  if (options.pidfile !== undefined) checkWritable(pidfileOf(options, options.pidfile));
  const { onError, drainRate } = options;
  const base = { onError, stayLazy: options.stayLazy === true };
  return drainRate === undefined ? base : { ...base, drainRateBytes: drainRate };
}

function pidfileOf(options: Options, name: string): string {
  return resolve(options.workDir ?? ".", name);
}

/** Before anything runs: afterwards the tree would run and nobody would know its pid. */
function checkWritable(file: string): void {
  try {
    accessSync(dirname(file), constants.W_OK | constants.X_OK);
    if (existsSync(file)) accessSync(file, constants.W_OK);
  } catch (cause) {
    throw new FaultlineError("SYSTEM", "the pidfile cannot be written; nothing was restored", { file, cause });
  }
}

function usage(message: string): FaultlineError {
  return new FaultlineError("USAGE", message, { advice: "see faultline restore --help" });
}

/** The tree runs: tells everybody who asked to be told. */
function announce(options: Options, result: RestoreResult): void {
  if (options.pidfile !== undefined) writeFileSync(pidfileOf(options, options.pidfile), String(result.pid));
  if (options.statusFd !== undefined) {
    signalDescriptor(options.statusFd);
  }
  if (options.json === true) {
    const { pid, pids, lazy, eagerPages, missingPages, times } = result;
    print({ event: "running", pid, pids, lazy, eagerPages, missingPages, ...times });
  }
}

function print(value: object): void {
  guardStandardOutput();
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/**
 * Goes on as the pager, in a session of its own. bin/faultline started this process in the background and waits for a
 * code on the descriptor that FAULTLINE_READY_FD names; so that one start of Node is enough.
 */
async function serveDetached(options: Options, result: RestoreResult, signals: SignalRelay): Promise<void> {
  const log = options.logFile === undefined ? "/dev/null" : resolve(options.workDir ?? ".", options.logFile);
  checked(native.becomeBackground(log), "open", "the log cannot be written", { file: log });
  if (!(await isTaken())) {
    // Ctrl-C ended the one who waits, before this process could hear of it: a shell starts it with SIGINT ignored.
    for (const pid of result.pids) send(pid, "SIGKILL");
    process.exit(1);
  }
  signals.end(); // no terminal reaches this session any more
  const { releaseCompilers } = require("../src/optimizer") as typeof import("../src/optimizer");
  releaseCompilers();
  result.serve();
  const report = await result.pages;
  if (report?.state === "failed") process.stderr.write(`faultline: ${report.error}\n`);
  process.exit(report?.state === "failed" ? 1 : 0);
}

/**
 * Whether bin/faultline has heard that the tree runs and will exit with 0 whatever comes. It says so by SIGUSR1; where it is
 * ended before, nobody else would ever know of the tree.
 */
async function isTaken(): Promise<boolean> {
  const shell = Number(process.env.FAULTLINE_READY_PID ?? "-1");
  let taken = !(shell > 0 && readyFd > 2);
  process.on("SIGUSR1", () => {
    taken = true;
  });
  if (!sayReady(taken ? "0" : `0 ${process.pid}`)) return false;
  for (let patience = takenPatienceMs; !taken && patience > 0; ) {
    if (hasEnded(shell)) patience--;
    await new Promise((resume) => setTimeout(resume, 1));
  }
  return taken;
}

/** Also where nobody has waited for it yet. */
function hasEnded(pid: number): boolean {
  const { readStat } = require("../src/task/proc") as typeof import("../src/task/proc");
  try {
    return readStat(pid).state === "Z";
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return true;
    throw error;
  }
}

let readyFd = Number(process.env.FAULTLINE_READY_FD ?? "-1");

/** Gives bin/faultline the exit code that it waits for; only the first one counts. False where it is gone. */
function sayReady(code: string): boolean {
  if (!(readyFd > 2)) return true;
  const fd = readyFd;
  readyFd = -1;
  try {
    writeSync(fd, code);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
    return false;
  } finally {
    closeSync(fd);
  }
}

function sayFailure(): void {
  process.once("exit", (code) => void sayReady(String(code)));
}

async function serveForeground(options: Options, result: RestoreResult): Promise<number> {
  const exit = result.waitExit().then((status) => {
    if (options.json === true) print({ event: "exit", ...status });
    return status;
  });
  const pages = result.pages.then((report) => sayPages(options, report));
  const [status] = await Promise.all([exit, pages]);
  return exitCode(status);
}

/** As a shell gives it: 128 and the signal for a killed program. */
function exitCode(status: ExitStatus): number {
  return status.kind === "exited" ? status.code : 128 + status.signal;
}

function sayPages(options: Options, report: SessionReport | undefined): void {
  if (report === undefined) return;
  if (options.json === true) print({ event: "pages", ...report });
  if (report.state === "failed") process.stderr.write(`faultline: ${report.error}\n`);
}

function sayProgress(progress: RestoreProgress): void {
  const text = ((): string => {
    switch (progress.phase) {
      case "planned":
        return `${progress.tasks} tasks, ${progress.threads} threads`;
      case "built":
        return `built; ${progress.eagerPages} pages read, ${progress.missingPages} to follow`;
      case "running":
        return `running as ${progress.pid}`;
      case "pages":
        return `${progress.totalPages - progress.missingPages} of ${progress.totalPages} pages are in`;
    }
  })();
  process.stderr.write(`faultline: ${text}\n`);
}
