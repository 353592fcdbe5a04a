// The index and trailer that end a packed page file, as bytes: encode and decode. Pure: no file access.
// The index is a protobuf message (images/pagez.proto), coded here by hand: it has one number per block, and a generic
// decoder would make an object of each. The layout is described in docs/packed.md.
import { FaultlineError } from "../errors";
import { BLOCK_PAGES_MAX, IMAGE_PAGES_MAX, PAGE_BYTES } from "../limits";

/** Blocks in page order. */
export const PACKED_VERSION = 1;
/** Some blocks are stored ahead of their turn. */
export const PACKED_VERSION_ORDERED = 2;
/** The codec number of LZ4 blocks, the only one so far. */
export const PACKED_CODEC_LZ4 = 2;
/** Bytes of the trailer: u64 index offset, u64 index length, u32 XXH32 of the index, u32 version, magic. */
export const TRAILER_BYTES = 32;
const MAGIC = Buffer.from("FLTPAGEZ", "latin1");

export interface PackedTrailer {
  /** Where the index starts: the stored bytes of all blocks together. */
  readonly indexOffset: number;
  readonly indexBytes: number;
  readonly indexChecksum: number;
  readonly version: number;
}

/**
 * What a packed file holds, block by block. Block i has pages [firstPages[i], firstPages[i + 1]) of the raw file, and is
 * stored as the places[i]-th, or as the i-th where there are no places.
 */
export interface PackedIndex {
  readonly pagesPerBlock: number;
  readonly pageCount: number;
  readonly blockCount: number;
  /** Where the stored bytes of each block start, by place; one element more than blocks. */
  readonly offsets: Float64Array;
  /** The first page of each block; one element more than blocks. */
  readonly firstPages: Float64Array;
  /** XXH32 of each block's stored bytes, by place. */
  readonly checksums: Uint32Array;
  readonly places: Uint32Array | undefined;
  /** The raw file's bytes after its last whole page, fewer than 4096. */
  readonly tail: Uint8Array;
}

/** What a writer knows when it has written its last block. */
export interface PackedContents {
  readonly pagesPerBlock: number;
  readonly pageCount: number;
  readonly storedBytes: Uint32Array;
  readonly checksums: Uint32Array;
  readonly runPages: Float64Array;
  /** Blocks stored before the others; `storedBytes` and `checksums` are in the order of storage. */
  readonly firstBlocks?: Uint32Array | undefined;
  readonly tail: Uint8Array;
}

/** The trailer of a packed file whose last 32 bytes are `bytes`. Throws IMAGE_CORRUPT or IMAGE_UNSUPPORTED. */
export function decodeTrailer(bytes: Buffer, fileBytes: number, file: string): PackedTrailer {
  const offset = fileBytes - TRAILER_BYTES;
  if (offset < 0) {
    throw new FaultlineError("IMAGE_TRUNCATED", "a packed page file is shorter than its trailer", { file, offset: 0 });
  }
  if (!bytes.subarray(24, 32).equals(MAGIC)) {
    throw new FaultlineError("IMAGE_CORRUPT", "the file does not end as a packed page file does", { file, offset });
  }
  const version = bytes.readUInt32LE(20);
  if (version !== PACKED_VERSION && version !== PACKED_VERSION_ORDERED) {
    throw new FaultlineError("IMAGE_UNSUPPORTED", `packed page files of version ${version} are not known`, {
      file,
      offset: offset + 20,
    });
  }
  const indexOffset = Number(bytes.readBigUInt64LE(0));
  const indexBytes = Number(bytes.readBigUInt64LE(8));
  if (indexOffset + indexBytes !== offset) {
    throw new FaultlineError("IMAGE_CORRUPT", "the trailer's index does not end at the trailer", { file, offset });
  }
  return { indexOffset, indexBytes, indexChecksum: bytes.readUInt32LE(16), version };
}

export function encodeTrailer(trailer: Omit<PackedTrailer, "version">, version = PACKED_VERSION): Buffer {
  const bytes = Buffer.alloc(TRAILER_BYTES);
  bytes.writeBigUInt64LE(BigInt(trailer.indexOffset), 0);
  bytes.writeBigUInt64LE(BigInt(trailer.indexBytes), 8);
  bytes.writeUInt32LE(trailer.indexChecksum, 16);
  bytes.writeUInt32LE(version, 20);
  MAGIC.copy(bytes, 24);
  return bytes;
}

/** A cursor over protobuf wire bytes that answers -1 for anything malformed. */
class Wire {
  position = 0;
  constructor(readonly bytes: Uint8Array) {}

  /** An unsigned varint below 2 to the 53, or -1. */
  varint(): number {
    const { bytes } = this;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      const byte = bytes[this.position++];
      if (byte === undefined) return -1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return Number.isSafeInteger(value) ? value : -1;
      scale *= 128;
    }
    return -1;
  }
}

/** The message's fields as they are, before anything is believed. */
interface RawIndex {
  readonly numbers: Map<number, number>;
  readonly slices: Map<number, Uint8Array>;
}

function corrupt(message: string, file: string, offset: number): FaultlineError {
  return new FaultlineError("IMAGE_CORRUPT", message, { file, offset });
}

function decodeFields(bytes: Uint8Array, file: string, base: number): RawIndex {
  const wire = new Wire(bytes);
  const numbers = new Map<number, number>();
  const slices = new Map<number, Uint8Array>();
  while (wire.position < bytes.length) {
    const at = base + wire.position;
    const tag = wire.varint();
    const field = Math.floor(tag / 8);
    const type = tag % 8;
    const value = tag < 0 || type === 1 || type === 5 ? 0 : wire.varint();
    if (tag < 0 || value < 0 || (type !== 0 && type !== 1 && type !== 2 && type !== 5)) {
      throw corrupt("the index is not a protobuf message", file, at);
    }
    if (numbers.has(field) || slices.has(field)) throw corrupt(`the index has field ${field} twice`, file, at);
    if (type === 0) {
      numbers.set(field, value);
      continue;
    }
    const length = type === 2 ? value : type === 1 ? 8 : 4;
    if (length > bytes.length - wire.position) throw corrupt("a field of the index is cut off", file, at);
    if (type === 2) slices.set(field, bytes.subarray(wire.position, wire.position + length));
    wire.position += length;
  }
  return { numbers, slices };
}

/** How many varints `bytes` holds: one per byte without a continuation bit. */
function varintCount(bytes: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < bytes.length; i++) if (bytes[i]! < 0x80) count++;
  return count;
}

function requireNumber(raw: RawIndex, field: number, name: string, file: string, base: number): number {
  const value = raw.numbers.get(field);
  if (value === undefined) throw corrupt(`the index lacks ${name}`, file, base);
  return value;
}

const nothing = new Uint8Array(0);

/**
 * The index in `bytes`, checked in full: block sizes, runs and page counts agree with each other and with the file.
 * Allocates at most 28 bytes per block, of which the index has at least five. Throws IMAGE_CORRUPT or IMAGE_UNSUPPORTED.
 */
export function decodeIndex(bytes: Uint8Array, trailer: PackedTrailer, file: string): PackedIndex {
  const base = trailer.indexOffset;
  const raw = decodeFields(bytes, file, base);
  const version = requireNumber(raw, 1, "version", file, base);
  const pageSize = requireNumber(raw, 2, "page_size", file, base);
  const codec = requireNumber(raw, 3, "codec", file, base);
  if (version !== trailer.version || pageSize !== PAGE_BYTES || codec !== PACKED_CODEC_LZ4) {
    const what = `version ${version}, page size ${pageSize}, codec ${codec}`;
    throw new FaultlineError("IMAGE_UNSUPPORTED", `packed pages of ${what} are not known`, { file, offset: base });
  }
  const pagesPerBlock = requireNumber(raw, 4, "pages_per_block", file, base);
  if (pagesPerBlock < 1 || pagesPerBlock > BLOCK_PAGES_MAX) {
    throw corrupt(`pages_per_block is ${pagesPerBlock}`, file, base);
  }
  const pageCount = requireNumber(raw, 5, "page_count", file, base);
  const tail = raw.slices.get(9) ?? nothing;
  if (tail.length >= PAGE_BYTES) throw corrupt("the tail is a page or longer", file, base);

  const sizes = raw.slices.get(6) ?? nothing;
  const sums = raw.slices.get(7) ?? nothing;
  const blockCount = varintCount(sizes);
  if (sums.length !== blockCount * 4) throw corrupt("the index has not one checksum per block", file, base);
  const firstPages = blockPages(raw.slices.get(8) ?? nothing, blockCount, pagesPerBlock, file, base);
  if (firstPages[blockCount] !== pageCount) throw corrupt("the runs do not add up to page_count", file, base);
  const first = version === PACKED_VERSION_ORDERED ? (raw.slices.get(10) ?? nothing) : nothing;
  const order = first.length === 0 ? undefined : storageOrder(first, blockCount, file, base);
  const offsets = blockOffsets(sizes, firstPages, order, file, base);
  if (offsets[blockCount] !== base) throw corrupt("the block sizes do not add up to the blocks", file, base);
  const checksums = new Uint32Array(blockCount);
  const view = new DataView(sums.buffer, sums.byteOffset, sums.byteLength);
  for (let i = 0; i < blockCount; i++) checksums[i] = view.getUint32(i * 4, true);
  const places = order === undefined ? undefined : inverse(order);
  return { pagesPerBlock, pageCount, blockCount, offsets, firstPages, checksums, places, tail };
}

/** The blocks in the order that they are stored in: the given ones, then the others. */
function storageOrder(first: Uint8Array, blockCount: number, file: string, base: number): Uint32Array {
  if (varintCount(first) > blockCount) throw corrupt("more blocks come first than there are", file, base);
  const order = new Uint32Array(blockCount);
  const given = new Uint8Array(blockCount);
  const wire = new Wire(first);
  let place = 0;
  while (wire.position < first.length) {
    const block = wire.varint();
    if (block < 0 || block >= blockCount || given[block] === 1) {
      throw corrupt("a block that comes first is not in the file, or twice", file, base);
    }
    given[block] = 1;
    order[place++] = block;
  }
  for (let block = 0; block < blockCount; block++) if (given[block] === 0) order[place++] = block;
  return order;
}

function inverse(order: Uint32Array): Uint32Array {
  const places = new Uint32Array(order.length);
  for (let place = 0; place < order.length; place++) places[order[place]!] = place;
  return places;
}

/** The first page of each block, from the runs. Checks the count before it fills anything. */
function blockPages(runs: Uint8Array, blockCount: number, perBlock: number, file: string, base: number): Float64Array {
  const firstPages = new Float64Array(blockCount + 1);
  const wire = new Wire(runs);
  let block = 0;
  let page = 0;
  while (wire.position < runs.length) {
    const run = wire.varint();
    if (run <= 0 || run > IMAGE_PAGES_MAX) throw corrupt("a run of the index has no sensible length", file, base);
    if (Math.ceil(run / perBlock) > blockCount - block) throw corrupt("the runs have more blocks", file, base);
    const end = page + run;
    for (; page < end; page = Math.min(page + perBlock, end)) firstPages[block++] = page;
  }
  if (block !== blockCount) throw corrupt("the runs have fewer blocks than the index", file, base);
  if (page > IMAGE_PAGES_MAX) throw corrupt("the runs have too many pages", file, base);
  firstPages[block] = page;
  return firstPages;
}

/** Where each block starts, by place, from the stored sizes. */
function blockOffsets(
  sizes: Uint8Array,
  firstPages: Float64Array,
  order: Uint32Array | undefined,
  file: string,
  base: number,
): Float64Array {
  const blockCount = firstPages.length - 1;
  const offsets = new Float64Array(blockCount + 1);
  const wire = new Wire(sizes);
  let offset = 0;
  for (let i = 0; i < blockCount; i++) {
    const size = wire.varint();
    const block = order === undefined ? i : order[i]!;
    const rawBytes = (firstPages[block + 1]! - firstPages[block]!) * PAGE_BYTES;
    if (size < 0 || size > rawBytes) throw corrupt(`block ${block} is stored larger than it is`, file, base);
    offset += size;
    offsets[i + 1] = offset;
  }
  if (wire.position !== sizes.length) throw corrupt("the block sizes are cut off", file, base);
  return offsets;
}

/** A byte buffer that grows, for varints. */
class Output {
  private bytes = Buffer.allocUnsafe(1 << 16);
  private length = 0;

  varint(value: number): void {
    if (this.length + 10 > this.bytes.length) this.grow(10);
    while (value >= 128) {
      this.bytes[this.length++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    this.bytes[this.length++] = value;
  }

  append(part: Uint8Array): void {
    if (this.length + part.length > this.bytes.length) this.grow(part.length);
    this.bytes.set(part, this.length);
    this.length += part.length;
  }

  private grow(more: number): void {
    const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + more));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  result(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}

function packedVarints(values: Float64Array | Uint32Array): Buffer {
  const output = new Output();
  for (let i = 0; i < values.length; i++) output.varint(values[i]!);
  return output.result();
}

/** The version that a file with these first blocks needs. */
export function versionOf(firstBlocks: Uint32Array | undefined): number {
  return firstBlocks === undefined || firstBlocks.length === 0 ? PACKED_VERSION : PACKED_VERSION_ORDERED;
}

/** The protobuf message for a file's contents. */
export function encodeIndex(contents: PackedContents): Buffer {
  const output = new Output();
  const numbers = [
    versionOf(contents.firstBlocks),
    PAGE_BYTES,
    PACKED_CODEC_LZ4,
    contents.pagesPerBlock,
    contents.pageCount,
  ];
  numbers.forEach((value, i) => {
    output.varint((i + 1) * 8);
    output.varint(value);
  });
  const field = (number: number, bytes: Uint8Array) => {
    if (bytes.length === 0) return;
    output.varint(number * 8 + 2);
    output.varint(bytes.length);
    output.append(bytes);
  };
  field(6, packedVarints(contents.storedBytes));
  const sums = Buffer.allocUnsafe(contents.checksums.length * 4);
  contents.checksums.forEach((sum, i) => {
    sums.writeUInt32LE(sum, i * 4);
  });
  field(7, sums);
  field(8, packedVarints(contents.runPages));
  field(9, contents.tail);
  field(10, packedVarints(contents.firstBlocks ?? new Uint32Array(0)));
  return output.result();
}
