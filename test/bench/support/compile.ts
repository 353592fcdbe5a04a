// Compiles a C file of test/bench/c once and gives the executable. Programs under test are test/support/program.ts's.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { publish, repositoryRoot } from "../../support/program";

const folder = join(repositoryRoot, "test", "bench", "c");
const flags = ["-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-pthread"];

export function compileYardstick(name: string): string {
  const hash = createHash("sha256").update(flags.join(" "));
  const sources = readdirSync(folder).map((file) => join(folder, file));
  for (const file of [...sources, join(repositoryRoot, "test", "programs", "check.h")]) {
    hash.update("\0").update(readFileSync(file));
  }
  const cache = join(tmpdir(), `faultline-bench-${userInfo().uid}`, hash.digest("hex").slice(0, 16));
  const executable = join(cache, name);
  if (existsSync(executable)) return executable;
  mkdirSync(cache, { recursive: true });
  const temporary = `${executable}.${process.pid}`;
  execFileSync("gcc", [...flags, "-o", temporary, join(folder, `${name}.c`)], { stdio: "inherit" });
  publish(temporary, executable);
  return executable;
}
