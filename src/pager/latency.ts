// A histogram of fault latencies with fixed bounds, so that counting allocates nothing and reports stay small.
import type { LatencyReport } from "./requests";

/** Upper bounds, microseconds: about 10 % apart, 1 µs to 20 s. */
export const LATENCY_BOUNDS_US: readonly number[] = bounds();

function bounds(): number[] {
  const all: number[] = [];
  for (let us = 1; us < 20_000_000; us *= 1.1) all.push(us < 100 ? Math.round(us * 10) / 10 : Math.round(us));
  return all;
}

export class LatencyHistogram {
  readonly counts = new Float64Array(LATENCY_BOUNDS_US.length + 1);
  count = 0;
  sumUs = 0;
  maxUs = 0;

  record(us: number): void {
    let low = 0;
    let high = LATENCY_BOUNDS_US.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (LATENCY_BOUNDS_US[middle]! < us) low = middle + 1;
      else high = middle;
    }
    this.counts[low]!++;
    this.count++;
    this.sumUs += us;
    if (us > this.maxUs) this.maxUs = us;
  }

  /** The bound below which the fraction of all latencies lies; 0 where there are none. */
  quantile(fraction: number): number {
    let left = Math.ceil(this.count * fraction);
    if (left === 0) return 0;
    for (let i = 0; i < this.counts.length; i++) {
      left -= this.counts[i]!;
      if (left <= 0) return Math.min(this.maxUs, LATENCY_BOUNDS_US[i] ?? this.maxUs);
    }
    return this.maxUs;
  }

  report(): LatencyReport {
    const { count, maxUs } = this;
    return { count, p50Us: this.quantile(0.5), p90Us: this.quantile(0.9), p99Us: this.quantile(0.99), maxUs };
  }
}
