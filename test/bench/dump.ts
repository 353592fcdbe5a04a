// How long a dump freezes a program, beside a plain copy of the same pages out of it in the same run, and beside CRIU.
//   npm run bench:dump [MEBIBYTES] [ROUNDS]
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { decodeImageOf } from "../../src/images/framing";
import { native } from "../../src/native";
import { dump } from "../../src/task/dump/dump";
import { scanPages, wantedRuns } from "../../src/task/dump/memory";
import { classifyMappings } from "../../src/task/dump/vmas";
import { parseMappings, readProcBytes } from "../../src/task/proc";
import { criuDump } from "../support/criu";
import { TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

const mebibytes = Number(process.argv[2] ?? 300);
const rounds = Number(process.argv[3] ?? 5);
const holder = `const held = []; for (let i = 0; i < ${mebibytes}; i++) held.push(require("crypto").randomBytes(1 << 20));
require("fs").writeFileSync(process.argv[1], ""); setInterval(() => held[0][0]++, 20);`;

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** process_vm_readv of every page that the dump takes, into memory that is there already; milliseconds. */
function plainCopyMs(pid: number): number {
  const vmas = classifyMappings(parseMappings(readProcBytes(pid, "smaps").toString("latin1")));
  const runs = wantedRuns(vmas, scanPages(pid)).filter(({ vma }) => (vma.protection & 1) !== 0);
  const ranges = new Float64Array(runs.flatMap(({ address, bytes }) => [address, bytes]));
  const total = runs.reduce((sum, { bytes }) => sum + bytes, 0);
  const buffer = native.allocatePages(total);
  if (typeof buffer === "number") throw new Error("no memory");
  const start = process.hrtime.bigint();
  native.vmReadRanges(pid, ranges, new Uint8Array(buffer));
  return Number(process.hrtime.bigint() - start) / 1e6;
}

async function main(): Promise<void> {
  const scratch = new TempDir("bench-ready");
  const child = spawn(process.execPath, ["-e", holder, scratch.join("ready")], { detached: true, stdio: "ignore" });
  const pid = child.pid as number;
  await waitFor("the program", () => existsSync(scratch.join("ready")));
  const faultline: number[] = [];
  const plain: number[] = [];
  const criu: number[] = [];
  try {
    await withTempDir("bench", async (images) => {
      for (let round = 0; round < rounds; round++) {
        plain.push(plainCopyMs(pid));
        const result = await dump({ pid, directory: images.join(`f${round}`), after: "run", compress: "none" });
        faultline.push(result.frozenUs / 1000);
        mkdirSync(images.join(`c${round}`));
        await criuDump(pid, images.join(`c${round}`), ["--leave-running"]);
        const file = images.join(`c${round}`, "stats-dump");
        const { message } = decodeImageOf("STATS", readFileSync(file), file).records[0]!;
        criu.push((message.dump?.frozen_time ?? 0) / 1000);
      }
    });
  } finally {
    child.kill("SIGKILL");
    scratch[Symbol.dispose]();
  }
  console.log(`node holding ${mebibytes} MiB, median of ${rounds} rounds, milliseconds`);
  console.log(`plain copy of its pages   ${median(plain).toFixed(1)}`);
  console.log(
    `frozen by faultline dump  ${median(faultline).toFixed(1)} (${(median(faultline) / median(plain)).toFixed(2)} times)`,
  );
  console.log(`frozen by criu dump       ${median(criu).toFixed(1)}`);
}

main();
