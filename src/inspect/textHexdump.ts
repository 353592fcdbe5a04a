// A range of memory as rows of sixteen bytes: address, hexadecimal, text. Rows equal to the one before are shown once and
// then as `*`, as hexdump(1) does; parts without bytes are one line that says why.
import type { RangeKind } from "./addressSpace";
import type { DumpPart } from "./hexdump";
import { printable } from "./textSearch";
import { bytesText, hexText, type Paint, plainPaint } from "./textTable";

const ROW_BYTES = 16;
const ADDRESS_DIGITS = 12;

const reasons: Readonly<Record<Exclude<RangeKind, "stored">, string>> = {
  absent: "absent: a lazy dump left it at the source",
  untouched: "never touched: zero",
  file: "not in the image: as in the mapped file",
  kernel: "made by the kernel, in no image",
  unmapped: "not mapped",
};

/** Turns parts into text, piece by piece; keep one for a whole range. */
export class HexdumpText {
  /** The row being filled, whose first byte is at rowStart; rows begin at multiples of sixteen. */
  private readonly row = Buffer.alloc(ROW_BYTES);
  private rowStart = 0;
  private used: [number, number] = [0, 0];
  private last: Buffer | undefined;
  private starred = false;
  private unstored: { start: number; end: number; kind: Exclude<RangeKind, "stored"> } | undefined;
  private end = 0;
  private output: string[] = [];

  constructor(private readonly paint: Paint = plainPaint) {}

  /** The text of another part, which follows on the one before. */
  add(part: DumpPart): string {
    if (part.kind === "stored") this.addStored(part);
    else this.addUnstored(part.start, part.end, part.kind);
    this.end = part.end;
    return this.take();
  }

  /** What is left, and the address where the range ends. */
  finish(): string {
    this.endRow();
    this.endUnstored();
    this.output.push(`${this.paint.faint(hexText(this.end, ADDRESS_DIGITS))}\n`);
    return this.take();
  }

  private take(): string {
    const text = this.output.join("");
    this.output = [];
    return text;
  }

  private addStored({ start, end, bytes }: DumpPart): void {
    this.endUnstored();
    for (let at = start; at < end; ) {
      const offset = at % ROW_BYTES;
      const count = Math.min(ROW_BYTES - offset, end - at);
      if (this.used[1] === 0) {
        this.rowStart = at - offset;
        this.used = [offset, offset];
      }
      if (bytes === undefined) this.row.fill(0, offset, offset + count);
      else bytes.copy(this.row, offset, at - start, at - start + count);
      this.used[1] = offset + count;
      at += count;
      if (this.used[1] === ROW_BYTES) this.endRow();
      // After a row of zeros that is already a star, the rest of a zero part says nothing new.
      if (bytes === undefined && this.starred && this.used[1] === 0) at = Math.max(at, end - (end % ROW_BYTES));
    }
  }

  private addUnstored(start: number, end: number, kind: Exclude<RangeKind, "stored">): void {
    this.endRow();
    if (this.unstored?.kind === kind) this.unstored.end = end;
    else {
      this.endUnstored();
      this.unstored = { start, end, kind };
    }
    this.last = undefined;
    this.starred = false;
  }

  private endUnstored(): void {
    if (this.unstored === undefined) return;
    const { start, end, kind } = this.unstored;
    this.output.push(
      `${this.paint.faint(hexText(start, ADDRESS_DIGITS))}  (${bytesText(end - start)} ${reasons[kind]})\n`,
    );
    this.unstored = undefined;
  }

  private endRow(): void {
    const [from, to] = this.used;
    if (to === 0) return;
    this.used = [0, 0];
    const whole = from === 0 && to === ROW_BYTES;
    if (whole && this.last?.equals(this.row)) {
      if (!this.starred) this.output.push("*\n");
      this.starred = true;
      return;
    }
    this.starred = false;
    this.last = whole ? Buffer.from(this.row) : undefined;
    this.output.push(this.rowText(from, to));
  }

  private rowText(from: number, to: number): string {
    const cells: string[] = [];
    for (let at = 0; at < ROW_BYTES; at++) {
      if (at === ROW_BYTES / 2) cells.push("");
      cells.push(at >= from && at < to ? hexText(this.row[at]!, 2) : "  ");
    }
    const text = " ".repeat(from) + printable(this.row.subarray(from, to)) + " ".repeat(ROW_BYTES - to);
    const address = hexText(this.rowStart, ADDRESS_DIGITS);
    return `${this.paint.faint(address)}  ${cells.join(" ")}  |${text}|\n`;
  }
}

/** Parts as members of a JSON list, neighbours without bytes as one. */
export class HexdumpJson {
  private pending: { start: number; end: number; kind: RangeKind; zero: boolean } | undefined;
  private first = true;

  begin(pid: number, start: number, end: number): string {
    return `{"pid": ${pid}, "start": "0x${start.toString(16)}", "end": "0x${end.toString(16)}", "ranges": [`;
  }

  add({ start, end, kind, bytes }: DumpPart): string {
    if (bytes !== undefined) return this.flush() + this.member(start, end, kind, { bytes: bytes.toString("hex") });
    const zero = kind === "stored";
    if (this.pending?.kind === kind) {
      this.pending.end = end;
      return "";
    }
    const before = this.flush();
    this.pending = { start, end, kind, zero };
    return before;
  }

  finish(): string {
    return `${this.flush()}\n]}\n`;
  }

  private flush(): string {
    if (this.pending === undefined) return "";
    const { start, end, kind, zero } = this.pending;
    this.pending = undefined;
    return this.member(start, end, kind, zero ? { zero: true } : {});
  }

  private member(start: number, end: number, kind: RangeKind, more: object): string {
    const comma = this.first ? "\n  " : ",\n  ";
    this.first = false;
    return `${comma}${JSON.stringify({ start: `0x${start.toString(16)}`, end: `0x${end.toString(16)}`, kind, ...more })}`;
  }
}
