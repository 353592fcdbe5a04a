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
  { name: "ps", summary: "the process tree", load: () => require("./inspect/ps") },
  { name: "maps", summary: "what is mapped where, and what of it is stored", load: () => require("./inspect/maps") },
  { name: "fds", summary: "open descriptors and their other ends", load: () => require("./inspect/fds") },
  { name: "env", summary: "a task's environment", load: () => require("./inspect/env") },
  { name: "regs", summary: "the registers of a task's threads", load: () => require("./inspect/regs") },
  { name: "hexdump", summary: "memory as bytes and text", load: () => require("./inspect/hexdump") },
  { name: "search", summary: "where something is in memory", load: () => require("./inspect/search") },
  { name: "diff", summary: "what changed between two checkpoints", load: () => require("./inspect/diff") },
  { name: "core", summary: "a task as an ELF core file for gdb", load: () => require("./inspect/core") },
  { name: "report", summary: "an HTML page about an image", load: () => require("./inspect/report") },
  {
    name: "workingset",
    summary: "which pages restores touched early",
    load: () => require("./inspect/workingset"),
  },
  { name: "show", summary: "an image file as JSON", load: () => require("./inspect/show") },
  { name: "encode", summary: "JSON back to an image file", load: () => require("./inspect/encode") },
];

export function define(command: Command): void {
  const asked = process.argv.slice(3).find((word) => !word.startsWith("-"));
  command.addHelpText("after", "\nExample:\n  faultline inspect show images/core-1.img");
  for (const question of questions) {
    const sub = command.command(question.name).description(question.summary).exitOverride();
    if (question.name === asked) question.load().define(sub);
  }
}
