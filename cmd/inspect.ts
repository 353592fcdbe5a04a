// `faultline inspect`: questions about images. One file per question in cmd/inspect/; only the one asked is loaded.
import type { Command } from "commander";
import type { VerbModule } from "./faultline";

interface Question {
  readonly name: string;
  readonly summary: string;
  readonly load: () => VerbModule;
}

/** Every question, in the order of the help page. */
const questions: readonly Question[] = [
  { name: "show", summary: "an image file as JSON", load: () => require("./inspect/show") },
  { name: "encode", summary: "JSON back to an image file", load: () => require("./inspect/encode") },
];

export function define(command: Command): void {
  const asked = process.argv.slice(3).find((word) => !word.startsWith("-"));
  command
    .showHelpAfterError("(run with --help for usage)")
    .addHelpText("after", "\nExample:\n  faultline inspect show images/core-1.img");
  for (const question of questions) {
    const sub = command.command(question.name).description(question.summary).exitOverride();
    if (question.name === asked) question.load().define(sub);
  }
}
