// What a measurement was made on: processor, memory, kernel, versions, commit, date, and how busy the machine was.
import { execFileSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";
import { criuBinary } from "../../support/criu";
import { repositoryRoot } from "../../support/program";

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  readonly criu: string;
  /** "+" behind it: with changes that are not committed. */
  readonly commit: string;
  readonly date: string;
  /** Load average of the last minute when the section ended. */
  readonly load: number;
}

function output(file: string, args: readonly string[]): string {
  return execFileSync(file, args, { cwd: repositoryRoot, encoding: "utf8" }).trim();
}

export function machineFacts(): MachineFacts {
  const changed = output("git", [
    "status",
    "--porcelain",
    "--untracked-files=no",
    "--",
    "src",
    "native",
    "cmd",
    "test",
  ]);
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    criu: /[\d.]+/.exec(output(criuBinary, ["--version"]))?.[0] ?? "unknown",
    commit: output("git", ["rev-parse", "--short", "HEAD"]) + (changed === "" ? "" : "+"),
    date: new Date().toISOString().slice(0, 16).replace("T", " "),
    load: Number(loadavg()[0]!.toFixed(1)),
  };
}

/** One line for a reader. */
export function machineLine(facts: MachineFacts): string {
  return (
    `${facts.cpu}, ${facts.cores} cores, ${facts.memoryGib} GiB, Linux ${facts.kernel}, Node ${facts.node}, ` +
    `CRIU ${facts.criu}; commit ${facts.commit}, ${facts.date} UTC, load average ${facts.load}`
  );
}
