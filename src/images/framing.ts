// Image files as records: magics, lengths, messages and the payloads that follow them. Reads both framings
// (img_version 1 has no class magic) and writes what CRIU 4.2 writes, byte for byte.
// Not for finding files (directory.ts) nor for the pages of memory (pageIndex.ts).
import { closeSync, readSync, type Stats, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { FaultlineError } from "../errors";
import { IMAGE_BYTES_MAX } from "../limits";
import {
  classMagics,
  formats,
  type ImageFormat,
  type ImageKind,
  type ImageMessage,
  imageName,
  kindOfMagic,
} from "./formats";
import { type AnyMessage, decodeAny, encodeAny, type Init } from "./message";
import type { Messages } from "./messages";
import { openRegular } from "./openFile";
import { decodePayload, encodePayload, type Payload } from "./payload";
import { type MessageName, messageType } from "./schema";

export interface ImageRecord<M = AnyMessage> {
  readonly message: M;
  readonly payload?: Payload | undefined;
  /** Where the record's length field is in the file, bytes. */
  readonly offset: number;
}

/** The first record of a kind whose first record differs (pagemaps), else undefined. */
export type ImageHead<K extends ImageKind> = (typeof formats)[K] extends { readonly head: infer N extends MessageName }
  ? Messages[N]
  : undefined;

export interface Image<K extends ImageKind = ImageKind> {
  readonly kind: K;
  /** "v1": img_version 1, without class magic. */
  readonly framing: "v1" | "v1.1";
  readonly head: ImageHead<K>;
  readonly records: readonly ImageRecord<ImageMessage<K>>[];
}

export interface RecordInit<M> {
  readonly message: Init<M>;
  readonly payload?: Payload | undefined;
}

export interface EncodeOptions<K extends ImageKind> {
  readonly head?: Init<ImageHead<K>> | undefined;
  readonly framing?: "v1" | "v1.1" | undefined;
}

/** The kind of an image, from its magics. Throws IMAGE_TRUNCATED or IMAGE_CORRUPT; `file` is for messages. */
export function readMagic(buffer: Buffer, file: string): { kind: ImageKind; framing: "v1" | "v1.1"; start: number } {
  if (buffer.length < 4) throw new FaultlineError("IMAGE_TRUNCATED", "an image without a magic", { file, offset: 0 });
  const first = buffer.readUInt32LE(0);
  const family = first === classMagics.common ? "common" : first === classMagics.service ? "service" : "none";
  const start = family === "none" ? 4 : 8;
  if (buffer.length < start)
    throw new FaultlineError("IMAGE_TRUNCATED", "an image without a magic", { file, offset: 4 });
  const magic = buffer.readUInt32LE(start - 4);
  const kind = kindOfMagic(magic);
  const expected = kind === undefined ? undefined : formats[kind].family;
  if (kind === undefined || (family !== "none" && family !== expected)) {
    throw new FaultlineError("IMAGE_CORRUPT", `0x${magic.toString(16)} is no image magic`, {
      file,
      offset: start - 4,
      advice: "raw images (pages-*, pagez-*, network dumps) have none",
    });
  }
  return { kind, framing: family === "none" && expected !== "none" ? "v1" : "v1.1", start };
}

/** All records of an image of the kind that its magic says. */
export function decodeImage(buffer: Buffer, file: string): Image {
  const { kind, framing, start } = readMagic(buffer, file);
  const format: ImageFormat = formats[kind];
  const reader = new RecordReader(buffer, file, start);
  const records: ImageRecord[] = [];
  let head: AnyMessage | undefined;
  if (format.head !== undefined) {
    if (reader.done())
      throw new FaultlineError("IMAGE_TRUNCATED", "an image without its first record", { file, offset: start });
    head = reader.next({ ...format, message: format.head, payload: "none" }).message;
  }
  while (!reader.done()) {
    if (format.count === "one" && records.length === 1) {
      throw new FaultlineError("IMAGE_CORRUPT", `a ${kind} image holds more than one record`, {
        file,
        offset: reader.at,
      });
    }
    records.push(reader.next(format));
  }
  if (format.count === "one" && records.length === 0) {
    throw new FaultlineError("IMAGE_TRUNCATED", `a ${kind} image holds no record`, { file, offset: start });
  }
  return { kind, framing, head, records } as unknown as Image;
}

/** Like decodeImage, for a file that must be of one kind. */
export function decodeImageOf<K extends ImageKind>(kind: K, buffer: Buffer, file: string): Image<K> {
  const found = readMagic(buffer, file);
  if (found.kind !== kind) {
    throw new FaultlineError("IMAGE_CORRUPT", `a ${found.kind} image where ${kind} is expected`, { file, offset: 0 });
  }
  return decodeImage(buffer, file) as unknown as Image<K>;
}

/** The bytes of an image, exactly as CRIU writes them. */
export function encodeImage<K extends ImageKind>(
  kind: K,
  records: readonly RecordInit<ImageMessage<K>>[],
  options: EncodeOptions<K> = {},
): Buffer {
  const format: ImageFormat = formats[kind];
  const parts: Buffer[] = [];
  const magics = Buffer.alloc(format.family === "none" || options.framing === "v1" ? 4 : 8);
  if (magics.length === 8) magics.writeUInt32LE(classMagics[format.family as "common" | "service"], 0);
  magics.writeUInt32LE(format.magic, magics.length - 4);
  parts.push(magics);
  if (format.head !== undefined) {
    if (options.head === undefined) throw new TypeError(`a ${kind} image needs its head`);
    pushRecord(parts, format.head, options.head as unknown as AnyMessage);
  }
  for (const record of records) {
    const message = record.message as unknown as AnyMessage;
    pushRecord(parts, format.message, message);
    encodePayload(parts, format.payload, message, record.payload);
  }
  return Buffer.concat(parts);
}

function pushRecord(parts: Buffer[], name: MessageName, message: AnyMessage): void {
  const bytes = encodeAny(messageType(name), message);
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32LE(bytes.length, 0);
  parts.push(length, bytes);
}

/**
 * Reads an image file as a whole: as much as it has when it is opened, which `onOpened` is told. Throws IMAGE_MISSING where there
 * is none, IMAGE_UNSUPPORTED over 1 GiB.
 */
export function readImageFile(path: string, onOpened?: (stats: Stats) => void): Buffer {
  const { fd, stats } = openRegular(path);
  try {
    const { size } = stats;
    onOpened?.(stats);
    if (size > IMAGE_BYTES_MAX) {
      throw new FaultlineError("IMAGE_UNSUPPORTED", `an image of ${size} bytes is too large to read as a whole`, {
        file: path,
      });
    }
    const bytes = Buffer.allocUnsafe(size);
    let length = 0;
    while (length < size) {
      const got = readSync(fd, bytes, length, size - length, null);
      if (got === 0) break;
      length += got;
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

/** Writes one image file, readable by its owner only since images hold memory. The name must be one of the kind's. */
export function writeImage<K extends ImageKind>(
  directory: string,
  name: string,
  kind: K,
  messages: readonly (Init<ImageMessage<K>> | RecordInit<ImageMessage<K>>)[],
  options: EncodeOptions<K> = {},
): void {
  if (basename(name) !== name || imageName(name)?.kind !== kind)
    throw new TypeError(`${name} is no name of a ${kind} image`);
  const payloads = formats[kind].payload !== "none";
  const records = messages.map((item) => (payloads && "message" in (item as object) ? item : { message: item }));
  writeFileSync(join(directory, name), encodeImage(kind, records as RecordInit<ImageMessage<K>>[], options), {
    mode: 0o600,
  });
}

class RecordReader {
  private index = 0;

  constructor(
    private readonly buffer: Buffer,
    private readonly file: string,
    /** Where the next record begins. */
    public at: number,
  ) {}

  done(): boolean {
    return this.at >= this.buffer.length;
  }

  next(format: ImageFormat): ImageRecord {
    const { buffer, file } = this;
    const offset = this.at;
    const record = this.index;
    const left = buffer.length - offset;
    if (left < 4) {
      throw new FaultlineError("IMAGE_TRUNCATED", "an image ends inside a record's length", { file, record, offset });
    }
    const length = buffer.readUInt32LE(offset);
    if (length > left - 4) {
      throw new FaultlineError("IMAGE_TRUNCATED", `a record of ${length} bytes where ${left - 4} are left`, {
        file,
        record,
        offset,
      });
    }
    const end = offset + 4 + length;
    const message = decodeAny(messageType(format.message), buffer, { file, record }, offset + 4, end);
    const payload = decodePayload(format.payload, message, buffer, end, { file, record });
    this.at = payload.end;
    this.index += 1;
    return payload.payload === undefined ? { message, offset } : { message, payload: payload.payload, offset };
  }
}
