// The entry point of the command line: finds the verb and loads only that verb's file.
// One file per verb beside this one; no logic here beyond dispatch and the last error handler.
import type { Command } from "commander";
import type { FaultlineError } from "../src/errors";
import { guardStandardOutput } from "./support/standardOutput";
import { version } from "./support/version";

/** A verb's file exports `define`, which adds its options, help, example and action to `command`. */
export interface VerbModule {
  define(command: Command): void;
}

interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly load: () => VerbModule;
}

/** Every verb, in the order of the help page. */
const verbs: readonly Verb[] = [
  { name: "demo", summary: "watch a frozen program come back", load: () => require("./demo") },
  { name: "pack", summary: "compress the pages of an image directory", load: () => require("./pack") },
  { name: "unpack", summary: "undo pack, byte for byte", load: () => require("./unpack") },
  { name: "dump", summary: "freeze a process tree into an image directory", load: () => require("./dump") },
  { name: "check", summary: "what this machine or a process lacks for a dump", load: () => require("./check") },
  { name: "verify", summary: "check an image directory", load: () => require("./verify") },
  { name: "lazy-pages", summary: "serve `criu restore --lazy-pages`", load: () => require("./lazy-pages") },
  { name: "page-server", summary: "take the pages of `criu dump --page-server`", load: () => require("./page-server") },
  { name: "restore", summary: "bring a dumped process tree back", load: () => require("./restore") },
  { name: "serve", summary: "dump and restore on request, over a Unix socket", load: () => require("./serve") },
  { name: "inspect", summary: "look into checkpoint images", load: () => require("./inspect") },
];

async function main(argv: readonly string[]): Promise<void> {
  // `help VERB` is `VERB --help`: commander's own would not know the verb's options, since its file is not loaded.
  if (argv[2] === "help" && argv[3] !== undefined) return main([...argv.slice(0, 2), argv[3], "--help"]);
  const first = argv[2];
  // A restore mostly prints nothing, and is short itself: it asks for the guard where it prints.
  if (first !== "restore") guardStandardOutput();
  if ((first === "--version" || first === "-V") && argv.length === 3) {
    process.stdout.write(`${version()}\n`);
    return;
  }
  const { Command } = require("commander") as typeof import("commander");
  const program = new Command("faultline")
    .description("Freeze a Linux process tree into an image directory and restore it lazily.")
    .version(version(), "-V, --version")
    .configureOutput({
      outputError: (text, write) => write(usageLine(text)),
      writeOut(text) {
        guardStandardOutput();
        process.stdout.write(text);
      },
    })
    .exitOverride();
  // A verb that is known needs no other beside it; the page of all of them does.
  const known = verbs.filter((verb) => verb.name === first);
  for (const verb of known.length > 0 ? known : verbs) {
    const command = program.command(verb.name).description(verb.summary);
    command.exitOverride();
    if (verb.name === first) verb.load().define(command);
  }
  await program.parseAsync(argv as string[]);
}

/** commander's complaint in the form of every other error. */
function usageLine(text: string): string {
  return `faultline: ${text
    .trim()
    .replace(/^error: /, "")
    .replace(/\s*\n\s*/g, " ")}; run with --help for usage\n`;
}

function fail(error: unknown): void {
  if (isCommanderError(error)) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  if (isFaultlineError(error)) {
    process.stderr.write(`faultline: ${error.line()}\n`);
    process.exitCode = error.code === "USAGE" ? 2 : 1;
    return;
  }
  if (isSystemError(error)) {
    process.stderr.write(`faultline: ${error.message}\n`);
    process.exitCode = 1;
    return;
  }
  process.stderr.write(`faultline: unexpected failure, please report it:\n${(error as Error)?.stack ?? error}\n`);
  process.exitCode = 1;
}

function isCommanderError(error: unknown): error is { exitCode: number; code: string } {
  return typeof (error as { code?: unknown } | null)?.code === "string" && "exitCode" in (error as object);
}

function isFaultlineError(error: unknown): error is FaultlineError {
  return (error as { name?: unknown } | null)?.name === "FaultlineError";
}

/** What Node throws for a system call that failed, such as a file that cannot be written; the message names the path. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === "string";
}

main(process.argv).catch(fail);
