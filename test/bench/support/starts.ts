// Whole commands as a shell sees them, from their start until they return: an empty Node, `faultline --version`, and, as root,
// `restore -d` of an idle Node with 64 MB, by Faultline and by CRIU. They take turns.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { packDirectory } from "../../../src/images/pack";
import { dump } from "../../../src/task/dump/dump";
import { criuBinary } from "../../support/criu";
import { TempDir } from "../../support/tempdir";
import { waitFor } from "../../support/wait";

const command = join(resolve(__dirname, "..", "..", "..", ".."), "bin", "faultline");
const idle = `
  const kept = Buffer.alloc(64 << 20, 1);
  setInterval(() => kept.length, 1000);
  require("node:fs").writeFileSync(process.argv[1], "");
`;

/** The environment without NODE_EXTRA_CA_CERTS: Node reads those certificates at every start, longer than all the rest. */
const { NODE_EXTRA_CA_CERTS: certificates, ...plain } = process.env;

/** Milliseconds of every round, by command; those that need root are empty without it. */
export interface Starts {
  readonly node: number[];
  /** With the environment as it is; empty where that names no certificates. */
  readonly nodeWithCertificates: number[];
  readonly version: number[];
  readonly restore: number[];
  readonly criu: number[];
}

function elapsedMs(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): number {
  const start = process.hrtime.bigint();
  const { status } = spawnSync(file, args, { stdio: ["ignore", "ignore", "inherit"], env });
  const elapsed = Number(process.hrtime.bigint() - start) / 1e6;
  if (status !== 0) throw new Error(`${file} ${args.join(" ")} exited with ${status}`);
  return elapsed;
}

/** Restores the program, until the command returns, and ends it again. */
async function restoreMs(pid: number, file: string, args: readonly string[]): Promise<number> {
  const elapsed = elapsedMs(file, args);
  process.kill(pid, "SIGKILL");
  await waitFor("the program to be reaped", () => !existsSync(`/proc/${pid}`));
  return elapsed;
}

/** Raw images, and packed ones beside them. */
async function dumpIdle(raw: string, packed: string, ready: string): Promise<number> {
  const child = spawn(process.execPath, ["-e", idle, ready], { detached: true, stdio: "ignore", cwd: "/" });
  const gone = once(child, "exit");
  await waitFor("the program to be ready", () => existsSync(ready));
  await dump({ pid: child.pid as number, directory: raw, compress: "none" });
  await gone;
  await packDirectory(raw, { output: packed });
  return child.pid as number;
}

/** `withCriu`: CRIU's restores too. */
export async function measureStarts(rounds: number, withCriu: boolean): Promise<Starts> {
  using folder = new TempDir("starts");
  const [raw, packed] = [folder.join("raw"), folder.join("packed")];
  const pid = process.getuid?.() === 0 ? await dumpIdle(raw, packed, folder.join("ready")) : undefined;
  const starts: Starts = { node: [], nodeWithCertificates: [], version: [], restore: [], criu: [] };
  const ours = ["restore", "-D", packed, "-d"];
  const theirs = ["restore", "-D", raw, "-d", "-o", "restore.log", "-v0"];
  for (let round = 0; round < rounds; round++) {
    starts.node.push(elapsedMs(process.execPath, ["-e", "0"], plain));
    if (certificates !== undefined) starts.nodeWithCertificates.push(elapsedMs(process.execPath, ["-e", "0"]));
    starts.version.push(elapsedMs(command, ["--version"]));
    if (pid === undefined) continue;
    starts.restore.push(await restoreMs(pid, command, ours));
    if (withCriu) starts.criu.push(await restoreMs(pid, criuBinary, theirs));
  }
  return starts;
}
