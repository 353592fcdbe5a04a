// Where a dump says what it does: on stderr with -v, in a file with -o. Not for its summary, which goes to stdout.
import { appendFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { FaultlineError } from "../../src/errors";

export interface LogOptions {
  readonly workDir?: string;
  readonly logFile?: string;
  readonly verbose?: string | true;
}

export type Say = (line: string) => void;

/** Throws where the log cannot be written. */
export function openLog({ workDir, logFile, verbose }: LogOptions): Say {
  if (logFile === undefined) {
    return verbose === undefined ? () => {} : (line) => void process.stderr.write(`faultline: ${line}\n`);
  }
  const file = resolve(workDir ?? ".", logFile);
  try {
    writeFileSync(file, "");
  } catch (cause) {
    throw new FaultlineError("SYSTEM", "the log cannot be written; nothing was touched", { file, cause });
  }
  return (line) => appendFileSync(file, `faultline: ${line}\n`);
}
