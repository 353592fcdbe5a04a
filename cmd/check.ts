// faultline check: what this machine lacks, and what stands in the way of dumping a process tree.
import type { Command } from "commander";
import { bytesOption, pidOption } from "./support/options";

interface Options {
  tree?: number;
  shellJob?: boolean;
  tcpClose?: boolean;
  tcpEstablished?: boolean;
  fileLocks?: boolean;
  linkRemap?: boolean;
  extUnixSk?: boolean;
  skipInFlight?: boolean;
  ghostLimit: number;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .option("-t, --tree <pid>", "also look for obstacles in the process tree below this pid", pidOption("--tree"))
    .option("-j, --shell-job", "as for dump")
    .option("--tcp-close", "as for dump")
    .option("--tcp-established", "as for dump")
    .option("-l, --file-locks", "as for dump")
    .option("--link-remap", "as for dump")
    .option("--ext-unix-sk", "as for dump")
    .option("--skip-in-flight", "as for dump")
    .option("--ghost-limit <size>", "as for dump", bytesOption("--ghost-limit", 0), 1024 * 1024)
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nExits with 1 where something required is missing.\n\nExample:\n  $ faultline check -t 4711\n",
    )
    .action((options: Options) => {
      const { machineFindings } = require("../src/task/dump/machine") as typeof import("../src/task/dump/machine");
      const { findObstacles, obstacleText } =
        require("../src/task/dump/obstacles") as typeof import("../src/task/dump/obstacles");
      const machine = machineFindings();
      const obstacles =
        options.tree === undefined
          ? []
          : findObstacles(options.tree, {
              shellJob: options.shellJob ?? false,
              tcpEstablished: options.tcpEstablished ?? false,
              tcpClose: options.tcpClose ?? false,
              fileLocks: options.fileLocks ?? false,
              linkRemap: options.linkRemap ?? false,
              externalUnix: options.extUnixSk ?? false,
              skipWaiting: options.skipInFlight ?? false,
              ghostLimitBytes: options.ghostLimit,
            });
      const ok = machine.every((finding) => finding.ok || !finding.required) && obstacles.length === 0;
      if (options.json === true) {
        process.stdout.write(`${JSON.stringify({ ok, machine, obstacles })}\n`);
      } else {
        const lines = machine.map(({ name, ok: works, required, text }) => {
          const mark = works ? "ok     " : required ? "MISSING" : "lacking";
          return `${mark}  ${name.padEnd(24)}${text}`;
        });
        if (options.tree !== undefined && obstacles.length === 0)
          lines.push(`ok       tree ${options.tree} can be dumped`);
        lines.push(...obstacles.map((obstacle) => `IN THE WAY  ${obstacleText(obstacle)}`));
        process.stdout.write(`${lines.join("\n")}\n`);
      }
      if (!ok) process.exitCode = 1;
    });
}
