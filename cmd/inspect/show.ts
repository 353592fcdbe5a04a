// `faultline inspect show FILE`: an image file as JSON, as crit writes it.
import { basename } from "node:path";
import type { Command } from "commander";

interface Options {
  readonly json?: true;
  readonly payload: boolean;
}

export function define(command: Command): void {
  command
    .argument("<file>", "an image file, such as images/core-1.img")
    .option("--json", "plain values in one line, as `crit decode` gives them")
    .option("--no-payload", "leave out raw data such as the bytes in a pipe")
    .addHelpText("after", "\nExample:\n  faultline inspect show images/core-1.img")
    .action(show);
}

function show(file: string, options: Options): void {
  const { readImageFile, decodeImage } =
    require("../../src/images/framing") as typeof import("../../src/images/framing");
  const { imageName } = require("../../src/images/formats") as typeof import("../../src/images/formats");
  const { imageToJson } = require("../../src/images/json") as typeof import("../../src/images/json");
  const { formatJson } = require("../../src/images/exactJson") as typeof import("../../src/images/exactJson");
  const { FaultlineError } = require("../../src/errors") as typeof import("../../src/errors");
  if (imageName(basename(file))?.kind === "raw") {
    throw new FaultlineError("USAGE", "a raw image has no records to show", {
      file,
      advice: "look at memory with `faultline inspect hexdump`",
    });
  }
  const image = decodeImage(readImageFile(file), file);
  const pretty = options.json !== true;
  const json = imageToJson(image, { pretty, payload: options.payload });
  process.stdout.write(`${formatJson(json, pretty ? 4 : 0)}\n`);
}
