// `faultline inspect diff A B`: what changed from one checkpoint to another.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<before>", "an image directory")
    .argument("<after>", "a later one of the same tasks")
    .option("--bytes", "compare bytes even where the checksums of packed blocks agree")
    .option("--json", "print plain data")
    .addHelpText("after", "\nExample:\n  faultline inspect diff monday/ tuesday/")
    .action((before: string, after: string, options: { json?: true; bytes?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { diffCheckpoints } = require("../../src/inspect/diff") as typeof import("../../src/inspect/diff");
      const { diffText } = require("../../src/inspect/textDiff") as typeof import("../../src/inspect/textDiff");
      const { printAnswer } = require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      using left = Checkpoint.open(before);
      using right = Checkpoint.open(after);
      const diff = diffCheckpoints(left, right, { allBytes: options.bytes === true });
      printAnswer(
        options.json,
        () => diff,
        (paint) => diffText(diff, paint),
      );
    });
}
