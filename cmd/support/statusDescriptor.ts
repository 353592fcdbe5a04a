// The descriptor of --status-fd: who started this command waits on it for the moment when it is ready. As CRIU does it.
import { closeSync, writeSync } from "node:fs";
import { FaultlineError } from "../../src/errors";

/** Writes a NUL byte to `fd` and closes it. Throws USAGE where it cannot be written. */
export function signalDescriptor(fd: number): void {
  try {
    writeSync(fd, "\0");
    closeSync(fd);
  } catch (cause) {
    throw new FaultlineError("USAGE", `descriptor ${fd} of --status-fd cannot be written`, { cause });
  }
}
