// One user of pseudo-terminals at a time, whatever process of whatever test run it is in: a restore needs the numbers that the
// program had, and the kernel gives whoever makes a terminal the lowest number that is free. Not for the programs themselves.
import { closeSync, constants, openSync } from "node:fs";
import { userInfo } from "node:os";
import { native } from "../../src/native";
import { hangMs, waitFor } from "./wait";

/** The same for all test runs: the numbers are the machine's. */
const lockFile = `/tmp/faultline-terminals-${userInfo().uid}.lock`;
/** Several may wait, each for as long as the others need. */
const waitMs = 3 * hangMs;

/** Runs `body` when nobody else is in here. Not from inside of another. */
export async function withTerminals<T>(body: () => Promise<T>): Promise<T> {
  const fd = openSync(lockFile, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    await waitFor("others to be done with terminals", () => native.lockExclusive(fd) === 0, waitMs);
    return await body();
  } finally {
    closeSync(fd);
  }
}
