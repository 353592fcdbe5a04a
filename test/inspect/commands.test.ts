// The inspect verb from outside: JSON of every question, exit codes, one-line errors, no colour where none is wanted.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { repositoryRoot } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { fixtureImages } from "./fixtures";

const images = fixtureImages("patchwork");

function inspect(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const main = join(repositoryRoot, "dist", "cmd", "faultline.js");
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "inspect", ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

/** The answer of a question as JSON. */
function json(...args: readonly string[]): unknown {
  const { status, stdout, stderr } = inspect(...args, "--json");
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

test("every question answers in JSON, with addresses and registers as hexadecimal strings", async () => {
  await withTempDir("commands", (dir) => {
    const tasks = json("ps", images) as { pid: number; state: string; commandLine: string[] }[];
    assert.deepEqual(
      tasks.map(({ pid, state }) => [pid, state]),
      [
        [15808, "alive"],
        [15812, "alive"],
        [15813, "dead"],
      ],
    );
    const [maps] = json("maps", images, "15808") as {
      mappings: { start: string; protection: string; name: string }[];
    }[];
    const { start, protection, name } = maps!.mappings[0]!;
    assert.deepEqual(
      { start, protection, name },
      { start: "0x5594c1712000", protection: "r--p", name: "/srv/fixture/patchwork" },
    );
    const fds = json("fds", images) as { pid: number; descriptors: { fd: number; peers: unknown[] }[] }[];
    assert.deepEqual(
      fds.map((task) => [task.pid, task.descriptors.length]),
      [
        [15808, 16],
        [15812, 15],
        [15813, 0],
      ],
    );
    assert.deepEqual(json("env", images, "15808"), { PATH: "/usr/bin:/bin", HOME: "/", LANG: "C" });
    const regs = json("regs", images, "15808") as { threadId: number; registers: Record<string, string> }[];
    assert.equal(regs[0]!.registers.ip, "0x7f5eebf09df0");
    const diff = json("diff", images, images) as { different: boolean; pages: { changed: number } };
    assert.deepEqual([diff.different, diff.pages.changed], [false, 0]);
    const core = json("core", images, "15812", "-o", dir.join("core")) as { threads: number };
    assert.equal(core.threads, 1);
    const report = json("report", images, "-o", dir.join("report.html")) as { tasks: number; fileBytes: number };
    assert.ok(report.tasks === 3 && report.fileBytes > 10_000);
    assert.ok(existsSync(dir.join("core")) && existsSync(dir.join("report.html")));
  });
});

test("what fails says so in one line: exit code 1 for the image, 2 for the command", () => {
  const cases = [
    [1, ["ps", "/nowhere/at/all"]],
    [1, ["regs", images, "4711"]],
    [1, ["core", images, "15813", "-o", "/tmp/never"]],
    [2, ["maps", images, "seven"]],
  ] as const;
  for (const [status, args] of cases) {
    const result = inspect(...args);
    assert.equal(result.status, status, args.join(" "));
    assert.match(result.stderr, /^faultline: [^\n]+\n$/);
    assert.equal(result.stdout, "");
  }
  assert.equal(inspect("core", images, "15808").status, 2);
  assert.equal(inspect("ps").status, 2);
  assert.equal(inspect("ps", images, "--what").status, 2);
});

test("every question has help with an example", () => {
  for (const question of [
    "ps",
    "maps",
    "fds",
    "env",
    "regs",
    "hexdump",
    "search",
    "diff",
    "core",
    "report",
    "workingset",
  ]) {
    const { status, stdout } = inspect(question, "--help");
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`Example:\\n {2}faultline inspect ${question} `));
  }
});

test("output that is no terminal has no colour", () => {
  for (const args of [
    ["ps", images],
    ["maps", images],
    ["fds", images],
    ["regs", images, "15808"],
  ]) {
    assert.ok(!inspect(...args).stdout.includes("\x1b"));
  }
});
