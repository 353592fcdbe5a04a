// `faultline inspect fds DIR [PID]`: open descriptors, and who holds their other ends.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("[pid]", "one task; every task without it")
    .option("--json", "print plain data")
    .addHelpText("after", "\nExample:\n  faultline inspect fds images/ 1234")
    .action((dir: string, pid: string | undefined, options: { json?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { taskDescriptors } =
        require("../../src/inspect/descriptors") as typeof import("../../src/inspect/descriptors");
      const { descriptorsText } =
        require("../../src/inspect/textDescriptors") as typeof import("../../src/inspect/textDescriptors");
      const output = require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      const only = pid === undefined ? undefined : output.parsePid(pid);
      using checkpoint = Checkpoint.open(dir);
      if (only !== undefined) checkpoint.task(only);
      const tasks = taskDescriptors(checkpoint).filter((task) => only === undefined || task.pid === only);
      output.printAnswer(
        options.json,
        () => tasks,
        (paint) => tasks.map((task) => descriptorsText(task, paint)).join("\n"),
      );
    });
}
