// The progress bar of the daemon, on a terminal; plain lines elsewhere.
import type { WriteStream } from "node:tty";
import type { PagerReport } from "../../src/pager/requests";

const REFRESH_MS = 200;
const PAGES_PER_MEBIBYTE = 256;

export interface LazyProgress {
  /** Prints a line above the bar. */
  line(text: string): void;
  follow(report: () => Promise<PagerReport>): void;
  end(): void;
}

export function lazyProgress(stream: WriteStream): LazyProgress {
  return stream.isTTY ? new TerminalProgress(stream) : new PlainProgress(stream);
}

class PlainProgress implements LazyProgress {
  constructor(private readonly stream: NodeJS.WritableStream) {}
  line(text: string): void {
    this.stream.write(`faultline: ${text}\n`);
  }
  follow(): void {}
  end(): void {}
}

interface Totals {
  readonly served: number;
  readonly total: number;
  readonly faulted: number;
}

function totals(report: PagerReport): Totals {
  let served = 0;
  let total = 0;
  let faulted = 0;
  for (const session of report.sessions) {
    if (session.state === "done" || session.state === "failed") continue;
    const here = session.faultedPages + session.drainedPages + session.prefetchedPages;
    served += here;
    total += here + session.missingPages;
    faulted += session.faultedPages;
  }
  return { served, total, faulted };
}

class TerminalProgress implements LazyProgress {
  private timer: NodeJS.Timeout | undefined;
  private readonly bar: import("cli-progress").SingleBar;
  private started = false;
  private lastServed = 0;
  private lastMs = Date.now();

  constructor(private readonly stream: WriteStream) {
    const { SingleBar, Presets } = require("cli-progress") as typeof import("cli-progress");
    const format = "{bar} {percentage}% {served}/{size} MiB, {faulted} MiB on demand, {rate} MiB/s";
    const plain = process.env.NO_COLOR !== undefined;
    this.bar = new SingleBar(
      { format, stream, hideCursor: true, clearOnComplete: true },
      plain ? Presets.legacy : Presets.shades_classic,
    );
  }

  line(text: string): void {
    if (this.started) this.stream.write("\r\u001b[K");
    this.stream.write(`faultline: ${text}\n`);
  }

  follow(report: () => Promise<PagerReport>): void {
    this.timer = setInterval(() => {
      report().then(
        (found) => this.show(totals(found)),
        () => this.end(),
      );
    }, REFRESH_MS);
    this.timer.unref();
  }

  private show({ served, total, faulted }: Totals): void {
    if (this.timer === undefined || total === 0) return;
    const mebibytes = (pages: number): string => (pages / PAGES_PER_MEBIBYTE).toFixed(0);
    const now = Date.now();
    const rate = ((served - this.lastServed) / PAGES_PER_MEBIBYTE / Math.max(1, now - this.lastMs)) * 1000;
    this.lastServed = served;
    this.lastMs = now;
    const payload = {
      served: mebibytes(served),
      size: mebibytes(total),
      faulted: mebibytes(faulted),
      rate: Math.max(0, rate).toFixed(0),
    };
    if (!this.started) this.bar.start(total, served, payload);
    this.started = true;
    this.bar.setTotal(total);
    this.bar.update(served, payload);
  }

  end(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    if (this.started) this.bar.stop();
    this.started = false;
  }
}
