// `faultline inspect workingset DIR [PID]`: what the recorded working sets of an image say.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("[pid]", "one task only")
    .option("--json", "print plain data")
    .addHelpText("after", "\nExample:\n  faultline inspect workingset images/")
    .action((dir: string, pid: string | undefined, options: { json?: true }) => {
      const { ImageDirectory } = require("../../src/images/directory") as typeof import("../../src/images/directory");
      const { workingSets } =
        require("../../src/inspect/workingSets") as typeof import("../../src/inspect/workingSets");
      const { workingSetsText } =
        require("../../src/inspect/textWorkingSets") as typeof import("../../src/inspect/textWorkingSets");
      const { parsePid, printAnswer } =
        require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      const asked = pid === undefined ? undefined : parsePid(pid);
      using directory = ImageDirectory.open(dir);
      const tasks = asked === undefined ? directory.tasks : [directory.task(asked)];
      const alive = tasks.filter((task) => !task.dead).map((task) => task.pid);
      const summaries = workingSets(directory, alive);
      printAnswer(
        options.json,
        () => summaries,
        (paint) => workingSetsText(summaries, paint),
      );
    });
}
