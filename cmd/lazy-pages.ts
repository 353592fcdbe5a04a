// faultline lazy-pages: stands in for `criu lazy-pages`. Options, progress and summaries; the work is src/wire/lazyDaemon.
import { spawn } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { FaultlineError } from "../src/errors";
import { SPIN_US_DEFAULT } from "../src/limits";
import type { ErrorPolicy, PagerReport, SessionReport } from "../src/pager/requests";
import { LazyDaemon, type LazyDaemonResult } from "../src/wire/lazyDaemon";
import { lazyProgress } from "./lazy-pages/progress";
import { sessionLine, summaryJson } from "./lazy-pages/summary";
import { bytesOption, onErrorHelp, policyOption, secondsOption, wholeOption } from "./support/options";
import { signalDescriptor } from "./support/statusDescriptor";

interface Options {
  readonly imagesDir: string;
  readonly workDir?: string;
  readonly statusFd?: number;
  readonly pidfile?: string;
  readonly daemon?: boolean;
  readonly verbose: number;
  readonly keep?: boolean;
  readonly timeout: number;
  readonly stayLazy?: boolean;
  readonly record?: boolean;
  readonly workingSet: boolean;
  readonly drainRate: number;
  readonly onError: ErrorPolicy;
  readonly spinUs: number;
  readonly metrics?: string;
  readonly trace?: string;
  readonly json?: boolean;
  readonly logFile?: string;
}

/** Set in the process that -d leaves in the background: the descriptor that tells the first one that it listens. */
const READY_FD_VARIABLE = "FAULTLINE_READY_FD";

export function define(command: Command): void {
  command
    .requiredOption("-D, --images-dir <dir>", "the image directory, raw or packed")
    .option("-W, --work-dir <dir>", "where the socket is made (default: the image directory)")
    .option("--status-fd <fd>", "write a NUL byte there and close it when listening", wholeOption("--status-fd"))
    .option("--pidfile <file>", "write the daemon's pid there")
    .option("-d, --daemon", "go to the background when listening")
    .option("-o, --log-file <file>", "with -d: where messages go (default: lazy-pages.log in the work directory)")
    .option("-v, --verbose", "say what happens, on stderr", (_: string, before: number) => before + 1, 0)
    .option("--keep", "serve any number of restores, until SIGTERM or SIGINT")
    .option(
      "--timeout <seconds>",
      "longest wait for a restore to connect or to go on; 0: for ever",
      secondsOption("--timeout"),
      60,
    )
    .option("--stay-lazy", "never transfer in the background: pages only when touched")
    .option("--record", "note which pages are touched, for the working set of the next restore")
    .option("--no-working-set", "do not install the recorded working set ahead of the touches")
    .option(
      "--drain-rate <bytes>",
      "most bytes a second in the background, e.g. 50M",
      bytesOption("--drain-rate", 1),
      Number.POSITIVE_INFINITY,
    )
    .option("--on-error <policy>", onErrorHelp, policyOption("--on-error"), "kill")
    .option(
      "--spin-us <us>",
      "poll that long after activity before sleeping",
      wholeOption("--spin-us"),
      SPIN_US_DEFAULT,
    )
    .option("--metrics <address>", "serve Prometheus metrics at unix:PATH or HOST:PORT")
    .option("--trace <file>", "write each fault and event there, one JSON object a line")
    .option("--json", "print a JSON summary at the end, on stdout")
    .addHelpText(
      "after",
      `
Example, in two terminals:
  faultline lazy-pages -D images
  criu restore -D images -d --lazy-pages

The restore must use the same work directory. SIGUSR1 prints a JSON summary on stdout.
Exit status: 0 when all pages were served, 1 when not, 2 for wrong usage.`,
    )
    .action((options: Options) => (options.daemon === true ? background(options) : serve(options)));
}

function daemonOptions(options: Options, log: (line: string) => void, ended: (report: SessionReport) => void) {
  const { stayLazy, drainRate, onError, spinUs, trace } = options;
  return {
    imagesDir: resolve(options.imagesDir),
    workDir: resolve(options.workDir ?? options.imagesDir),
    pager: { stayLazy: stayLazy === true, drainRateBytes: drainRate, onError, spinUs, traceFile: trace },
    keep: options.keep === true,
    record: options.record === true,
    workingSet: options.workingSet,
    warn: (line: string) => void process.stderr.write(`faultline: warning: ${line}\n`),
    timeoutMs: options.timeout === 0 ? Number.POSITIVE_INFINITY : options.timeout * 1000,
    log,
    sessionEnded: ended,
  };
}

async function serve(options: Options): Promise<void> {
  const progress = lazyProgress(process.stderr);
  const log = (line: string): void => {
    if (options.verbose > 0) progress.line(line);
  };
  const daemon = await LazyDaemon.start(daemonOptions(options, log, (report) => progress.line(sessionLine(report))));
  const stop = (): void => daemon.stop();
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  const printReport = (report: PagerReport): void => {
    process.stdout.write(`${summaryJson(report)}\n`);
  };
  process.on("SIGUSR1", () => void daemon.report().then(printReport, () => undefined));
  const metrics = await becomeReady(options, daemon);
  log(`listening in ${resolve(options.workDir ?? options.imagesDir)}`);
  progress.follow(() => daemon.report());
  let result: LazyDaemonResult;
  try {
    result = await daemon.serve();
  } finally {
    progress.end();
    await metrics?.close();
  }
  if (options.json === true) printReport(result.report);
  // A daemon that was told to keep serving and then told to stop has done its work where no session failed.
  const failed = result.sessions.some((session) => session.state !== "done");
  if (failed || (!result.ok && options.keep !== true)) process.exitCode = 1;
}

/** Metrics, the pidfile and the status descriptor; a daemon that cannot have what was asked for goes again. */
async function becomeReady(options: Options, daemon: LazyDaemon): Promise<{ close(): Promise<void> } | undefined> {
  let metrics: { close(): Promise<void> } | undefined;
  try {
    if (options.metrics !== undefined) metrics = await startMetrics(options.metrics, daemon);
    tellReady(options);
    return metrics;
  } catch (error) {
    await metrics?.close();
    daemon.stop();
    await daemon.serve();
    throw error;
  }
}

async function startMetrics(address: string, daemon: LazyDaemon): Promise<{ close(): Promise<void> }> {
  const { serveMetrics } = require("../src/wire/metrics") as typeof import("../src/wire/metrics");
  return serveMetrics(address, () => daemon.report());
}

/** After listen, before accept: the pidfile, then the status descriptor, as CRIU does. */
function tellReady(options: Options): void {
  if (options.pidfile !== undefined) writeFileSync(options.pidfile, String(process.pid));
  if (options.statusFd !== undefined) signalDescriptor(options.statusFd);
  const ready = process.env[READY_FD_VARIABLE];
  if (ready !== undefined) signalDescriptor(Number(ready));
}

/** Starts this command again in a session of its own, and returns when it listens. */
async function background(options: Options): Promise<void> {
  const logFile = options.logFile ?? join(options.workDir ?? options.imagesDir, "lazy-pages.log");
  const log = openSync(logFile, "w");
  const args = process.argv.slice(1).filter((arg) => arg !== "-d" && arg !== "--daemon");
  const status = options.statusFd;
  const stdio: (number | "ignore" | "pipe")[] = ["ignore", log, log, "pipe"];
  const child = spawn(process.execPath, withoutStatusFd(args), {
    detached: true,
    stdio,
    env: { ...process.env, [READY_FD_VARIABLE]: "3" },
  });
  const ready = await new Promise<boolean>((done) => {
    child.stdio[3]!.once("data", () => done(true));
    child.once("exit", () => done(false));
    child.once("error", () => done(false));
  });
  closeSync(log);
  if (!ready) {
    const { readFileSync } = require("node:fs") as typeof import("node:fs");
    const said = readFileSync(logFile, "utf8").trim().split("\n").pop() ?? "";
    throw new FaultlineError("PEER", `the daemon did not start: ${said.replace(/^faultline: /, "")}`, {
      file: logFile,
    });
  }
  if (status !== undefined) signalDescriptor(status);
  child.unref();
  child.stdio[3]!.destroy();
}

function withoutStatusFd(args: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--status-fd") i++;
    else if (!args[i]!.startsWith("--status-fd=")) kept.push(args[i]!);
  }
  return kept;
}
