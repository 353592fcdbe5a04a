// Waiting for something to become true in a test, with a limit that only a hang reaches.
// Not for measuring time: nothing may depend on how long a wait took.

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/** Longer than anything takes on a slow and busy machine whose disk others use: only a hang reaches it, milliseconds. */
export const hangMs = 120_000;
/** The same as an option of `dump`, Faultline's and CRIU's, seconds: a task may wait for the disk before it can be stopped. */
export const stopOption = ["--timeout", "100"] as const;

/** Polls `probe` until it gives a value other than undefined or false; throws naming `what` after `limitMs`. */
export async function waitFor<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  limitMs = hangMs,
): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await sleep(4);
  }
}
