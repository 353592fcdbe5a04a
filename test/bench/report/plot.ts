// Plots as SVG text: horizontal bars, and lines. Colours are classes; page.ts gives them for light and dark.
import { type BarPlot, digits, type LinePlot, type Plot } from "./result";

export function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

export function drawPlot(plot: Plot): string {
  return plot.kind === "bars" ? drawBars(plot) : drawLines(plot);
}

interface Scale {
  at(value: number): number;
  readonly ticks: readonly number[];
}

/** From values to coordinates between `from` and `to`; a logarithmic one begins at the power of ten below `low`. */
function scale(low: number, high: number, from: number, to: number, logarithmic: boolean): Scale {
  if (!logarithmic) {
    const step = niceStep(high / 4);
    const top = Math.max(step, Math.ceil(high / step) * step);
    const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_each, at) => at * step);
    return { at: (value) => from + ((to - from) * value) / top, ticks };
  }
  const bottom = Math.floor(Math.log10(low));
  const top = Math.max(bottom + 1, Math.ceil(Math.log10(high)));
  const ticks = Array.from({ length: top - bottom + 1 }, (_each, at) => 10 ** (bottom + at));
  const at = (value: number) =>
    from + ((to - from) * (Math.log10(Math.max(value, 10 ** bottom)) - bottom)) / (top - bottom);
  return { at, ticks };
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
}

function tickText(value: number): string {
  if (value >= 1e9) return `${value / 1e9} G`;
  if (value >= 1e6) return `${value / 1e6} M`;
  if (value >= 1e4) return `${value / 1e3} k`;
  return String(Number(value.toPrecision(3)));
}

function svg(width: number, height: number, label: string, parts: readonly string[]): string {
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(label)}">${parts.join("")}</svg>`;
}

const fixed = (value: number) => value.toFixed(1);

function drawBars({ title, unit, logarithmic, bars }: BarPlot): string {
  const [width, right, rowHeight] = [480, 62, 24];
  // About 6.3 units a character of the 12 unit font.
  const left = Math.min(290, 16 + 6.3 * Math.max(...bars.map((bar) => bar.label.length)));
  const bottom = bars.length * rowHeight + 6;
  const highs = bars.map((bar) => Math.max(bar.value, bar.high ?? 0));
  const lows = bars.map((bar) => bar.value).filter((value) => value > 0);
  const x = scale(Math.min(...lows), Math.max(...highs), left, width - right, logarithmic);
  const parts = x.ticks.flatMap((tick) => [
    `<line class="grid" x1="${fixed(x.at(tick))}" x2="${fixed(x.at(tick))}" y1="2" y2="${bottom}"/>`,
    `<text class="axis" x="${fixed(x.at(tick))}" y="${bottom + 14}" text-anchor="middle">${tickText(tick)}</text>`,
  ]);
  bars.forEach((bar, at) => {
    const middle = at * rowHeight + 16;
    const kind = bar.ours ? "ours" : "other";
    const end = x.at(bar.value);
    const top = bar.high === undefined ? end : Math.max(end, x.at(bar.high));
    if (top > end) {
      const line = `x1="${fixed(end)}" x2="${fixed(top)}" y1="${middle}" y2="${middle}"`;
      parts.push(`<line class="${kind}-high" stroke-width="4" ${line}/>`);
    }
    const size = `width="${fixed(Math.max(1, end - left))}" height="14"`;
    const high = bar.high === undefined ? "" : ` (line to ${digits(bar.high)})`;
    parts.push(`<text x="${left - 8}" y="${middle + 4}" text-anchor="end">${escapeText(bar.label)}</text>`);
    parts.push(`<rect class="${kind}" rx="2" x="${left}" y="${middle - 7}" ${size}>`);
    parts.push(`<title>${escapeText(bar.label)}: ${digits(bar.value)}${high} ${unit}</title></rect>`);
    parts.push(`<text x="${fixed(top + 6)}" y="${middle + 4}">${digits(bar.value)}</text>`);
  });
  parts.push(`<text class="axis" x="${width - 4}" y="${bottom + 14}" text-anchor="end">${escapeText(unit)}</text>`);
  return svg(width, bottom + 20, title, parts);
}

function drawLines({ title, xLabel, yLabel, logarithmicX, logarithmicY, lines }: LinePlot): string {
  const [width, height, left, right, top, bottom] = [480, 250, 52, 14, 14, 46];
  const points = lines.flatMap((line) => line.points);
  const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
  const x = scale(Math.min(...xs), Math.max(...xs), left, width - right, logarithmicX);
  const y = scale(Math.min(...ys), Math.max(...ys), height - bottom, top, logarithmicY);
  const parts = y.ticks.flatMap((tick) => [
    `<line class="grid" x1="${left}" x2="${width - right}" y1="${fixed(y.at(tick))}" y2="${fixed(y.at(tick))}"/>`,
    `<text class="axis" x="${left - 6}" y="${fixed(y.at(tick) + 4)}" text-anchor="end">${tickText(tick)}</text>`,
  ]);
  for (const tick of x.ticks) {
    const place = `x="${fixed(x.at(tick))}" y="${height - bottom + 16}"`;
    parts.push(`<text class="axis" ${place} text-anchor="middle">${tickText(tick)}</text>`);
  }
  lines.forEach((line, at) => {
    const path = line.points.map(([px, py]) => `${fixed(x.at(px))},${fixed(y.at(py))}`).join(" ");
    parts.push(`<polyline class="curve c${at % 4}" points="${path}"/>`);
    for (const [px, py] of line.points) {
      const label = `${line.label}: ${digits(py)} at ${tickText(px)}`;
      const dot = `class="f${at % 4}" r="3" cx="${fixed(x.at(px))}" cy="${fixed(y.at(py))}"`;
      parts.push(`<circle ${dot}><title>${escapeText(label)}</title></circle>`);
    }
    const legendX = left + (at % 3) * 145;
    const legendY = height - 12 + Math.floor(at / 3) * 14;
    parts.push(`<circle class="f${at % 4}" r="4" cx="${legendX}" cy="${legendY - 4}"/>`);
    parts.push(`<text x="${legendX + 8}" y="${legendY}">${escapeText(line.label)}</text>`);
  });
  parts.push(
    `<text class="axis" x="${width - right}" y="${height - bottom + 30}" text-anchor="end">${escapeText(xLabel)}</text>`,
  );
  parts.push(`<text class="axis" x="${left}" y="10">${escapeText(yLabel)}</text>`);
  return svg(width, height + Math.max(0, Math.ceil(lines.length / 3) - 1) * 14, title, parts);
}
