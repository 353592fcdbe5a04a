// Runs headless Chromium on one local page: its document after the scripts ran, or a picture of it as pixels.
// Not for browsing: one page, no network, a fresh profile each time.
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { runCommand } from "./criu";
import { withTempDir } from "./tempdir";

const switches = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--hide-scrollbars",
];

async function chromium(file: string, options: readonly string[]): Promise<string> {
  return withTempDir("chromium", async (profile) => {
    const args = [...switches, `--user-data-dir=${profile.path}`, ...options, `file://${file}`];
    const { status, output } = await runCommand("chromium", args, 120_000);
    if (status !== 0) throw new Error(`chromium exited with ${status}: ${output}`);
    return output;
  });
}

/** The document as HTML after its scripts ran. */
export function dumpDocument(file: string): Promise<string> {
  return chromium(file, ["--dump-dom"]);
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** The pixel's colour as "#rrggbb". */
  at(x: number, y: number): string;
  /** How many pixels have that colour. */
  count(color: string): number;
}

/** What the top of the page looks like. */
export async function screenshot(file: string, width: number, height: number, dark: boolean): Promise<Picture> {
  return withTempDir("screenshot", async (dir) => {
    const png = dir.join("page.png");
    const scheme = `--blink-settings=preferredColorScheme=${dark ? 0 : 1}`;
    await chromium(file, [`--window-size=${width},${height}`, scheme, `--screenshot=${png}`]);
    return decodePng(readFileSync(png));
  });
}

/** An 8-bit RGB or RGBA picture without interlacing, which is what Chromium writes (PNG specification, section 9). */
function decodePng(bytes: Buffer): Picture {
  const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
  const channels = bytes[25] === 6 ? 4 : 3;
  const data: Buffer[] = [];
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    if (bytes.toString("latin1", at + 4, at + 8) === "IDAT") data.push(bytes.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const raw = inflateSync(Buffer.concat(data));
  const stride = width * channels;
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) unfilter(raw, y * (stride + 1), pixels, y * stride, stride, channels);
  const at = (x: number, y: number) => {
    const start = y * stride + x * channels;
    return `#${pixels.toString("hex", start, start + 3)}`;
  };
  const count = (color: string) => {
    const wanted = Buffer.from(color.slice(1), "hex");
    let found = 0;
    for (let start = 0; start < pixels.length; start += channels) {
      if (pixels.compare(wanted, 0, 3, start, start + 3) === 0) found++;
    }
    return found;
  };
  return { width, height, at, count };
}

function unfilter(raw: Buffer, from: number, pixels: Buffer, to: number, stride: number, channels: number): void {
  const filter = raw[from]!;
  for (let i = 0; i < stride; i++) {
    const left = i >= channels ? pixels[to + i - channels]! : 0;
    const up = to > 0 ? pixels[to + i - stride]! : 0;
    const upLeft = i >= channels && to > 0 ? pixels[to + i - channels - stride]! : 0;
    const guess = [0, left, up, (left + up) >> 1, paeth(left, up, upLeft)][filter]!;
    pixels[to + i] = raw[from + 1 + i]! + guess;
  }
}

function paeth(left: number, up: number, upLeft: number): number {
  const estimate = left + up - upLeft;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - upLeft)];
  return a <= b && a <= c ? left : b <= c ? up : upLeft;
}
