// A range of a task's memory in parts of one kind each, with the bytes of those that are stored. Not for rows of text:
// textHexdump.ts.
import { FaultlineError } from "../errors";
import { PAGE_BYTES } from "../limits";
import type { AddressSpace, RangeKind } from "./addressSpace";
import { isZeroPiece, PieceReader } from "./memory";

/** [start, end), byte addresses. */
export interface AddressRange {
  readonly start: number;
  readonly end: number;
}

export interface DumpPart extends AddressRange {
  readonly kind: RangeKind;
  /** Of stored parts: their bytes, until the next part is asked for. Undefined where they are known to be zero. */
  readonly bytes: Buffer | undefined;
}

/** Bytes shown where no end is given. */
const DEFAULT_BYTES = 256;
/** Addresses are exact numbers below this: every address that a program can have. */
const ADDRESS_END = 2 ** 53;

/** "ADDR", "ADDR+LEN" or "ADDR-END": addresses are hexadecimal as `maps` prints them, LEN is decimal or 0x. Throws USAGE. */
export function parseAddressRange(text: string): AddressRange {
  const parts = /^(?:0x)?([0-9a-f]+)(?:\+(0x[0-9a-f]+|\d+)|-(?:0x)?([0-9a-f]+))?$/i.exec(text);
  if (parts === null) {
    throw new FaultlineError("USAGE", `"${text}" is not an address range`, {
      advice: "write 7ffd7592e440, 7ffd7592e440+512 or 7ffd7592e000-7ffd7592f000",
    });
  }
  const start = Number.parseInt(parts[1]!, 16);
  const end = parts[3] === undefined ? start + Number(parts[2] ?? DEFAULT_BYTES) : Number.parseInt(parts[3], 16);
  if (end > ADDRESS_END) throw new FaultlineError("USAGE", `"${text}" leaves the address space`);
  if (end <= start) throw new FaultlineError("USAGE", `"${text}" ends where it begins, or before`);
  return { start, end };
}

/** All of `range`, in address order. Throws what damaged blocks throw. */
export function* dumpParts(space: AddressSpace, range: AddressRange): Generator<DumpPart> {
  const reader = new PieceReader();
  for (const { firstPage, pageCount, kind, piece } of space.ranges(
    Math.floor(range.start / PAGE_BYTES),
    Math.ceil(range.end / PAGE_BYTES),
  )) {
    const base = firstPage * PAGE_BYTES;
    const start = Math.max(range.start, base);
    const end = Math.min(range.end, base + pageCount * PAGE_BYTES);
    const hasBytes = kind === "stored" && piece !== undefined && !isZeroPiece(piece);
    yield { start, end, kind, bytes: hasBytes ? reader.read(piece).subarray(start - base, end - base) : undefined };
  }
}
