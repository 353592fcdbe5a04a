// Text of image files without loss: Linux paths and command names are bytes and need not be UTF-8.
// A byte that is not part of valid UTF-8 becomes a lone surrogate U+DC80..U+DCFF and turns back into that byte,
// as in Python's "surrogateescape". Not for text that a program made itself.

/** The string of `bytes`; `encodeText` gives the same bytes back, whatever they are. */
export function decodeText(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  // U+FFFD stands for a broken byte, or for itself; only then is there something to look at more closely.
  if (!text.includes("\ufffd")) return text;
  let result = "";
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      result += String.fromCharCode(0xdc00 + bytes[at]!);
      at += 1;
    } else {
      result += bytes.toString("utf8", at, at + length);
      at += length;
    }
  }
  return result;
}

/** The bytes of a string that `decodeText` made, or of any other string. */
export function encodeText(text: string): Buffer {
  if (!/[\udc80-\udcff]/.test(text)) return Buffer.from(text, "utf8");
  const parts: Buffer[] = [];
  let plain = "";
  for (const symbol of text) {
    const code = symbol.codePointAt(0)!;
    if (code >= 0xdc80 && code <= 0xdcff) {
      parts.push(Buffer.from(plain, "utf8"), Buffer.from([code - 0xdc00]));
      plain = "";
    } else plain += symbol;
  }
  parts.push(Buffer.from(plain, "utf8"));
  return Buffer.concat(parts);
}

/** Bytes of the valid UTF-8 sequence at `at` (RFC 3629, table 3-7 of Unicode), or 0. */
function sequenceLength(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const second = bytes[at + 1] ?? 0;
  const tail = (index: number) => ((bytes[at + index] ?? 0) & 0xc0) === 0x80;
  if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const low = first === 0xe0 ? 0xa0 : 0x80;
    const high = first === 0xed ? 0x9f : 0xbf;
    return second >= low && second <= high && tail(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const low = first === 0xf0 ? 0x90 : 0x80;
    const high = first === 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}
