// `faultline inspect regs DIR PID`: the registers of every thread of a task.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("<pid>", "a task")
    .option("--json", "print plain data, with all vector state")
    .addHelpText("after", "\nExample:\n  faultline inspect regs images/ 1234")
    .action((dir: string, pid: string, options: { json?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { threadRegisters } =
        require("../../src/inspect/registers") as typeof import("../../src/inspect/registers");
      const { registersText } =
        require("../../src/inspect/textRegisters") as typeof import("../../src/inspect/textRegisters");
      const { parsePid, printAnswer } =
        require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      const number = parsePid(pid);
      using checkpoint = Checkpoint.open(dir);
      const threads = threadRegisters(checkpoint, number);
      printAnswer(
        options.json,
        () => threads,
        (paint) => registersText(threads, paint),
      );
    });
}
