// Holds that the demo does what it says, that its facts are those of this run, and that it leaves nothing behind,
// whenever it is interrupted.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import type { DemoFacts } from "../../src/service/demo/demo";
import { documentText } from "../../src/service/demo/documents";
import { type ProcessStat, processStat, processTree } from "../support/processes";
import { withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const command = resolve(__dirname, "..", "..", "..", "bin", "faultline");
const limitMs = 120_000;
const sizeMebibytes = 16;

/** A demo that runs, with a temporary directory of its own, and every process that was ever seen below it. */
class RunningDemo {
  output = "";
  errors = "";
  private readonly child: ChildProcess;
  private readonly seen = new Map<string, ProcessStat>();
  private readonly watching: NodeJS.Timeout;
  private ended: number | undefined;

  constructor(
    private readonly folder: string,
    options: readonly string[],
  ) {
    const args = ["demo", "--size", String(sizeMebibytes), ...options];
    const env = { ...process.env, TMPDIR: folder, LC_ALL: "C" };
    this.child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.output += text;
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.errors += text;
    });
    this.child.once("close", (code) => {
      this.ended = code ?? -1;
    });
    this.watching = setInterval(() => this.look(), 20);
  }

  private look(): void {
    if (this.ended !== undefined) return;
    for (const stat of processTree(this.child.pid!)) this.seen.set(`${stat.pid} ${stat.startTicks}`, stat);
  }

  /** Waits until the output matches. */
  async says(what: RegExp): Promise<void> {
    await waitFor(`the demo to say ${what}`, () => what.test(this.output) || this.ended !== undefined, limitMs);
    assert.match(this.output, what, this.errors);
  }

  signal(name: NodeJS.Signals): void {
    this.look();
    this.child.kill(name);
  }

  /** For a test that failed: the demo ends, and nobody watches it any more. */
  giveUp(): void {
    clearInterval(this.watching);
    this.child.kill("SIGTERM");
  }

  closeOutput(): void {
    this.child.stdout?.destroy();
  }

  /** Its exit code; no process and no file of it may be left. */
  async end(): Promise<number> {
    const code = await waitFor(
      "the demo to end",
      () => (this.ended === undefined ? false : { code: this.ended }),
      limitMs,
    );
    clearInterval(this.watching);
    // The watchdog goes when it sees that nobody needs it: a moment after the demo.
    await waitFor("the demo's processes to be gone", () => this.left().length === 0).catch(() => undefined);
    assert.deepEqual(this.left(), []);
    assert.deepEqual(readdirSync(this.folder), []);
    return code.code;
  }

  private left(): ProcessStat[] {
    return [...this.seen.values()].filter(({ pid, startTicks }) => processStat(pid)?.startTicks === startTicks);
  }

  get processCount(): number {
    return this.seen.size;
  }
}

function withDemo(
  options: readonly string[],
  body: (demo: RunningDemo, folder: string) => Promise<void>,
): Promise<void> {
  return withTempDir("demo", async (dir) => {
    const demo = new RunningDemo(dir.path, options);
    try {
      await body(demo, dir.path);
    } finally {
      demo.giveUp();
    }
  });
}

test("a document is always the same, is JSON, and differs from others", () => {
  const texts = Array.from({ length: 200 }, (_, id) => documentText(id));
  assert.equal(new Set(texts).size, texts.length);
  texts.forEach((text, id) => {
    assert.equal(documentText(id), text);
    assert.equal((JSON.parse(text) as { id: number }).id, id);
  });
});

test("the demo measures what it says and every document is as it was", async () => {
  await withDemo(["--json"], async (demo) => {
    assert.equal(await demo.end(), 0, demo.errors);
    assert.ok(demo.processCount >= 3, "the demo, its server before, and after");
    const { server, load, freeze, restore, drain, check } = JSON.parse(demo.output) as DemoFacts;
    const dataBytes = sizeMebibytes * 2 ** 20;
    assert.ok(server.dataBytes >= dataBytes && server.dataBytes < dataBytes + 8192);
    assert.match(server.digest, /^[0-9a-f]{64}$/);
    assert.equal(processStat(server.pid), undefined);
    assert.ok(load.answered > 0 && load.answersPerSecond > 0);
    assert.ok(freeze.stoppingMs > 0 && freeze.stoppingMs < freeze.frozenMs);
    assert.ok(freeze.rawBytes > dataBytes && freeze.packedBytes < freeze.rawBytes / 2);
    assert.ok(freeze.brokenRequests <= load.clients);
    assert.ok(restore.firstInstructionMs > 0 && restore.firstInstructionMs < restore.firstAnswerMs);
    assert.ok(restore.missingPages > restore.eagerPages);
    assert.ok(drain.faults > 0 && drain.faultsBeforeAnswer > 0 && drain.faultsBeforeAnswer <= drain.faults);
    assert.ok(drain.demandPages + drain.backgroundPages <= restore.missingPages);
    const cells = drain.touched.cells;
    const pages = cells.reduce((sum, cell) => sum + cell.touchedPages + cell.backgroundPages, 0);
    assert.ok(pages > freeze.pages / 2, `${pages} of ${freeze.pages} pages are in the picture`);
    assert.ok(cells.some((cell) => cell.touchedUs !== undefined) && cells.some((cell) => cell.backgroundPages > 0));
    assert.deepEqual(
      cells.map((cell) => cell.address),
      cells.map((cell) => cell.address).sort((a, b) => a - b),
    );
    assert.equal(check.digest, server.digest);
    assert.ok(check.digestRight && check.sameProcess);
    assert.ok(check.answeredAfter > 0);
    assert.equal(check.wrongAnswers, 0);
  });
});

test("without a terminal the demo prints plain lines; --keep leaves a directory that verifies", async () => {
  await withTempDir("kept", async (kept) => {
    const images = kept.join("images");
    await withDemo(["--keep", images], async (demo) => {
      assert.equal(await demo.end(), 0, demo.errors);
      assert.match(demo.output, /^[\n -~]*$/);
      for (const label of ["server", "load", "freeze", "restore", "pages", "check"]) {
        assert.match(demo.output, new RegExp(`^${label} `, "m"));
      }
      assert.match(demo.output, /every document is as it was/);
    });
    assert.ok(existsSync(join(images, "inventory.img")));
    const verify = spawn(command, ["verify", images], { stdio: "ignore" });
    assert.equal(await new Promise((done) => verify.once("close", done)), 0);
    await withDemo(["--keep", images], async (demo) => {
      assert.equal(await demo.end(), 1);
      assert.match(demo.errors, /exists already/);
    });
    assert.ok(existsSync(join(images, "inventory.img")), "a directory that was there is left alone");
  });
});

const moments: readonly (readonly [string, RegExp, NodeJS.Signals])[] = [
  ["while the server fills", /under load/, "SIGINT"],
  ["under load", /^server /m, "SIGTERM"],
  ["in the dump", /^load /m, "SIGINT"],
  ["in the restore", /^freeze /m, "SIGINT"],
  ["in the drain", /^restore /m, "SIGHUP"],
  ["in the check", /^pages .*all in/m, "SIGINT"],
];

for (const [moment, said, signal] of moments) {
  test(`${signal} ${moment} leaves nothing behind and exits with 130`, async () => {
    await withDemo([], async (demo) => {
      await demo.says(said);
      demo.signal(signal);
      assert.equal(await demo.end(), 130, demo.errors);
      assert.match(demo.errors, /interrupted/);
    });
  });
}

test("interrupted with --keep, the images go too; a second Ctrl-C changes nothing", async () => {
  await withTempDir("kept", async (kept) => {
    const images = kept.join("images");
    await withDemo(["--keep", images], async (demo) => {
      await demo.says(/^freeze /m);
      demo.signal("SIGINT");
      demo.signal("SIGINT");
      assert.equal(await demo.end(), 130, demo.errors);
    });
    assert.ok(!existsSync(images));
  });
});

test("a reader that goes away ends the demo, and nothing is left behind", async () => {
  await withDemo([], async (demo) => {
    await demo.says(/^server /m);
    demo.closeOutput();
    assert.equal(await demo.end(), 130, demo.errors);
  });
});

test("SIGKILL of the demo ends its server too", async () => {
  await withTempDir("demo", async (dir) => {
    const demo = new RunningDemo(dir.path, []);
    await demo.says(/^load /m);
    demo.signal("SIGKILL");
    // Files stay, for nobody was left to remove them; processes do not.
    await assert.rejects(demo.end(), (error: Error) => error.message.includes("faultline-demo-"));
  });
});
