// What happens where standard output cannot be written. Not for what is written there.

let guarded = false;

/** To be called before anything is printed. Not at every start: Node takes 3 ms to make the stream. */
export function guardStandardOutput(): void {
  if (guarded) return;
  guarded = true;
  // A reader that closes the pipe early (`| head`) is not an error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(process.exitCode ?? 0);
    // A full disk, or a standard output that was closed before: what was asked for was not told.
    process.stderr.write(`faultline: standard output cannot be written: ${error.message}\n`);
    process.exit(1);
  });
}
