// What one thread needs to copy the pages of a process out of it and nothing else: the yardstick of a dump's freeze.
import { native } from "../../../src/native";
import { scanPages, wantedRuns } from "../../../src/task/dump/memory";
import { classifyMappings } from "../../../src/task/dump/vmas";
import { parseMappings, readProc } from "../../../src/task/proc";

/** process_vm_readv(2) of every page that a dump of `pid` takes, into memory that is there already; milliseconds. */
export function plainCopyMs(pid: number): number {
  const vmas = classifyMappings(parseMappings(readProc(pid, "smaps")));
  const runs = wantedRuns(vmas, scanPages(pid)).filter(({ vma }) => (vma.protection & 1) !== 0);
  const total = runs.reduce((sum, { bytes }) => sum + bytes, 0);
  const buffer = native.allocatePages(total);
  if (typeof buffer === "number") throw new Error("no memory");
  const target = new Uint8Array(buffer);
  const start = process.hrtime.bigint();
  let copied = 0;
  for (const { address, bytes } of runs) {
    const got = native.vmRead(pid, address, target.subarray(copied, copied + bytes));
    if (got !== bytes) throw new Error(`${got} of ${bytes} bytes copied`);
    copied += bytes;
  }
  return Number(process.hrtime.bigint() - start) / 1e6;
}
