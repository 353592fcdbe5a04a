// `faultline inspect search DIR TEXT`: where something is in the memory of the tasks.
import type { Command } from "commander";

interface Options {
  readonly regex?: string;
  readonly hex?: string;
  readonly pid?: string;
  readonly context: string;
  readonly maxCount?: string;
  readonly json?: true;
}

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("[text]", "the text to search for, as UTF-8")
    .option("--regex <expression>", "a JavaScript regular expression over bytes instead; matches of up to 4096 bytes")
    .option("--hex <bytes>", 'bytes instead, like "7f 45 4c 46"')
    .option("--pid <pid>", "one task only")
    .option("--context <bytes>", "how much to show before and after", "24")
    .option("--max-count <count>", "stop after so many")
    .option("--json", "print one object a line for each match")
    .addHelpText("after", "\nExample:\n  faultline inspect search images/ --pid 1234 --regex 'password=\\w+'")
    .action((dir: string, text: string | undefined, options: Options) => search(dir, text, options));
}

async function search(dir: string, text: string | undefined, options: Options): Promise<void> {
  const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
  const { AddressSpace } = require("../../src/inspect/addressSpace") as typeof import("../../src/inspect/addressSpace");
  const { WindowReader } = require("../../src/inspect/memoryWindow") as typeof import("../../src/inspect/memoryWindow");
  const { parseQuery, SearchCounts, searchMemory } =
    require("../../src/inspect/search") as typeof import("../../src/inspect/search");
  const { hitJson, hitText, searchSummary } =
    require("../../src/inspect/textSearch") as typeof import("../../src/inspect/textSearch");
  const { paintFor } = require("../../src/inspect/textTable") as typeof import("../../src/inspect/textTable");
  const { parseCount, parsePid } = require("../../src/inspect/output") as typeof import("../../src/inspect/output");
  const { CONTEXT_BYTES_MAX } = require("../../src/limits") as typeof import("../../src/limits");
  const matcher = parseQuery({ text, regex: options.regex, hex: options.hex });
  const context = parseCount(options.context, "--context", CONTEXT_BYTES_MAX);
  const most = options.maxCount === undefined ? Number.POSITIVE_INFINITY : parseCount(options.maxCount, "--max-count");
  const only = options.pid === undefined ? undefined : parsePid(options.pid);
  using checkpoint = Checkpoint.open(dir);
  const pids = only === undefined ? checkpoint.tasks.map((task) => task.pid) : [checkpoint.task(only).pid];
  const paint = paintFor(process.stdout, process.env);
  const counts = new SearchCounts();
  let found = 0;
  for (const pid of pids) {
    if (found >= most) break;
    const space = new AddressSpace(checkpoint, pid);
    const windows = new WindowReader(space);
    for await (const match of searchMemory(space, matcher(), counts)) {
      const window = windows.around(match.address, match.length, context);
      const hit = { pid, match, window, mapping: space.mappingAt(Math.floor(match.address / 4096)) };
      process.stdout.write(options.json === true ? hitJson(hit) : hitText(hit, paint));
      found += 1;
      if (found >= most) break;
    }
  }
  if (options.json !== true) process.stderr.write(searchSummary(found, counts, pids.length));
}
