// Preloaded into a process (node -r) that is to die by SIGKILL just before its FAULTLINE_CRASH_AT-th call that changes or
// syncs files. Where it lives to its end, it exits with status 0 as ever. Not a test.
import fs from "node:fs";

const functions = [
  "openSync",
  "renameSync",
  "rmSync",
  "symlinkSync",
  "mkdirSync",
  "copyFileSync",
  "writeFileSync",
  "writeSync",
  "chownSync",
  "ftruncateSync",
  "fsyncSync",
] as const;

const crashAt = Number(process.env.FAULTLINE_CRASH_AT);
let calls = 0;

/** Calls for other files than those of the directory under test (modules, the addon) do not count. */
function concerns(subject: unknown): boolean {
  return typeof subject === "number" || String(subject).includes("/images");
}

for (const name of functions) {
  const original = fs[name] as (...args: unknown[]) => unknown;
  Object.defineProperty(fs, name, {
    value: (...args: unknown[]) => {
      if (concerns(args[0]) && ++calls === crashAt) process.kill(process.pid, "SIGKILL");
      return original(...args);
    },
  });
}
