// Writes a file whole or not at all: aside first, synced, then under its name. Not for image directories.
import { closeSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { FaultlineError } from "../errors";

/** Runs `write` on a new file beside `file`, syncs it and gives it that name; removes it where anything fails. */
export function writeAside<T>(file: string, write: (fd: number) => T): T {
  const aside = `${file}.${process.pid}.tmp`;
  try {
    const fd = openSync(aside, "wx", 0o600);
    let result: T;
    try {
      result = write(fd);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, file);
    return result;
  } catch (cause) {
    rmSync(aside, { force: true });
    const { code, syscall, errno } = cause as NodeJS.ErrnoException;
    if (syscall === undefined || cause instanceof FaultlineError) throw cause;
    throw new FaultlineError(code === "EACCES" ? "PERMISSION" : "SYSTEM", "the file cannot be written", {
      file,
      syscall,
      errno: errno === undefined ? undefined : -errno,
      cause,
    });
  }
}
