// What a section of the benchmark gives: plain data, kept as JSON, from which the tables and the plots are made.
// Not for measuring and not for drawing.

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** One bar for each label; `high`, where given, is a thin line on to there (a p99 over a median). */
export interface BarPlot {
  readonly kind: "bars";
  readonly title: string;
  readonly unit: string;
  readonly logarithmic: boolean;
  readonly bars: readonly {
    readonly label: string;
    readonly value: number;
    readonly high?: number;
    readonly ours: boolean;
  }[];
}

/** Curves over a common x. */
export interface LinePlot {
  readonly kind: "lines";
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly logarithmicX: boolean;
  readonly logarithmicY: boolean;
  readonly lines: readonly {
    readonly label: string;
    readonly points: readonly (readonly [number, number])[];
  }[];
}

export type Plot = BarPlot | LinePlot;

/** One aim that the project set itself, and what came of it. */
export interface Aim {
  readonly aim: string;
  readonly measured: string;
  readonly met: boolean;
  /** Where it is missed: why, as far as known. */
  readonly why?: string;
}

export interface SectionResult {
  readonly name: string;
  readonly title: string;
  /** What was done, in a few sentences. */
  readonly about: string;
  readonly tables: readonly Table[];
  readonly plots: readonly Plot[];
  readonly aims: readonly Aim[];
  /** Every measured value, by subject. */
  readonly raw: unknown;
}

/** A section as it is kept in docs/bench/NAME.json. */
export interface RecordedSection extends SectionResult {
  readonly machine: import("./machine").MachineFacts;
  readonly quick: boolean;
  readonly seconds: number;
}

/** What run.ts asks of a section. */
export interface Section {
  readonly name: string;
  measure(options: { readonly quick: boolean; say(line: string): void }): Promise<SectionResult>;
}

/** Three significant digits, without an exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value >= 100 || value === 0) return value.toFixed(0);
  return value.toFixed(value >= 10 ? 1 : 2);
}

export function times(value: number): string {
  return `${value.toFixed(2)}×`;
}
