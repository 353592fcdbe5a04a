// `faultline inspect report DIR -o FILE`: one self-contained HTML page about an image.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .requiredOption("-o, --output <file>", "the HTML file to write")
    .option("--exact", "look at every page, however many there are (default: a sample beyond 1 GiB per task)")
    .option("--json", "print what was written as plain data")
    .addHelpText("after", "\nExample:\n  faultline inspect report images/ -o report.html")
    .action((dir: string, options: { output: string; exact?: true; json?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { reportOf } = require("../../src/inspect/report") as typeof import("../../src/inspect/report");
      const { writeReport } =
        require("../../src/inspect/writeReport") as typeof import("../../src/inspect/writeReport");
      const { bytesText } = require("../../src/inspect/textTable") as typeof import("../../src/inspect/textTable");
      const { printAnswer } = require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      using checkpoint = Checkpoint.open(dir);
      const report = reportOf(checkpoint, options.exact === true);
      const fileBytes = writeReport(report, options.output);
      const { totals } = report;
      printAnswer(
        options.json,
        () => ({ file: options.output, fileBytes, ...totals }),
        () => `${options.output}: ${bytesText(fileBytes)} about ${totals.mappings} mappings\n`,
      );
    });
}
