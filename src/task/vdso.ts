// Finds a `syscall` instruction in a task's vdso: the first foothold for calls made by a task that has no agent yet.
import { closeSync, openSync, readFileSync } from "node:fs";
import { checked, FaultlineError } from "../errors";
import { native } from "../native";

/** The address range of a task's vdso, bytes; undefined where it has none (vdso=0, or unmapped by the program). */
export function findVdso(maps: string): { start: number; end: number } | undefined {
  const line = maps.split("\n").find((text) => text.endsWith("[vdso]"));
  const range = line?.match(/^([0-9a-f]+)-([0-9a-f]+) /);
  if (range === null || range === undefined) return undefined;
  return { start: Number.parseInt(range[1] as string, 16), end: Number.parseInt(range[2] as string, 16) };
}

/** The address of a `syscall` instruction (0f 05) in the task's vdso. UNSUPPORTED where there is none. */
export function findSyscallInstruction(pid: number): bigint {
  const vdso = findVdso(readFileSync(`/proc/${pid}/maps`, "latin1"));
  const fd = openSync(`/proc/${pid}/mem`, "r");
  try {
    if (vdso !== undefined) {
      const bytes = Buffer.alloc(vdso.end - vdso.start);
      const got = checked(native.readAt(fd, vdso.start, bytes), "pread", "cannot read the task's vdso", { pid });
      const offset = bytes.subarray(0, got).indexOf(Buffer.from([0x0f, 0x05]));
      if (offset >= 0) return BigInt(vdso.start + offset);
    }
  } finally {
    closeSync(fd);
  }
  throw new FaultlineError("UNSUPPORTED", "the task has no vdso with a system call in it", { pid });
}
