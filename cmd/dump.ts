// faultline dump: freezes a running process tree into an image directory.
import { type Command, Option } from "commander";
import type { DumpOptions, DumpResult } from "../src/task/dump/dump";
import type { Compression } from "../src/task/dump/pageImages";
import { acceptCriuOptions } from "./support/criuOptions";
import { openLog, type Say } from "./support/dumpLog";
import { bytesOption, pidOption, secondsOption } from "./support/options";

interface Options {
  tree: number;
  imagesDir: string;
  leaveRunning?: boolean;
  leaveStopped?: boolean;
  compress: Compression;
  shellJob?: boolean;
  tcpClose?: boolean;
  tcpEstablished?: boolean;
  fileLocks?: boolean;
  linkRemap?: boolean;
  extUnixSk?: boolean;
  skipInFlight?: boolean;
  workDir?: string;
  logFile?: string;
  verbose?: string | true;
  ghostLimit: number;
  timeout: number;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .requiredOption("-t, --tree <pid>", "the root of the process tree", pidOption("--tree"))
    .requiredOption("-D, --images-dir <dir>", "where the images go; must not exist, or be empty")
    .option("-R, --leave-running", "let the tree run on after the dump")
    .addOption(new Option("-s, --leave-stopped", "leave the tree stopped after the dump").conflicts("leaveRunning"))
    .addOption(new Option("--compress <how>", "page files").choices(["lz4", "lz4-hc", "none"]).default("lz4"))
    .option("-j, --shell-job", "session and terminal belong to a shell outside of the tree")
    .option("--tcp-close", "restore TCP connections closed")
    .option("--tcp-established", "take TCP connections along; restore needs it too")
    .option("--skip-in-flight", "let TCP connections go that are not accepted yet")
    .option("--ext-unix-sk", "take datagram unix sockets along that are connected to a name outside of the tree")
    .option("--link-remap", "give deleted files that have another name (a hard link) a name until the restore")
    .option("-l, --file-locks", "take file locks along")
    .option(
      "--ghost-limit <size>",
      "largest deleted file that is taken along",
      bytesOption("--ghost-limit", 0),
      1024 * 1024,
    )
    .option("--timeout <seconds>", "how long the tree may take to stop", secondsOption("--timeout", 0.001, 3600), 10)
    .option("-W, --work-dir <dir>", "where the log goes (default: the current directory)")
    .option("-o, --log-file <file>", "write what is done there")
    .option("-v, --verbose [level]", "say what is done, on stderr where there is no log")
    .option("--json", "print the summary as JSON");
  acceptCriuOptions(command)
    .addHelpText(
      "after",
      "\nExample:\n  $ faultline dump --tree 4711 --images-dir /var/tmp/checkpoint --leave-running\n",
    )
    .action(async (options: Options) => {
      const say = openLog(options);
      const { dump } = require("../src/task/dump/dump") as typeof import("../src/task/dump/dump");
      const abort = new AbortController();
      const onSignal = (): void => abort.abort();
      for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, onSignal);
      const result = await dump(dumpOptions(options, abort.signal, say)).catch((error: Error) => {
        say(error.message);
        throw error;
      });
      for (const line of text(result).trimEnd().split("\n")) say(line);
      // Node gives signals their default action back when it has nothing more to do: one that comes then would end a dump
      // that succeeded as if it had failed. exit() leaves the handlers in place until the process is gone.
      process.stdout.write(options.json === true ? `${JSON.stringify(result)}\n` : text(result), (error) => {
        if (!error) process.exit();
      });
    });
}

function dumpOptions(options: Options, signal: AbortSignal, say: Say): DumpOptions {
  return {
    pid: options.tree,
    directory: options.imagesDir,
    after: options.leaveRunning === true ? "run" : options.leaveStopped === true ? "stop" : "kill",
    compress: options.compress,
    shellJob: options.shellJob ?? false,
    tcpClose: options.tcpClose ?? false,
    tcpEstablished: options.tcpEstablished ?? false,
    fileLocks: options.fileLocks ?? false,
    linkRemap: options.linkRemap ?? false,
    externalUnix: options.extUnixSk ?? false,
    skipWaiting: options.skipInFlight ?? false,
    ghostLimitBytes: options.ghostLimit,
    freezeTimeoutMs: options.timeout * 1000,
    signal,
    onProgress: ({ phase, elapsedMs }) => say(`${phase}, after ${elapsedMs.toFixed(1)} ms`),
  };
}

function text(result: DumpResult): string {
  const ms = (us: number): string => `${(us / 1000).toFixed(1)} ms`;
  const mib = (bytes: number): string => `${(bytes / 1048576).toFixed(1)} MiB`;
  const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const lines = [
    `dumped ${plural(result.taskCount, "task")}, ${plural(result.threadCount, "thread")} to ${result.directory}`,
    `frozen ${ms(result.frozenUs)}, of which stopping ${ms(result.freezingUs)}; written in ${ms(result.writeUs)}`,
    `${plural(result.pageCount, "page")} (${mib(result.pageCount * 4096)}) in ${mib(result.pageFileBytes)}; ` +
      `${plural(result.zeroPageCount, "zero page")} left out`,
    ...result.warnings.map((warning) => `warning: ${warning}`),
  ];
  return `${lines.join("\n")}\n`;
}
