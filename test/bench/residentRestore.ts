// How long a restore takes in a resident process (class Restorer): the first one, with and without a warm-up for its
// directory, and later ones; and the whole command line with -d. The program is Node with 300 MB. npm run bench:restore
import { fork, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { native } from "../../src/native";
import { Restorer } from "../../src/task/restore/restore";
import { criuDump } from "../support/criu";
import { TempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const rounds = 30;
const commandRounds = 11;
const subject = `
  const kept = Array.from({ length: 300 }, (_, i) => Buffer.alloc(1 << 20, i + 1));
  setInterval(() => kept.length, 1000);
  require("node:fs").writeFileSync(process.argv[1], "");
`;

/** Milliseconds from the call to where the program runs, and what of it this thread computed. */
interface Sample {
  readonly wallMs: number;
  readonly cpuMs: number;
}

async function measure(imagesDir: string, warm: boolean): Promise<void> {
  const restorer = new Restorer().warmUp(warm ? [imagesDir] : []);
  await restorer.pager();
  await setTimeout(1000);
  const samples: Sample[] = [];
  for (let round = 0; round < rounds; round++) {
    const before = native.threadCpuUs();
    let after = before;
    const onProgress = ({ phase }: { phase: string }): void => {
      if (phase === "running") after = native.threadCpuUs();
    };
    const result = await restorer.restore({ imagesDir, onProgress });
    samples.push({ wallMs: result.times.totalMs, cpuMs: (after - before) / 1000 });
    process.kill(result.pid, "SIGKILL");
    await result.waitExit();
    await result.pages;
  }
  await restorer.close();
  const later = samples.slice(5);
  const middle = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;
  const text = (wallMs: number, cpuMs: number): string => `${wallMs.toFixed(1)} ms (${cpuMs.toFixed(1)} ms of CPU)`;
  const [first] = samples as [Sample];
  const best = later.reduce((one, other) => (other.wallMs < one.wallMs ? other : one));
  const median = text(middle(later.map((sample) => sample.wallMs)), middle(later.map((sample) => sample.cpuMs)));
  process.stdout.write(
    `${warm ? "warmed up" : "cold"}: first ${text(first.wallMs, first.cpuMs)}, later median ${median}, best ${text(best.wallMs, best.cpuMs)}\n`,
  );
}

const command = join(__dirname, "..", "..", "..", "bin", "faultline");

function elapsedMs(program: string, args: readonly string[]): number {
  const start = performance.now();
  // A certificate file in the environment is read at every start of Node, and takes as long as all the rest.
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const { status } = spawnSync(program, args, { stdio: ["ignore", "ignore", "inherit"], env });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} exited with ${status}`);
  return performance.now() - start;
}

/** The whole command, until it returns, against an empty Node: alternating. */
async function measureCommand(imagesDir: string, pidfile: string): Promise<void> {
  const node: number[] = [];
  const restored: number[] = [];
  for (let round = 0; round < commandRounds; round++) {
    node.push(elapsedMs(process.execPath, ["-e", "0"]));
    restored.push(elapsedMs(command, ["restore", "-D", imagesDir, "-d", "--pidfile", pidfile]));
    const pid = Number(readFileSync(pidfile, "latin1"));
    process.kill(pid, "SIGKILL");
    await waitFor("the program to be reaped", () => !existsSync(`/proc/${pid}`));
  }
  const text = (values: number[]): string => {
    values.sort((a, b) => a - b);
    return `median ${values[values.length >> 1]?.toFixed(1)} ms, best ${values[0]?.toFixed(1)} ms`;
  };
  process.stdout.write(`the command with -d: ${text(restored)}; node -e 0: ${text(node)}\n`);
}

async function main(): Promise<void> {
  const images = new TempDir("resident");
  try {
    const ready = images.join("ready");
    const child = spawn(process.execPath, ["-e", subject, ready], { detached: true, stdio: "ignore", cwd: "/" });
    const gone = once(child, "exit");
    await waitFor("the program to be ready", () => existsSync(ready));
    rmSync(ready);
    await criuDump(child.pid as number, images.path);
    await gone;
    // Each in a process of its own: what one has compiled must not help the other.
    for (const how of ["cold", "warm"]) await once(fork(__filename, [how, images.path]), "exit");
    await measureCommand(images.path, ready);
  } finally {
    images[Symbol.dispose]();
  }
}

const [how, imagesDir] = process.argv.slice(2);
const work = imagesDir === undefined ? main() : measure(imagesDir, how === "warm");
work.catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
