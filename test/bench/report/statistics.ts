// Numbers about numbers: quantiles of samples, and the median of ratios of pairs. Nothing is thrown away as an outlier.

/** The value below which a share `q` (0 to 1) of the samples lies; NaN of no samples. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = Float64Array.from(samples).sort();
  return sorted.length === 0 ? Number.NaN : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!;
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** The median of a[i] / b[i]: pairs were measured one after the other, so what slows the machine slows both. */
export function pairedRatio(a: readonly number[], b: readonly number[]): number {
  return median(a.slice(0, b.length).map((value, index) => value / b[index]!));
}

/** What is kept of many samples: enough to draw their distribution. */
export interface Distribution {
  readonly count: number;
  readonly p10: number;
  readonly p25: number;
  readonly p50: number;
  readonly p75: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export function distribution(samples: readonly number[]): Distribution {
  const at = (q: number) => Number(quantile(samples, q).toFixed(2));
  const [p10, p25, p50, p75, p90] = [at(0.1), at(0.25), at(0.5), at(0.75), at(0.9)];
  return { count: samples.length, p10, p25, p50, p75, p90, p95: at(0.95), p99: at(0.99), p999: at(0.999), max: at(1) };
}
