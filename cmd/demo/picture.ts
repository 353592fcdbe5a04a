// The picture of the demo: the program's memory as a strip of cells, shaded by the order in which it was touched.
import type { Touched, TouchedCell } from "../../src/service/demo/touched";
import type { Style } from "./style";

const cellsPerRow = 64;
const addressDigits = 12;
/** First touched to last touched, brought in the background, neither. */
const unicodeMarks = ["█", "▓", "▒", "░", "·", " "];
const asciiMarks = ["#", "*", "+", "-", ".", " "];
/** The 256 colours of xterm: hot to cold, and grey. */
const colors = [196, 208, 220, 77, 240, 240];
const touchedKinds = 4;
const background = 4;
const nothing = 5;

export function drawTouched({ cells, pagesPerCell }: Touched, style: Style): string[] {
  const marks = (style.unicode ? unicodeMarks : asciiMarks).map((mark, kind) => style.color(mark, colors[kind] ?? 0));
  const kinds = kindsOf(cells);
  const rows: string[] = [];
  for (let at = 0; at < cells.length; at += cellsPerRow) {
    const address = (cells[at] as TouchedCell).address.toString(16).padStart(addressDigits);
    const row = kinds.slice(at, at + cellsPerRow).map((kind) => marks[kind]);
    rows.push(`${style.color(address, 240)}  ${row.join("")}`);
  }
  const kibibytes = pagesPerCell * 4;
  const size = kibibytes < 1024 ? `${kibibytes} KiB` : `${kibibytes / 1024} MiB`;
  const shades = marks.slice(0, touchedKinds).join(" ");
  const indent = " ".repeat(addressDigits + 2);
  rows.push(`${indent}a cell is ${size}; touched first ${shades} last; ${marks[background]} came by itself`);
  return rows;
}

/** Touched cells in four groups of the same size by the order of their first touch; those of the same time together. */
function kindsOf(cells: readonly TouchedCell[]): number[] {
  const times = cells.flatMap((cell) => cell.touchedUs ?? []).sort((a, b) => a - b);
  const bounds = Array.from(
    { length: touchedKinds - 1 },
    (_, index) => times[Math.ceil((times.length * (index + 1)) / touchedKinds) - 1] ?? 0,
  );
  return cells.map(({ touchedUs, backgroundPages }) => {
    if (touchedUs === undefined) return backgroundPages > 0 ? background : nothing;
    return bounds.filter((bound) => touchedUs > bound).length;
  });
}
