// `faultline inspect maps DIR [PID]`: what is mapped where, and what of it the image holds.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("[pid]", "one task; every task without it")
    .option("--exact", "look at every page, however many there are (default: a sample beyond 1 GiB per task)")
    .option("--json", "print plain data")
    .addHelpText("after", "\nExample:\n  faultline inspect maps images/ 1234")
    .action((dir: string, pid: string | undefined, options: { json?: true; exact?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { taskMappings } = require("../../src/inspect/mappings") as typeof import("../../src/inspect/mappings");
      const { mappingsText } = require("../../src/inspect/textMaps") as typeof import("../../src/inspect/textMaps");
      const output = require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      const only = pid === undefined ? undefined : output.parsePid(pid);
      using checkpoint = Checkpoint.open(dir);
      const pids = only === undefined ? checkpoint.tasks.map((task) => task.pid) : [checkpoint.task(only).pid];
      const tasks = pids.map((each) => taskMappings(checkpoint, each, { exact: options.exact === true }));
      output.printAnswer(
        options.json,
        () => tasks,
        (paint) => tasks.map((task) => mappingsText(task, paint)).join("\n"),
      );
    });
}
