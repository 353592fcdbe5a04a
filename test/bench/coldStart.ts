// Measures the cold start: `faultline --version` against `node -e 0`, alternating, as medians and their ratio.
// Run by `npm run bench:cold-start`; exits 1 where the ratio exceeds the bound that the project holds itself to.
import { spawnSync } from "node:child_process";
import { cpus, release } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(__dirname, "..", "..", "..");
const rounds = Number(process.env.ROUNDS ?? 41);
const ratioBound = 1.5;

function elapsedMs(command: string, args: readonly string[]): number {
  const start = process.hrtime.bigint();
  const { status } = spawnSync(command, args, { stdio: "ignore" });
  const elapsed = Number(process.hrtime.bigint() - start) / 1e6;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} exited with ${status}`);
  return elapsed;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

const faultline: number[] = [];
const node: number[] = [];
for (let round = 0; round < rounds; round++) {
  node.push(elapsedMs("node", ["-e", "0"]));
  faultline.push(elapsedMs(join(root, "bin", "faultline"), ["--version"]));
}
const [nodeMs, faultlineMs] = [median(node), median(faultline)];
const ratio = faultlineMs / nodeMs;
process.stdout.write(
  `cold start, ${rounds} alternating runs, Node ${process.version}, Linux ${release()}, ${cpus().length} cores\n` +
    `  node -e 0             ${nodeMs.toFixed(1)} ms median, ${node[0]!.toFixed(1)} ms fastest\n` +
    `  faultline --version   ${faultlineMs.toFixed(1)} ms median, ${faultline[0]!.toFixed(1)} ms fastest\n` +
    `  ratio                 ${ratio.toFixed(2)} (bound ${ratioBound})\n`,
);
if (ratio > ratioBound) process.exitCode = 1;
