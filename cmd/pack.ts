// faultline pack: compresses the page files of an image directory, in place or into a copy.
import type { Command } from "commander";
import { FaultlineError } from "../src/errors";
import type { PackSummary } from "../src/images/pack";
import { packProgress } from "./packProgress";

interface Options {
  readonly output?: string;
  readonly hc?: true;
  readonly level?: string;
  readonly block?: string;
  readonly forCriu?: true;
  readonly byWorkingSet?: true;
  readonly json?: true;
}

const HC_LEVEL_DEFAULT = 9;
const BLOCK_KIB = [4, 8, 16, 32, 64];

export function define(command: Command): void {
  command
    .argument("<directory>", "a raw image directory")
    .option("-o, --output <directory>", "write a packed copy there instead of packing in place")
    .option("--hc", "LZ4-HC: smaller and slower to pack, as fast to read")
    .option("--level <level>", "the level of LZ4-HC, 1 to 12 (default 9)")
    .option("--block <size>", "most bytes in a block: 4K, 8K, 16K, 32K or 64K (default)")
    .option("--for-criu", "leave the pages that CRIU reads eagerly where it looks for them")
    .option("--by-working-set", "store what restores touched early (restore --record) first")
    .option("--json", "the summary as JSON")
    .addHelpText("after", "\nExample:\n  faultline pack --hc -o images-packed images")
    .action(pack);
}

async function pack(directory: string, options: Options): Promise<void> {
  const level = levelOf(options);
  const pagesPerBlock = blockOf(options.block);
  const { packDirectory } = require("../src/images/pack") as typeof import("../src/images/pack");
  const progress = packProgress("packing");
  try {
    const summary = await packDirectory(directory, {
      output: options.output,
      level,
      pagesPerBlock,
      forCriu: options.forCriu,
      byWorkingSet: options.byWorkingSet,
      onProgress: progress.step,
      onWarning: (line) => void process.stderr.write(`faultline: warning: ${line}\n`),
      signal: progress.signal,
    });
    progress.end();
    printSummary(summary, options.json === true, "packed");
  } finally {
    progress.end();
  }
}

function levelOf({ hc, level }: Options): number {
  if (hc === undefined && level === undefined) return 0;
  const number = level === undefined ? HC_LEVEL_DEFAULT : Number(level);
  if (Number.isInteger(number) && number >= 1 && number <= 12) return number;
  throw new FaultlineError("USAGE", `--level ${level} is no level from 1 to 12`);
}

function blockOf(block: string | undefined): number | undefined {
  if (block === undefined) return undefined;
  const kibibytes = Number(/^(\d+)k?$/i.exec(block)?.[1]);
  if (BLOCK_KIB.includes(kibibytes)) return kibibytes / 4;
  throw new FaultlineError("USAGE", `--block ${block} is none of ${BLOCK_KIB.map((size) => `${size}K`).join(", ")}`);
}

/** What was done, in one line or as JSON. */
export function printSummary(summary: PackSummary, json: boolean, done: string): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(summary)}\n`);
    return;
  }
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const ratio = summary.rawBytes === 0 ? 0 : (100 * summary.packedBytes) / summary.rawBytes;
  const eager = summary.eagerBytes === 0 ? "" : `, ${mebibytes(summary.eagerBytes)} left for CRIU`;
  process.stdout.write(
    `${done} ${summary.directory}: ${summary.files} page files, ${mebibytes(summary.rawBytes)} raw, ` +
      `${mebibytes(summary.packedBytes)} packed (${ratio.toFixed(1)} %)${eager}\n`,
  );
}
