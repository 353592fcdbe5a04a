// CRIU's page-server protocol as values: headers and what they ask for. Both layouts: 24 bytes until CRIU 4.1, 32 since 4.2;
// nothing in the protocol says which, so the first header has to tell. No sockets, no files.
import { FaultlineError } from "../errors";

export const PageCommand = {
  Add: 1,
  Hole: 2,
  Open: 3,
  Open2: 4,
  Parent: 5,
  AddFlags: 6,
  Get: 7,
  Close: 0x1023,
  ForceClose: 0x1024,
} as const;

/** Bytes that are enough to tell the layouts apart: the older header whole. */
export const SHORT_HEADER_BYTES = 24;
export const LONG_HEADER_BYTES = 32;

export interface PageHeader {
  readonly command: number;
  /** Pagemap flags of AddFlags. */
  readonly flags: number;
  readonly pageCount: number;
  readonly page: number;
  readonly destination: bigint;
}

/**
 * Length of the peer's headers, by the first 24 bytes that it sent: the opening of an object has no address, and names the
 * object by a number that is never 0. Only the shorter layout has that number at byte 16.
 */
export function headerBytes(first: Buffer): number {
  return first.readBigUInt64LE(16) === 0n ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
}

/** Throws PEER for an address that is not a page's, or numbers that are none of pages. */
export function decodeHeader(bytes: Buffer): PageHeader {
  const word = bytes.readUInt32LE(0);
  const long = bytes.length === LONG_HEADER_BYTES;
  const pageCount = long ? bytes.readBigUInt64LE(8) : BigInt(bytes.readUInt32LE(4));
  const address = bytes.readBigUInt64LE(long ? 16 : 8);
  const destination = bytes.readBigUInt64LE(long ? 24 : 16);
  if (address % 4096n !== 0n || pageCount > 1n << 40n) {
    throw new FaultlineError(
      "PEER",
      `the peer sent ${pageCount} pages at 0x${address.toString(16)}: that is no range`,
      {
        advice: "CRIU until 4.1 and since 4.2 have different headers: use one version on both sides",
      },
    );
  }
  const page = Number(address / 4096n);
  return { command: word & 0xffff, flags: word >>> 16, pageCount: Number(pageCount), page, destination };
}

/** Types in the low byte of a destination: CRIU's own, and the descriptor types that versions before 3.9 sent. */
const taskTypes: readonly number[] = [1, 10, 11, 16, 17];
const sharedTypes: readonly number[] = [2, 27, 28, 29, 32, 33, 34];

/** The name of the pagemap image of a destination: a pid or a shmid, and which of the two. */
export function pagemapName(destination: bigint): string {
  const type = Number(destination & 0xffn);
  const id = destination >> 8n;
  if (taskTypes.includes(type) && id > 0n && id < 1n << 31n) return `pagemap-${id}.img`;
  if (sharedTypes.includes(type) && id < 1n << 32n) return `pagemap-shmem-${id}.img`;
  throw new FaultlineError("PEER", `the peer named an object of type ${type}, number ${id}`);
}
