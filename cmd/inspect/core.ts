// `faultline inspect core DIR PID -o FILE`: a task as an ELF core file for gdb.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("<pid>", "a task")
    .requiredOption("-o, --output <file>", "the core file to write")
    .option("--json", "print what was written as plain data")
    .addHelpText(
      "after",
      "\nExample:\n  faultline inspect core images/ 1234 -o core.1234 && gdb /usr/bin/program core.1234",
    )
    .action((dir: string, pid: string, options: { output: string; json?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { writeCoreFile } = require("../../src/inspect/coreFile") as typeof import("../../src/inspect/coreFile");
      const { bytesText, pagesText } =
        require("../../src/inspect/textTable") as typeof import("../../src/inspect/textTable");
      const { parsePid, printAnswer } =
        require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      const number = parsePid(pid);
      using checkpoint = Checkpoint.open(dir);
      const summary = writeCoreFile(checkpoint, number, options.output);
      const { threads, segments, fileBytes, writtenBytes, absentPages } = summary;
      const absent = absentPages > 0 ? `; ${pagesText(absentPages)} are not in this image and so not in the core` : "";
      printAnswer(
        options.json,
        () => summary,
        () =>
          `${options.output}: ${threads} threads, ${segments} segments, ` +
          `${bytesText(fileBytes)} of which ${bytesText(fileBytes - writtenBytes)} holes${absent}\n`,
      );
    });
}
