// The progress bar of pack and unpack, on a terminal only, and Ctrl-C as an AbortSignal.

export interface PackProgress {
  readonly signal: AbortSignal;
  readonly step: (doneBytes: number, totalBytes: number) => void;
  /** May be called more than once. */
  end(): void;
}

export function packProgress(what: string): PackProgress {
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  process.on("SIGINT", stop).on("SIGTERM", stop);
  const bar = process.stderr.isTTY ? startBar(what) : undefined;
  return {
    signal: abort.signal,
    step: (done, total) => bar?.(done, total),
    end: () => {
      bar?.(undefined, 0);
      process.off("SIGINT", stop).off("SIGTERM", stop);
    },
  };
}

function startBar(what: string): (done: number | undefined, total: number) => void {
  const { SingleBar, Presets } = require("cli-progress") as typeof import("cli-progress");
  const format = `${what} {bar} {percentage}% {done}/{size} MiB, {rate} MiB/s, {eta_formatted} left`;
  const plain = process.env.NO_COLOR !== undefined;
  const bar = new SingleBar(
    { format, stream: process.stderr, hideCursor: true, clearOnComplete: true },
    plain ? Presets.legacy : Presets.shades_classic,
  );
  const startMs = Date.now();
  let started = false;
  return (done, total) => {
    if (done === undefined) {
      if (started) bar.stop();
      started = false;
      return;
    }
    const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
    const rate = mebibytes((done * 1000) / Math.max(1, Date.now() - startMs));
    const payload = { done: mebibytes(done), size: mebibytes(total), rate };
    if (started) bar.update(done, payload);
    else bar.start(total, done, payload);
    started = true;
  };
}
