// `faultline inspect ps DIR`: the process tree of an image.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .option("--json", "print plain data")
    .addHelpText("after", "\nExample:\n  faultline inspect ps images/")
    .action((dir: string, options: { json?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { listTasks } = require("../../src/inspect/tasks") as typeof import("../../src/inspect/tasks");
      const { tasksText } = require("../../src/inspect/textTasks") as typeof import("../../src/inspect/textTasks");
      const { printAnswer } = require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      using checkpoint = Checkpoint.open(dir);
      const tasks = listTasks(checkpoint);
      printAnswer(
        options.json,
        () => tasks,
        (paint) => tasksText(tasks, paint),
      );
    });
}
