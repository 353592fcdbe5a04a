// faultline unpack: gives a packed image directory back as it was.
import type { Command } from "commander";
import { printSummary } from "./pack";
import { packProgress } from "./packProgress";

export function define(command: Command): void {
  command
    .argument("<directory>", "a packed image directory")
    .option("-o, --output <directory>", "write an unpacked copy there instead of unpacking in place")
    .option("--json", "the summary as JSON")
    .addHelpText("after", "\nExample:\n  faultline unpack images")
    .action(unpack);
}

async function unpack(directory: string, options: { readonly output?: string; readonly json?: true }): Promise<void> {
  const { unpackDirectory } = require("../src/images/pack") as typeof import("../src/images/pack");
  const progress = packProgress("unpacking");
  try {
    const { output } = options;
    const summary = await unpackDirectory(directory, { output, onProgress: progress.step, signal: progress.signal });
    progress.end();
    printSummary(summary, options.json === true, "unpacked");
  } finally {
    progress.end();
  }
}
