// The protobuf codec of image messages, driven by the descriptors of images/*.proto. It differs from a general protobuf
// library in what images need: 64-bit fields are bigints, unknown fields survive byte for byte, text need not be UTF-8,
// and every failure names file, record and offset. Wire format: https://protobuf.dev/programming-guides/encoding.
// Not for the framing of records (framing.ts).
import { FaultlineError } from "../errors";
import { MESSAGE_DEPTH_MAX } from "../limits";
import type { Messages } from "./messages";
import { type FieldType, type MessageName, type MessageType, messageType } from "./schema";
import { decodeText, encodeText } from "./text";

/** Fields that this version has no name for, kept so that a rewritten image loses nothing. */
export const unknownFields: unique symbol = Symbol("unknownFields");

export interface UnknownField {
  readonly number: number;
  /** Tag and value as they were. */
  readonly bytes: Buffer;
}

export interface UnknownFields {
  [unknownFields]?: UnknownField[];
}

/** What a message may be written from: like the message, but empty lists may be left out. */
export type Init<T> = T extends Uint8Array | bigint | string | number | boolean | undefined
  ? T
  : T extends readonly (infer E)[]
    ? readonly Init<E>[]
    : { readonly [K in keyof T as undefined extends T[K] ? never : T[K] extends unknown[] ? never : K]: Init<T[K]> } & {
        readonly [K in keyof T as undefined extends T[K] ? K : T[K] extends unknown[] ? K : never]?:
          | Init<T[K]>
          | undefined;
      };

/** Where the bytes of a message come from, for error messages. */
export interface Where {
  readonly file: string;
  readonly record?: number | undefined;
  /** Added to positions in the buffer to get offsets in the file, bytes. */
  readonly base?: number | undefined;
}

type Value = number | bigint | boolean | string | Buffer | AnyMessage;
/** A message as the codec sees it: fields by name. */
export interface AnyMessage extends UnknownFields {
  [field: string]: Value | Value[] | undefined;
}

enum Wire {
  Varint = 0,
  Fixed64 = 1,
  Bytes = 2,
  Fixed32 = 5,
}

/**
 * The message in `buffer[start, end)`.
 * Throws IMAGE_TRUNCATED where a value runs over `end`, IMAGE_CORRUPT where the bytes are no such message.
 */
export function decodeMessage<N extends MessageName>(
  name: N,
  buffer: Buffer,
  where: Where,
  start = 0,
  end: number = buffer.length,
): Messages[N] {
  return new MessageReader(buffer, where).message(messageType(name), start, end, 0) as unknown as Messages[N];
}

/** Like decodeMessage, for a type that is known only at run time. */
export function decodeAny(type: MessageType, buffer: Buffer, where: Where, start: number, end: number): AnyMessage {
  return new MessageReader(buffer, where).message(type, start, end, 0);
}

/** The bytes of a message, fields in the order of their numbers as CRIU writes them. Throws TypeError for a value that its field cannot hold. */
export function encodeMessage<N extends MessageName>(name: N, message: Init<Messages[N]>): Buffer {
  return encodeAny(messageType(name), message as unknown as AnyMessage);
}

/** Like encodeMessage, for a type that is known only at run time. */
export function encodeAny(type: MessageType, message: AnyMessage): Buffer {
  const writer = new MessageWriter();
  writer.message(type, message);
  return writer.finish();
}

class MessageReader {
  private position = 0;
  private end = 0;

  constructor(
    private readonly buffer: Buffer,
    private readonly where: Where,
  ) {}

  message(type: MessageType, start: number, end: number, depth: number): AnyMessage {
    if (depth > MESSAGE_DEPTH_MAX) throw this.corrupt(`${type.name} is nested more than ${MESSAGE_DEPTH_MAX} deep`);
    const result: AnyMessage = {};
    for (const field of type.fields) if (field.rule === "repeated") result[field.name] = [];
    this.position = start;
    this.end = end;
    while (this.position < end) {
      const tagAt = this.position;
      const tag = this.varint();
      const number = tag >>> 3;
      const wire = tag & 7;
      if (number === 0) throw this.corrupt("field number 0", tagAt);
      const field = type.byNumber.get(number);
      if (field === undefined) this.keepUnknown(result, number, wire, tagAt);
      else if (field.rule === "repeated") this.repeated(type, field, wire, result[field.name] as Value[], end, depth);
      else result[field.name] = this.value(type, field, wire, end, depth);
    }
    for (const field of type.fields) {
      if (field.rule === "required" && result[field.name] === undefined) {
        throw this.corrupt(`${type.name} lacks its required field ${field.name}`, start);
      }
    }
    return result;
  }

  private repeated(
    owner: MessageType,
    field: FieldType,
    wire: number,
    list: Value[],
    end: number,
    depth: number,
  ): void {
    const scalar = field.kind !== "message" && field.kind !== "string" && field.kind !== "bytes";
    if (!scalar || wire !== Wire.Bytes) {
      list.push(this.value(owner, field, wire, end, depth));
      if (scalar) this.sameTag(owner, field, wire, list, end, depth);
      return;
    }
    const stop = this.lengthPrefixed();
    this.end = stop;
    const element = wireOf(field);
    while (this.position < stop) list.push(this.value(owner, field, element, stop, depth));
    this.end = end;
  }

  /**
   * The numbers that follow with the same tag. Registers come as hundreds of them for each thread, most of them zero: those of
   * one byte are read here, as a restore runs this before V8 has compiled it, when each call counts.
   */
  private sameTag(owner: MessageType, field: FieldType, wire: number, list: Value[], end: number, depth: number): void {
    const { buffer } = this;
    const tag = (field.number << 3) | wire;
    if (tag >= 0x80) return;
    const { kind } = field;
    const isBig = kind === "uint64" || kind === "int64";
    const isShort = isBig || kind === "uint32" || kind === "int32";
    let at = this.position;
    while (at < end && buffer[at] === tag) {
      const byte = at + 1 < end ? (buffer[at + 1] as number) : 0x80;
      if (isShort && byte < 0x80) {
        list.push(isBig ? (byte === 0 ? 0n : BigInt(byte)) : byte);
        at += 2;
        continue;
      }
      this.position = at + 1;
      list.push(this.value(owner, field, wire, end, depth));
      at = this.position;
    }
    this.position = at;
  }

  private value(owner: MessageType, field: FieldType, wire: number, end: number, depth: number): Value {
    if (wire !== wireOf(field)) throw this.corrupt(`${owner.name}.${field.name} has wire type ${wire}`);
    switch (field.kind) {
      case "uint32":
        return this.varint();
      case "int32":
      case "enum":
        return this.varint() | 0;
      case "sint32": {
        const raw = this.varint();
        return (raw >>> 1) ^ -(raw & 1);
      }
      case "fixed32":
        return this.buffer.readUInt32LE(this.take(4));
      case "uint64":
        return this.uint64();
      case "int64":
        return BigInt.asIntN(64, this.uint64());
      case "sint64": {
        const raw = this.uint64();
        return (raw >> 1n) ^ -(raw & 1n);
      }
      case "fixed64":
        return this.buffer.readBigUInt64LE(this.take(8));
      case "bool":
        return this.uint64() !== 0n;
      case "string":
        return decodeText(this.bytes());
      case "bytes":
        return this.bytes();
      case "message": {
        const stop = this.lengthPrefixed();
        const inner = this.message(field.message(), this.position, stop, depth + 1);
        this.position = stop;
        this.end = end;
        return inner;
      }
    }
  }

  private keepUnknown(result: AnyMessage, number: number, wire: number, tagAt: number): void {
    if (wire === Wire.Varint) this.uint64();
    else if (wire === Wire.Fixed64) this.take(8);
    else if (wire === Wire.Bytes) this.position = this.lengthPrefixed();
    else if (wire === Wire.Fixed32) this.take(4);
    else throw this.corrupt(`field ${number} has wire type ${wire}`, tagAt);
    const bytes = this.buffer.subarray(tagAt, this.position);
    result[unknownFields] ??= [];
    result[unknownFields].push({ number, bytes });
  }

  /** A copy would double a ghost file; a view keeps the image file's buffer alive, which is what callers want. */
  private bytes(): Buffer {
    const stop = this.lengthPrefixed();
    const bytes = this.buffer.subarray(this.position, stop);
    this.position = stop;
    return bytes;
  }

  /** Reads a length and returns where the value ends. */
  private lengthPrefixed(): number {
    const at = this.position;
    const low = this.varint();
    const length = this.high * 0x1_0000_0000 + low;
    if (length > this.end - this.position) {
      throw this.truncated(`a field of ${length} bytes where ${this.end - this.position} are left`, at);
    }
    return this.position + length;
  }

  private take(bytes: number): number {
    const at = this.position;
    if (this.end - at < bytes) throw this.truncated(`a field of ${bytes} bytes where ${this.end - at} are left`, at);
    this.position = at + bytes;
    return at;
  }

  private uint64(): bigint {
    const low = this.varint();
    return this.high === 0 ? BigInt(low) : (BigInt(this.high) << 32n) | BigInt(low);
  }

  /** Upper 32 bits of the varint read last. */
  private high = 0;

  /** Reads a varint of at most 10 bytes; returns its lower 32 bits and leaves the upper ones in `high`. */
  private varint(): number {
    const { buffer, end } = this;
    const start = this.position;
    const first = buffer[start];
    if (first !== undefined && first < 0x80 && start < end) {
      this.position = start + 1;
      this.high = 0;
      return first;
    }
    let at = start;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) throw this.truncated("a number that has no end", start);
      const byte = buffer[at]!;
      at += 1;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else high |= (bits & 1) << 31;
      if (byte < 0x80) {
        this.position = at;
        this.high = high >>> 0;
        return low >>> 0;
      }
    }
    throw this.corrupt("a number of more than 10 bytes", start);
  }

  private corrupt(what: string, at = this.position): FaultlineError {
    return this.failure("IMAGE_CORRUPT", what, at);
  }

  private truncated(what: string, at: number): FaultlineError {
    return this.failure("IMAGE_TRUNCATED", what, at);
  }

  private failure(code: "IMAGE_CORRUPT" | "IMAGE_TRUNCATED", what: string, at: number): FaultlineError {
    const { file, record, base } = this.where;
    return new FaultlineError(code, `a damaged image message: ${what}`, { file, record, offset: (base ?? 0) + at });
  }
}

function wireOf(field: FieldType): Wire {
  switch (field.kind) {
    case "string":
    case "bytes":
    case "message":
      return Wire.Bytes;
    case "fixed64":
      return Wire.Fixed64;
    case "fixed32":
      return Wire.Fixed32;
    default:
      return Wire.Varint;
  }
}

class MessageWriter {
  private buffer = Buffer.allocUnsafe(256);
  private position = 0;

  finish(): Buffer {
    return this.buffer.subarray(0, this.position);
  }

  message(type: MessageType, message: AnyMessage): void {
    const unknown = message[unknownFields];
    let kept = 0;
    const sorted = unknown === undefined ? [] : [...unknown].sort((a, b) => a.number - b.number);
    for (const field of type.fields) {
      while (kept < sorted.length && sorted[kept]!.number < field.number) this.raw(sorted[kept++]!.bytes);
      const value = message[field.name];
      if (field.rule === "repeated") this.repeated(type, field, value);
      else if (value !== undefined) this.field(type, field, value as Value);
      else if (field.rule === "required") throw new TypeError(`${type.name}.${field.name} is required`);
    }
    while (kept < sorted.length) this.raw(sorted[kept++]!.bytes);
  }

  private repeated(owner: MessageType, field: FieldType, value: Value | Value[] | undefined): void {
    if (value === undefined) return;
    if (!Array.isArray(value)) throw new TypeError(`${owner.name}.${field.name} must be a list`);
    if (!field.packed) {
      for (const element of value) this.field(owner, field, element);
      return;
    }
    if (value.length === 0) return;
    this.varint((field.number << 3) | Wire.Bytes, 0);
    this.lengthPrefixed(() => {
      for (const element of value) this.value(owner, field, element);
    });
  }

  private field(owner: MessageType, field: FieldType, value: Value): void {
    this.varint(((field.number << 3) | wireOf(field)) >>> 0, 0);
    this.value(owner, field, value);
  }

  private value(owner: MessageType, field: FieldType, value: Value): void {
    const bad = () => new TypeError(`${owner.name}.${field.name}: ${String(value)} is no ${field.kind}`);
    switch (field.kind) {
      case "uint32":
      case "fixed32": {
        if (typeof value !== "number" || value >>> 0 !== value) throw bad();
        if (field.kind === "uint32") this.varint(value, 0);
        else this.position = this.room(4).writeUInt32LE(value, this.position);
        return;
      }
      case "int32":
      case "enum":
        if (typeof value !== "number" || (value | 0) !== value) throw bad();
        this.varint(value >>> 0, value < 0 ? 0xffff_ffff : 0);
        return;
      case "sint32":
        if (typeof value !== "number" || (value | 0) !== value) throw bad();
        this.varint(((value << 1) ^ (value >> 31)) >>> 0, 0);
        return;
      case "uint64":
      case "int64":
      case "sint64":
      case "fixed64":
        if (typeof value !== "bigint" || !fits(field.kind, value)) throw bad();
        this.wide(field.kind, value);
        return;
      case "bool":
        if (typeof value !== "boolean") throw bad();
        this.varint(value ? 1 : 0, 0);
        return;
      case "string":
        if (typeof value !== "string") throw bad();
        this.bytes(encodeText(value));
        return;
      case "bytes":
        if (!(value instanceof Uint8Array)) throw bad();
        this.bytes(value);
        return;
      case "message":
        if (typeof value !== "object" || Array.isArray(value) || value instanceof Uint8Array) throw bad();
        this.lengthPrefixed(() => this.message(field.message(), value));
        return;
    }
  }

  private wide(kind: "uint64" | "int64" | "sint64" | "fixed64", value: bigint): void {
    if (kind === "fixed64") {
      this.position = this.room(8).writeBigUInt64LE(value, this.position);
      return;
    }
    const bits = BigInt.asUintN(64, kind === "sint64" ? (value << 1n) ^ (value >> 63n) : value);
    this.varint(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  }

  private bytes(value: Uint8Array): void {
    this.varint(value.length, 0);
    this.raw(value);
  }

  private raw(value: Uint8Array): void {
    this.room(value.length).set(value, this.position);
    this.position += value.length;
  }

  /** One byte is left for the length, which nearly always does; a longer one moves the value up. */
  private lengthPrefixed(write: () => void): void {
    const at = this.position;
    this.room(1);
    this.position = at + 1;
    write();
    const length = this.position - at - 1;
    const extra = varintBytes(length) - 1;
    if (extra > 0) this.room(extra).copyWithin(at + 1 + extra, at + 1, this.position);
    this.position = at;
    this.varint(length, 0);
    this.position += length;
  }

  private varint(low: number, high: number): void {
    const buffer = this.room(10);
    let at = this.position;
    let rest = low >>> 0;
    let upper = high >>> 0;
    while (upper !== 0 || rest > 0x7f) {
      buffer[at++] = (rest & 0x7f) | 0x80;
      rest = ((rest >>> 7) | (upper << 25)) >>> 0;
      upper >>>= 7;
    }
    buffer[at++] = rest;
    this.position = at;
  }

  private room(bytes: number): Buffer {
    const need = this.position + bytes;
    if (need > this.buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(need, this.buffer.length * 2));
      this.buffer.copy(grown, 0, 0, this.position);
      this.buffer = grown;
    }
    return this.buffer;
  }
}

function fits(kind: "uint64" | "int64" | "sint64" | "fixed64", value: bigint): boolean {
  const unsigned = kind === "uint64" || kind === "fixed64";
  return unsigned ? BigInt.asUintN(64, value) === value : BigInt.asIntN(64, value) === value;
}

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) count += 1;
  return count;
}
