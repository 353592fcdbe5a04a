// Reads and writes the memory of a process through /proc/PID/mem, whatever the protection there (proc_pid_mem(5)). What is
// written into a private mapping becomes the task's own copy of that page. Short messages and results only; pages are
// copied by dump/pageStore.ts.
import { closeSync, openSync } from "node:fs";
import { checked, FaultlineError } from "../errors";
import { native } from "../native";

function withMemory<T>(pid: number, flags: "r" | "r+", use: (fd: number) => T): T {
  const fd = openSync(`/proc/${pid}/mem`, flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** Reads `length` bytes; fewer where the mapping ends before. */
export function peekMemory(pid: number, address: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const got = withMemory(pid, "r", (fd) => native.readAt(fd, address, bytes));
  return bytes.subarray(0, checked(got, "pread", "cannot read the task's memory", { pid, address }));
}

/** Writes all of `bytes`. */
export function pokeMemory(pid: number, address: number, bytes: Uint8Array): void {
  const got = withMemory(pid, "r+", (fd) => native.writeAt(fd, address, bytes));
  const done = checked(got, "pwrite", "cannot write the task's memory", { pid, address });
  if (done !== bytes.length) throw new FaultlineError("SYSTEM", "short write to the task's memory", { pid, address });
}
