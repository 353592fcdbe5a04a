// `faultline inspect env DIR PID`: the environment of a task, read from its dumped memory.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("<pid>", "a task")
    .option("--json", "print plain data: an object of names and values")
    .addHelpText("after", "\nExample:\n  faultline inspect env images/ 1234")
    .action((dir: string, pid: string, options: { json?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { environment } = require("../../src/inspect/tasks") as typeof import("../../src/inspect/tasks");
      const { safeText } = require("../../src/inspect/textTable") as typeof import("../../src/inspect/textTable");
      const { parsePid, printAnswer } =
        require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      const number = parsePid(pid);
      using checkpoint = Checkpoint.open(dir);
      const words = environment(checkpoint, number);
      const pairs = () =>
        words.map((word) => {
          const at = word.indexOf("=");
          return at < 0 ? [word, ""] : [word.slice(0, at), word.slice(at + 1)];
        });
      printAnswer(
        options.json,
        () => Object.fromEntries(pairs()),
        () => words.map((word) => `${safeText(word)}\n`).join(""),
      );
    });
}
