// Signal names of x86-64 Linux (signal(7)).
import { constants } from "node:os";

const names = new Map<number, string>();
// The first name of a number is the usual one (SIGABRT before SIGIOT).
for (const [name, number] of Object.entries(constants.signals)) if (!names.has(number)) names.set(number, name);

/** "SIGTERM" for 15, "SIGRTMIN+2" for 36 (as glibc counts), "signal N" beyond 64. */
export function signalName(signal: number): string {
  if (signal >= 34 && signal <= 64) return signal === 34 ? "SIGRTMIN" : `SIGRTMIN+${signal - 34}`;
  return names.get(signal) ?? `signal ${signal}`;
}
