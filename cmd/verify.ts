// `faultline verify DIR`: whether an image directory is whole. Prints what is wrong; exit code 1 where anything is.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<directory>", "an image directory, raw or packed")
    .option("--json", "the report as JSON")
    .addHelpText("after", "\nExample:\n  faultline verify images")
    .action(verify);
}

function verify(path: string, options: { readonly json?: true }): void {
  const { verifyDirectory } = require("../src/images/verify") as typeof import("../src/images/verify");
  const report = verifyDirectory(path);
  if (report.findings.length > 0) process.exitCode = 1;
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return;
  }
  for (const { file, record, offset, message } of report.findings) {
    const where = [
      file,
      record === undefined ? "" : `record ${record}`,
      offset === undefined ? "" : `offset ${offset}`,
    ];
    process.stdout.write(`${where.filter((part) => part !== "").join(", ")}: ${message}\n`);
  }
  const { findings, imageCount } = report;
  const verdict = findings.length === 0 ? "nothing wrong" : `${findings.length} found wrong`;
  process.stdout.write(`${path}: ${imageCount} images, ${verdict}\n`);
}
