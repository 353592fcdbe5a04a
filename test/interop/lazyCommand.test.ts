// `faultline lazy-pages` as a command: background, pidfile, status descriptor, metrics, trace, and its errors.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { criuDump, criuRestore, runCommand } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { isGone } from "../support/processes";
import { type Program, repositoryRoot, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const command = join(repositoryRoot, "bin", "faultline");

async function withDump(body: (program: Program, images: TempDir) => Promise<void>): Promise<void> {
  await withTempDir("lazy", (images) =>
    withProgram("heap", async (program) => {
      await criuDump(program.pid, images.path);
      await program.gone();
      await body(program, images);
    }),
  );
}

test("-d returns when the daemon listens, and leaves its pid in the pidfile", async () => {
  await withDump(async (program, images) => {
    const pidfile = images.join("lazy.pid");
    const { status, output } = await runCommand(command, ["lazy-pages", "-D", images.path, "-d", "--pidfile", pidfile]);
    assert.equal(status, 0, output);
    const pid = Number(readFileSync(pidfile, "utf8"));
    await criuRestore(images.path, [], true);
    program.go();
    assert.equal(await program.verdict(), "PASS");
    await waitFor("the daemon to end", () => isGone(pid));
    assert.match(readFileSync(images.join("lazy-pages.log"), "utf8"), /session 1 done/);
  });
});

test("an address for --metrics that cannot be had is told in one line, and nothing is served", async () => {
  await withDump(async (_program, images) => {
    for (const address of [`unix:${images.join("none/socket")}`, "192.0.2.1:9", "nonsense"]) {
      const { status, output } = await runCommand(command, ["lazy-pages", "-D", images.path, "--metrics", address]);
      assert.ok(status === 1 || status === 2, `${address}: ${status}`);
      assert.match(output, /^faultline: [^\n]+\n$/);
      assert.doesNotMatch(output, /unexpected failure/);
    }
  });
});

test("help VERB is VERB --help", async () => {
  const help = await runCommand(command, ["help", "dump"]);
  assert.equal(help.status, 0);
  assert.match(help.output, /--leave-running/);
  assert.deepEqual(await runCommand(command, ["dump", "--help"]), help);
});

test("-d reports why the daemon did not start", async () => {
  await withTempDir("lazy", async (images) => {
    const { status, output } = await runCommand(command, ["lazy-pages", "-D", images.path, "-d"]);
    assert.equal(status, 1);
    assert.match(output, /^faultline: the daemon did not start: .*inventory\.img/);
    assert.equal(output.trim().split("\n").length, 1);
  });
});

test("--status-fd gets one NUL byte when the socket is there, and is closed", async () => {
  await withDump(async (_program, images) => {
    const child = spawn(command, ["lazy-pages", "-D", images.path, "--status-fd", "3"], {
      stdio: ["ignore", "ignore", "ignore", "pipe"],
    });
    const chunks: Buffer[] = [];
    for await (const chunk of child.stdio[3] as NodeJS.ReadableStream) chunks.push(chunk as Buffer);
    assert.deepEqual(Buffer.concat(chunks), Buffer.alloc(1));
    child.kill("SIGTERM");
    await new Promise((done) => child.once("exit", done));
  });
});

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((done, fail) => {
    const asked = request({ socketPath, path }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () => done(text));
    });
    asked.on("error", fail);
    asked.end();
  });
}

test("--metrics answers in Prometheus text, and --trace writes every fault", async () => {
  await withDump(async (program, images) => {
    const socket = images.join("metrics.socket");
    const trace = images.join("trace.jsonl");
    const options = ["--stay-lazy", "--keep", "--metrics", `unix:${socket}`, "--trace", trace];
    const daemon = await FaultlineLazyPages.start(images.path, options);
    try {
      await waitFor("the metrics", () => get(socket, "/metrics").catch(() => undefined));
      await criuRestore(images.path, [], true);
      program.go();
      assert.equal(await program.verdict(), "PASS");
      const text = await get(socket, "/metrics");
      const value = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
      assert.ok(value("faultline_faults_total") > 10, text);
      assert.equal(
        value("faultline_fault_latency_seconds_count"),
        value('faultline_fault_latency_seconds_bucket{le="\\+Inf"}'),
      );
      assert.ok(value('faultline_installed_bytes_total{source="raw"}') > 1_000_000);
      daemon.signal("SIGTERM");
      const report = await daemon.finished();
      const lines = readFileSync(trace, "utf8").trim().split("\n");
      const entries = lines.map((line) => JSON.parse(line) as { what: string });
      const faults = entries.filter((entry) => entry.what === "read" || entry.what === "write");
      assert.equal(faults.length, report.sessions[0]!.faults);
    } finally {
      await daemon.stop();
    }
  });
});

for (const [what, args, message] of [
  ["an unknown policy", ["--on-error", "shrug"], /"shrug" is not one of kill, poison, wait/],
  ["a rate that is no number", ["--drain-rate", "fast"], /"fast" is not a number of bytes/],
] as const) {
  test(`${what} is wrong usage: exit status 2 and one line`, async () => {
    const { status, output } = await runCommand(command, ["lazy-pages", "-D", "/nonexistent", ...args]);
    assert.equal(status, 2);
    assert.match(output, message);
  });
}

test("a directory without images is an error in one line, before anything listens", async () => {
  const { status, output } = await runCommand(command, ["lazy-pages", "-D", "/nonexistent"]);
  assert.equal(status, 1);
  assert.match(output, /^faultline: no such image directory \(\/nonexistent\)/);
  assert.equal(output.trim().split("\n").length, 1);
});
