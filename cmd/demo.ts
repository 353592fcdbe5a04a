// faultline demo: a server full of documents is frozen under load and brought back lazily, with every number measured.
import { type Command, InvalidArgumentError } from "commander";
import type { FaultlineError } from "../src/errors";
import type { DemoFacts } from "../src/service/demo/demo";
import { demoStory } from "./demo/story";

interface Options {
  size: number;
  keep?: string;
  json?: boolean;
}

/** More fits no picture and no patience. */
const sizeMaxMebibytes = 16384;
const interruptedExitCode = 130;
/** Rows of 64 that fit a terminal of 80 columns, and not more than a glance takes. */
const cellsMax = 512;

function mebibytesArgument(text: string): number {
  const size = Number(text);
  if (!/^\d+$/.test(text) || size < 1 || size > sizeMaxMebibytes) {
    throw new InvalidArgumentError(`not a number of MiB from 1 to ${sizeMaxMebibytes}`);
  }
  return size;
}

export function define(command: Command): void {
  command
    .option("--size <MiB>", "how much data the server holds", mebibytesArgument, 256)
    .option("--keep <dir>", "keep the images there, to look at them afterwards; must not exist")
    .option("--json", "print what was measured as JSON, and nothing else")
    .addHelpText(
      "after",
      `
Starts an HTTP server on 127.0.0.1 that holds JSON documents in memory, puts load on it, freezes it, brings it back with
its memory still on disk, and checks every document. Ends all that it started and removes its files, also on Ctrl-C
(exit code 130). Needs root.

Example:
  $ faultline demo --size 512 --keep /var/tmp/frozen`,
    )
    .action((options: Options) => run(options));
}

async function run(options: Options): Promise<void> {
  const { runDemo } = require("../src/service/demo/demo") as typeof import("../src/service/demo/demo");
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  // A reader that goes away (`| head`) interrupts too: the entry point's own answer would leave the server behind.
  process.stdout.removeAllListeners("error").on("error", stop);
  const story = options.json === true ? undefined : demoStory(process.stdout, options.size);
  let facts: DemoFacts;
  try {
    const { signal } = abort;
    facts = await runDemo({
      dataBytes: options.size * 2 ** 20,
      keep: options.keep,
      cellsMax,
      signal,
      ...(story && { onEvent: story.tell }),
    });
  } catch (error) {
    story?.breakOff();
    if ((error as FaultlineError).code !== "ABORTED") throw error;
    process.stderr.write("faultline: interrupted; what the demo started and wrote is gone\n");
    process.exitCode = interruptedExitCode;
    return;
  }
  if (options.json === true) process.stdout.write(`${JSON.stringify(facts)}\n`);
  story?.end(facts);
  if (!facts.check.digestRight || facts.check.wrongAnswers > 0 || !facts.check.sameProcess) process.exitCode = 1;
}
