// `faultline inspect encode FILE -o IMAGE`: JSON, pretty or plain, back to an image file.
import type { Command } from "commander";

export function define(command: Command): void {
  command
    .argument("<file>", "JSON from `inspect show`, `crit decode` or `crit show`; - for standard input")
    .requiredOption("-o, --output <image>", "the image file to write; - for standard output")
    .addHelpText("after", "\nExample:\n  faultline inspect encode core-1.json -o images/core-1.img")
    .action(encode);
}

function encode(file: string, options: { readonly output: string }): void {
  const { readFileSync, writeFileSync } = require("node:fs") as typeof import("node:fs");
  const { parseJson } = require("../../src/images/exactJson") as typeof import("../../src/images/exactJson");
  const { jsonToImage } = require("../../src/images/json") as typeof import("../../src/images/json");
  const { fileError } = require("../../src/images/openFile") as typeof import("../../src/images/openFile");
  let text: string;
  try {
    text = readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (cause) {
    throw fileError(cause, "cannot read the JSON", file);
  }
  const bytes = jsonToImage(parseJson(text, file), file);
  if (options.output === "-") process.stdout.write(bytes);
  else {
    try {
      writeFileSync(options.output, bytes, { mode: 0o600 });
    } catch (cause) {
      throw fileError(cause, "cannot write the image", options.output);
    }
  }
}
