// Measures cold starts against `node -e 0`, alternating, as medians: `faultline --version` and its ratio, and, as root,
// `faultline restore -d` of an idle Node with 64 MB, dumped by ourselves, and its difference.
// Run by `npm run bench:cold-start`; exits 1 where the ratio exceeds the bound that the project holds itself to.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join, resolve } from "node:path";
import { dump } from "../../src/task/dump/dump";
import { TempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const command = join(resolve(__dirname, "..", "..", ".."), "bin", "faultline");
const rounds = Number(process.env.ROUNDS ?? 41);
const ratioBound = 1.5;
/** What `restore -d` may take more than an empty Node, milliseconds. */
const restoreAimMs = 20;
const idle = `
  const kept = Buffer.alloc(64 << 20, 1);
  setInterval(() => kept.length, 1000);
  require("node:fs").writeFileSync(process.argv[1], "");
`;

/** The environment without NODE_EXTRA_CA_CERTS: Node reads those certificates at every start, longer than all the rest. */
const { NODE_EXTRA_CA_CERTS: certificates, ...plain } = process.env;

function elapsedMs(file: string, args: readonly string[], env: NodeJS.ProcessEnv = plain): number {
  const start = process.hrtime.bigint();
  const { status } = spawnSync(file, args, { stdio: ["ignore", "ignore", "inherit"], env });
  const elapsed = Number(process.hrtime.bigint() - start) / 1e6;
  if (status !== 0) throw new Error(`${file} ${args.join(" ")} exited with ${status}`);
  return elapsed;
}

/** Restores the program, until the command returns, and ends it again. */
async function restoreMs(images: TempDir): Promise<number> {
  const pidfile = images.join("pid");
  const args = ["restore", "-D", images.join("img"), "-d", "--pidfile", pidfile];
  const elapsed = elapsedMs(command, args, process.env);
  const pid = Number(readFileSync(pidfile, "latin1"));
  process.kill(pid, "SIGKILL");
  await waitFor("the program to be reaped", () => !existsSync(`/proc/${pid}`));
  return elapsed;
}

async function dumpIdle(images: TempDir): Promise<void> {
  const ready = images.join("ready");
  const child = spawn(process.execPath, ["-e", idle, ready], { detached: true, stdio: "ignore", cwd: "/" });
  const gone = once(child, "exit");
  await waitFor("the program to be ready", () => existsSync(ready));
  await dump({ pid: child.pid as number, directory: images.join("img") });
  await gone;
}

function line(name: string, values: number[]): { readonly text: string; readonly medianMs: number } {
  values.sort((a, b) => a - b);
  const medianMs = values[values.length >> 1] as number;
  const [first] = values as [number];
  return { text: `  ${name.padEnd(22)}${medianMs.toFixed(1)} ms median, ${first.toFixed(1)} ms fastest\n`, medianMs };
}

async function main(): Promise<void> {
  using images = new TempDir("cold-start");
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await dumpIdle(images);
  const times = { node: [] as number[], asSet: [] as number[], version: [] as number[], restore: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    times.node.push(elapsedMs(process.execPath, ["-e", "0"]));
    if (certificates !== undefined) times.asSet.push(elapsedMs(process.execPath, ["-e", "0"], process.env));
    times.version.push(elapsedMs(command, ["--version"], process.env));
    if (isRoot) times.restore.push(await restoreMs(images));
  }
  const node = line("node -e 0", times.node);
  const version = line("faultline --version", times.version);
  const ratio = version.medianMs / node.medianMs;
  process.stdout.write(
    `cold start, ${rounds} alternating runs, Node ${process.version}, Linux ${release()}, ${cpus()[0]?.model.trim()}, ` +
      `${cpus().length} cores\n${node.text}${version.text}  ratio                 ${ratio.toFixed(2)} (bound ${ratioBound})\n`,
  );
  if (ratio > ratioBound) process.exitCode = 1;
  if (!isRoot) return;
  const restore = line("faultline restore -d", times.restore);
  const more = restore.medianMs - node.medianMs;
  process.stdout.write(`${restore.text}  above node -e 0       ${more.toFixed(1)} ms (aim ${restoreAimMs} ms)\n`);
  if (certificates === undefined) return;
  const asSet = line("node -e 0, as it is", times.asSet);
  process.stdout.write(
    `${asSet.text}  above that            ${(restore.medianMs - asSet.medianMs).toFixed(1)} ms: with NODE_EXTRA_CA_CERTS as ` +
      "it is set here, which faultline leaves unread\n",
  );
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
