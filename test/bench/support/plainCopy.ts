// What one thread needs to copy the pages of a process out of it and nothing else: the yardstick of a dump's freeze.
import { native } from "../../../src/native";
import { scanPages, wantedRuns } from "../../../src/task/dump/memory";
import { classifyMappings } from "../../../src/task/dump/vmas";
import { parseMappings, readProc } from "../../../src/task/proc";

/** A running program may give memory back between the scan and the copy. */
const attemptsMax = 20;

/** process_vm_readv(2) of every page that a dump of `pid` takes, into memory that is there already; milliseconds. */
export function plainCopyMs(pid: number): number {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const tookMs = copyOnce(pid);
    if (tookMs !== undefined) return tookMs;
  }
  throw new Error(`the memory of process ${pid} changes all the time`);
}

function copyOnce(pid: number): number | undefined {
  const vmas = classifyMappings(parseMappings(readProc(pid, "smaps")));
  const runs = wantedRuns(vmas, scanPages(pid)).filter(({ vma }) => (vma.protection & 1) !== 0);
  const total = runs.reduce((sum, { bytes }) => sum + bytes, 0);
  const buffer = native.allocatePages(total);
  if (typeof buffer === "number") throw new Error("no memory");
  const target = new Uint8Array(buffer);
  const start = process.hrtime.bigint();
  let copied = 0;
  for (const { address, bytes } of runs) {
    if (native.vmRead(pid, address, target.subarray(copied, copied + bytes)) !== bytes) return undefined;
    copied += bytes;
  }
  return Number(process.hrtime.bigint() - start) / 1e6;
}
