// Tables, sizes and paint for a terminal. Not for what they say: the text*.ts files beside this one.

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** How output is painted: nothing at all where stdout is no terminal or NO_COLOR is set (https://no-color.org). */
export interface Paint {
  heading(text: string): string;
  faint(text: string): string;
  strong(text: string): string;
}

export const plainPaint: Paint = { heading: (text) => text, faint: (text) => text, strong: (text) => text };

const terminalPaint: Paint = {
  heading: (text) => `\x1b[1m${text}\x1b[0m`,
  faint: (text) => `\x1b[2m${text}\x1b[0m`,
  strong: (text) => `\x1b[36m${text}\x1b[0m`,
};

export function paintFor(stream: { readonly isTTY?: boolean }, environment: NodeJS.ProcessEnv): Paint {
  const noColor = environment.NO_COLOR !== undefined && environment.NO_COLOR !== "";
  return stream.isTTY === true && !noColor ? terminalPaint : plainPaint;
}

/** Columns as wide as their widest cell, two spaces apart; the last one is not padded. Ends with a newline. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  paint = plainPaint,
): string {
  const widths = columns.map((column, index) => widest(column.title, rows, index));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, index) => {
        if (columns[index]!.align === "right") return cell.padStart(widths[index]!);
        return index === columns.length - 1 ? cell : cell.padEnd(widths[index]!);
      })
      .join("  ")
      .trimEnd();
  const heading = paint.heading(line(columns.map((column) => column.title)));
  return `${[heading, ...rows.map(line)].join("\n")}\n`;
}

// A loop, not Math.max(...): a table may have a hundred thousand rows.
function widest(title: string, rows: readonly (readonly string[])[], index: number): number {
  let width = title.length;
  for (const row of rows) width = Math.max(width, row[index]!.length);
  return width;
}

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** "0", "512 B", "4 KiB", "7.1 MiB": three digits at most, powers of 1024. */
export function bytesText(bytes: number): string {
  if (bytes === 0) return "0";
  let value = bytes;
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

export function pagesText(pages: number): string {
  return bytesText(pages * 4096);
}

export function hexText(value: number | bigint, digits = 0): string {
  return value.toString(16).padStart(digits, "0");
}

/** Text from an image made safe for one line of a terminal: control and format characters and broken UTF-8 as \\xNN. */
export function safeText(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (char) => {
    const code = char.codePointAt(0)!;
    // A lone surrogate U+DC80..U+DCFF stands for a byte that is not UTF-8: src/images/text.ts.
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${hexText(code - 0xdc00, 2)}`;
    return code < 0x100 ? `\\x${hexText(code, 2)}` : `\\u{${hexText(code)}}`;
  });
}
