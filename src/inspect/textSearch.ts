// Hits of a search as lines: for people, or as JSON.
import type { AddressSpace } from "./addressSpace";
import type { MemoryWindow } from "./memoryWindow";
import type { Match } from "./searchMatch";
import type { PlanCounts } from "./searchPlan";
import { hexText, type Paint, pagesText, plainPaint, safeText } from "./textTable";

/** A match and what is around it. */
export interface Hit {
  readonly pid: number;
  readonly match: Match;
  readonly window: MemoryWindow;
  readonly mapping: ReturnType<AddressSpace["mappingAt"]>;
}

/** Bytes as text, with a dot for each that is no printable ASCII. */
export function printable(bytes: Uint8Array): string {
  return Buffer.from(bytes.map((byte) => (byte >= 0x20 && byte < 0x7f ? byte : 0x2e))).toString("latin1");
}

interface Cut {
  readonly before: Buffer;
  readonly found: Buffer;
  readonly after: Buffer;
}

function cut({ match, window }: Hit): Cut {
  const start = match.address - window.address;
  const end = start + match.length;
  const { bytes } = window;
  return { before: bytes.subarray(0, start), found: bytes.subarray(start, end), after: bytes.subarray(end) };
}

/** "PID  ADDRESS  PROT  NAME  text", the match itself set off in a terminal. */
export function hitText(hit: Hit, paint: Paint = plainPaint): string {
  const { before, found, after } = cut(hit);
  const { protection, name } = hit.mapping ?? { protection: "????", name: "" };
  const where = `${hit.pid}  ${hexText(hit.match.address, 12)}  ${protection}  ${safeText(name === "" ? "-" : name)}`;
  return `${paint.faint(where)}  ${printable(before)}${paint.strong(printable(found))}${printable(after)}\n`;
}

/** One object on one line; bytes as hexadecimal digits. */
export function hitJson(hit: Hit): string {
  const { before, found, after } = cut(hit);
  const { protection, name } = hit.mapping ?? { protection: undefined, name: undefined };
  const { address, length } = hit.match;
  return `${JSON.stringify({
    pid: hit.pid,
    address: `0x${address.toString(16)}`,
    length,
    protection,
    name,
    text: printable(found),
    bytes: found.toString("hex"),
    before: before.toString("hex"),
    after: after.toString("hex"),
  })}\n`;
}

/** What was searched, for stderr. */
export function searchSummary(found: number, counts: PlanCounts, tasks: number): string {
  const absent = counts.absentPages === 0 ? "" : `; ${pagesText(counts.absentPages)} left at the source of a lazy dump`;
  const where = `${pagesText(counts.pages - counts.absentPages)} of ${tasks} task${tasks === 1 ? "" : "s"}`;
  return `${found} match${found === 1 ? "" : "es"} in ${where}${absent}\n`;
}
