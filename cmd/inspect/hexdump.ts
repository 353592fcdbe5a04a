// `faultline inspect hexdump DIR PID ADDR[+LEN|-END]`: memory as bytes and text.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<dir>", "an image directory")
    .argument("<pid>", "a task")
    .argument("<range>", "ADDR (256 bytes), ADDR+LEN or ADDR-END; addresses in hexadecimal, as `maps` shows them")
    .option("--json", "print plain data: ranges with their kind, and bytes where they are stored")
    .addHelpText("after", "\nExample:\n  faultline inspect hexdump images/ 1234 7ffd7592e440+512")
    .action((dir: string, pid: string, range: string, options: { json?: true }) => {
      const { Checkpoint } = require("../../src/inspect/checkpoint") as typeof import("../../src/inspect/checkpoint");
      const { AddressSpace } =
        require("../../src/inspect/addressSpace") as typeof import("../../src/inspect/addressSpace");
      const { dumpParts, parseAddressRange } =
        require("../../src/inspect/hexdump") as typeof import("../../src/inspect/hexdump");
      const { HexdumpJson, HexdumpText } =
        require("../../src/inspect/textHexdump") as typeof import("../../src/inspect/textHexdump");
      const { paintFor } = require("../../src/inspect/textTable") as typeof import("../../src/inspect/textTable");
      const { parsePid } = require("../../src/inspect/output") as typeof import("../../src/inspect/output");
      const addresses = parseAddressRange(range);
      const task = parsePid(pid);
      using checkpoint = Checkpoint.open(dir);
      const space = new AddressSpace(checkpoint, task);
      const json = new HexdumpJson();
      const text = options.json === true ? json : new HexdumpText(paintFor(process.stdout, process.env));
      if (options.json === true) process.stdout.write(json.begin(task, addresses.start, addresses.end));
      for (const part of dumpParts(space, addresses)) {
        const more = text.add(part);
        if (more !== "") process.stdout.write(more);
      }
      process.stdout.write(text.finish());
    });
}
