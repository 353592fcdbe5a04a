// Eight threads that change their layout at random while the restore of them is lazy, over seeds and drain rates: no
// wrong byte, no hang, nothing that grows in the pager. Restored by CRIU over `lazy-pages`, and by Faultline itself.
//   npm run storm -- --seeds N --seconds S [--seed N] [--engine criu|faultline]
// The full storm is 20 seeds of 60 seconds; --seed runs that one alone.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { criuDump, criuRestore } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { packBeside } from "../support/packedPages";
import { type Program, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";
import { faultlineBinary, faultlineEngine } from "./engines";

function option(name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
}

const seeds = Number(option("seeds") ?? 8);
const seconds = Number(option("seconds") ?? 1);
const onlySeed = option("seed");
const onlyEngine = option("engine");
/** More memory for a longer storm: what is opened one after another lasts as long as it does. */
const chunksOfThread = seconds > 10 ? 128 : 32;
const imageBytes = 8 * chunksOfThread * 32 * 4096 * (7 / 8);
/** Low: half of the memory has come when the storm is over. High: all of it at half of the time. */
const lowRate = Math.ceil(imageBytes / 2 / seconds);
const highRate = Math.ceil((imageBytes * 2) / seconds);
const drains: readonly (readonly string[])[] = [
  ["--drain-rate", `${lowRate}`],
  ["--drain-rate", `${highRate}`],
  [],
  ["--stay-lazy"],
];
/** What a daemon may grow by between two restores that it has ended: noise of the collector, not pages. */
const growthMaxKib = 96 * 1024;
/** Copies made by fork come and go: eight threads have at most eight children, and each is noticed within a second. */
const descriptorNoise = 64;

interface Footprint {
  readonly residentKib: number;
  readonly descriptors: number;
}

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]);
}

/** What the daemon has open, sorted. With --keep that includes the page files read ahead for the next restore. */
function descriptors(pid: number): string {
  const folder = `/proc/${pid}/fd`;
  const links = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`);
    } catch (error) {
      return `closed meanwhile: ${error}`;
    }
  });
  return links.sort().join("\n");
}

function mostOf(samples: readonly Footprint[]): Footprint {
  return {
    residentKib: Math.max(...samples.map((sample) => sample.residentKib)),
    descriptors: Math.max(...samples.map((sample) => sample.descriptors)),
  };
}

/** Lets the storm blow and compares the pager's last third with its first: it must not grow. */
async function blow(program: Program, seed: number, pagerPid: number, messages: () => string): Promise<void> {
  const samples: Footprint[] = [];
  program.go();
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end && program.verdictNow() === undefined) {
    samples.push({ residentKib: residentKib(pagerPid), descriptors: readdirSync(`/proc/${pagerPid}/fd`).length });
    await sleep(100);
  }
  assert.equal(await program.verdict(), "PASS", `seed ${seed}: ${messages()}`);
  const third = Math.ceil(samples.length / 3);
  const first = mostOf(samples.slice(0, third));
  const last = mostOf(samples.slice(-third));
  if (onlySeed !== undefined) console.log(`seed ${seed}`, "first third", first, "last third", last);
  assert.ok(
    last.residentKib < first.residentKib + growthMaxKib,
    `memory: ${first.residentKib}, ${last.residentKib} KiB`,
  );
  assert.ok(last.descriptors < first.descriptors + descriptorNoise, `descriptors: ${JSON.stringify([first, last])}`);
}

/** A restore by CRIU, served by a daemon that stays (--keep), so that what it leaves behind shows. */
async function stormUnderCriu(
  program: Program,
  images: TempDir,
  seed: number,
  drain: readonly string[],
): Promise<void> {
  await criuDump(program.pid, images.path);
  await program.gone();
  if (isPacked(seed)) await packBeside(images.path);
  const daemon = await FaultlineLazyPages.start(images.path, ["--keep", ...drain]);
  try {
    const resident = residentKib(daemon.pid);
    const before = descriptors(daemon.pid);
    await criuRestore(images.path, [], true);
    await blow(program, seed, daemon.pid, () => daemon.messages);
    // The last context goes when its process does, and its exit raises no event.
    await waitFor("the daemon to let go of the session", () => descriptors(daemon.pid) === before).catch(() =>
      assert.equal(descriptors(daemon.pid), before, daemon.messages),
    );
    const growth = residentKib(daemon.pid) - resident;
    assert.ok(growth < growthMaxKib, `the daemon grew by ${growth} KiB`);
  } finally {
    await daemon.stop();
  }
}

/** Dumped and restored by Faultline, whose restore stays in the foreground and is the pager. */
async function stormUnderFaultline(
  program: Program,
  images: TempDir,
  seed: number,
  drain: readonly string[],
): Promise<void> {
  await faultlineEngine.dump(program.pid, images.path, program.facts, !isPacked(seed));
  await program.gone();
  const args = ["restore", "-D", images.path, "--json", ...drain];
  const restore = spawn(faultlineBinary, args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [restore.stdout, restore.stderr]) stream.on("data", (chunk: Buffer) => (said += String(chunk)));
  const ended = new Promise<void>((done) => restore.once("close", () => done()));
  try {
    await waitFor("the program to run", () => {
      assert.equal(restore.exitCode, null, said);
      return said.includes("\n");
    });
    program.remember();
    await blow(program, seed, restore.pid!, () => said);
    await ended;
    assert.equal(restore.exitCode, 0, said);
  } finally {
    await stop(restore, ended);
  }
}

async function stop(child: ChildProcess, ended: Promise<void>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  await ended;
}

function isPacked(seed: number): boolean {
  return seed % 8 >= 4;
}

const engines = { criu: stormUnderCriu, faultline: stormUnderFaultline };

for (const [engine, storm] of Object.entries(engines)) {
  if (onlyEngine !== undefined && onlyEngine !== engine) continue;
  for (let seed = 1; seed <= seeds; seed++) {
    if (onlySeed !== undefined && Number(onlySeed) !== seed) continue;
    const drain = drains[seed % drains.length]!;
    const name = `seed ${seed} ${drain.join(" ")} ${isPacked(seed) ? "packed" : "raw"}`;
    test(`a storm of layout changes is served under ${engine}, ${name}`, () =>
      withTempDir("storm", (images) =>
        withProgram("lazy_storm", (program) => storm(program, images, seed, drain), {
          arguments: [`${seed}`, `${seconds * 1000}`, `${chunksOfThread}`],
        }),
      ));
  }
}
