// Images as JSON and back, in crit's own shape: {"magic", "entries": [...]}, raw payloads in "extra".
// "pretty" gives what `crit show` prints, plain what `crit decode` does; both are read. Not for JSON text (exactJson.ts).
import { FaultlineError } from "../errors";
import type { Json, JsonObject } from "./exactJson";
import { formats, type ImageFormat, type ImageKind, isImageKind } from "./formats";
import { decodeImage, encodeImage, type Image, type RecordInit } from "./framing";
import { type AnyMessage, type UnknownField, unknownFields } from "./message";
import type { GhostChunkEntry, IpcMsg } from "./messages";
import type { Payload } from "./payload";
import { type FieldType, type MessageName, type MessageType, messageType } from "./schema";
import {
  readAddress,
  readBase64,
  readDevice,
  readFlags,
  readName,
  readQuoted,
  showAddress,
  showBase64,
  showDevice,
  showFlags,
  showName,
  showQuoted,
} from "./show";

export interface JsonOptions {
  /** Names and hexadecimal for people, as `crit show`; else plain values, as `crit decode`. */
  readonly pretty: boolean;
  /** Whether raw payloads are included. */
  readonly payload: boolean;
}

/** Key of the fields that the .proto files have no name for. crit has no such key; it drops them. */
const UNKNOWN_KEY = "unknown_fields";

type MessageValue = AnyMessage[string];
type Scalar = Exclude<MessageValue, undefined | unknown[]>;

/** The JSON of a whole image. */
export function imageToJson(image: Image, options: JsonOptions): JsonObject {
  const format: ImageFormat = formats[image.kind];
  const entries: Json[] = [];
  if (format.head !== undefined) {
    entries.push(toJson(messageType(format.head), image.head as unknown as AnyMessage, options.pretty, false));
  }
  const type = messageType(format.message);
  for (const { message, payload } of image.records) {
    const entry = toJson(type, message as unknown as AnyMessage, options.pretty, false);
    entries.push(entry);
    if (payload === undefined || !options.payload) continue;
    // crit shows the chunks of a sparse ghost file as entries of their own.
    if (payload.kind === "chunks") entries.push(...payload.chunks.map((chunk) => chunkToJson(chunk, options.pretty)));
    else entry.extra = payloadToJson(format, payload, options.pretty);
  }
  return { magic: image.kind, entries };
}

/** The JSON of one message. */
export function messageToJson(name: MessageName, message: object, pretty: boolean): JsonObject {
  return toJson(messageType(name), message as AnyMessage, pretty, false);
}

/** The image file that JSON from imageToJson or crit, pretty or plain, describes. Throws IMAGE_CORRUPT naming the entry. */
export function jsonToImage(json: Json, file: string): Buffer {
  const reader = new JsonReader(file);
  const root = reader.object(json, "the top level");
  const kind = root.magic;
  if (typeof kind !== "string" || !isImageKind(kind)) throw reader.wrong(`"magic" ${String(kind)} is not known`);
  if (!Array.isArray(root.entries)) throw reader.wrong(`"entries" is no list`);
  const format: ImageFormat = formats[kind];
  const entries = root.entries.map((entry, index) => reader.object(entry, `entry ${index}`));
  const head = format.head === undefined ? undefined : reader.head(format.head, entries.shift());
  const records =
    format.payload === "ghost" ? reader.ghost(entries) : entries.map((entry) => reader.record(format, entry));
  if (format.count === "one" && records.length !== 1) throw reader.wrong(`a ${kind} image has one entry`);
  try {
    const bytes = encodeImage(kind as ImageKind, records as RecordInit<never>[], { head: head as never });
    // Unknown fields are bytes that nothing has looked at yet.
    decodeImage(bytes, file);
    return bytes;
  } catch (cause) {
    if (cause instanceof TypeError) throw reader.wrong(cause.message, cause);
    throw cause;
  }
}

function toJson(type: MessageType, message: AnyMessage, pretty: boolean, hex: boolean): JsonObject {
  const json: JsonObject = {};
  for (const field of type.fields) {
    const value = message[field.name];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    json[field.name] = fieldToJson(field, value, pretty, hex || (pretty && field.show?.hex === true));
  }
  const unknown = message[unknownFields];
  if (unknown !== undefined) {
    json[UNKNOWN_KEY] = unknown.map(({ number, bytes }) => ({ number, bytes: showBase64(bytes) }));
  }
  return json;
}

function fieldToJson(field: FieldType, value: NonNullable<MessageValue>, pretty: boolean, hex: boolean): Json {
  if (!Array.isArray(value)) return valueToJson(field, value, pretty, hex);
  if (pretty && field.show?.address === true) {
    const address = showAddress(value as number[]);
    if (address !== undefined) return [address];
  }
  return value.map((each) => valueToJson(field, each, pretty, hex));
}

function valueToJson(field: FieldType, value: Scalar, pretty: boolean, hex: boolean): Json {
  if (Buffer.isBuffer(value)) return pretty && field.show?.quoted === true ? showQuoted(value) : showBase64(value);
  if (typeof value === "object") return toJson(field.message(), value, pretty, hex);
  if (field.kind === "enum") return field.enumeration?.nameOf.get(value as number) ?? (value as number);
  const show = field.show;
  if (pretty && show !== undefined && typeof value === "number") {
    if (show.flags !== undefined) return showFlags(show.flags, value);
    if (show.names !== undefined) return showName(show.names, field.name, value);
    if (show.device) return showDevice(value);
  }
  if (hex && (typeof value === "number" || typeof value === "bigint")) return `0x${value.toString(16)}`;
  return typeof value === "bigint" ? plainNumber(value) : value;
}

/** As parseJson reads it: a bigint only where a number would not be exact. */
function plainNumber(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function chunkToJson(
  chunk: { readonly message: GhostChunkEntry; readonly bytes: Buffer },
  pretty: boolean,
): JsonObject {
  return { ...messageToJson("ghost_chunk_entry", chunk.message, pretty), extra: showBase64(chunk.bytes) };
}

function payloadToJson(format: ImageFormat, payload: Payload, pretty: boolean): Json {
  switch (payload.kind) {
    case "queues":
      return { inq: showBase64(payload.received), outq: showBase64(payload.sent) };
    case "map":
      return showBase64(Buffer.concat([payload.keys, payload.values]));
    case "messages":
      return payload.messages.flatMap(({ message, bytes }): Json[] => [
        messageToJson("ipc_msg", message, pretty),
        showBase64(bytes),
      ]);
    case "bytes":
      if (format.payload !== "semaphores") return showBase64(payload.bytes);
      return Array.from({ length: payload.bytes.length / 2 }, (_each, index) => payload.bytes.readUInt16LE(index * 2));
    case "chunks":
      throw new Error("chunks are entries of their own");
  }
}

class JsonReader {
  constructor(private readonly file: string) {}

  wrong(what: string, cause?: unknown): FaultlineError {
    return new FaultlineError("IMAGE_CORRUPT", `JSON that is no image: ${what}`, { file: this.file, cause });
  }

  object(json: Json | undefined, what: string): JsonObject {
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json;
    throw this.wrong(`${what} is no object`);
  }

  head(name: MessageName, entry: JsonObject | undefined): AnyMessage {
    if (entry === undefined) throw this.wrong("the first entry is missing");
    return this.message(messageType(name), entry, name);
  }

  record(format: ImageFormat, entry: JsonObject): { message: AnyMessage; payload?: Payload } {
    const { extra, ...fields } = entry;
    const message = this.message(messageType(format.message), fields, format.message);
    const payload = this.payload(format, message, extra);
    return payload === undefined ? { message } : { message, payload };
  }

  /** A ghost file's first entry, with the others as its chunks. */
  ghost(entries: readonly JsonObject[]): { message: AnyMessage; payload?: Payload }[] {
    const [first, ...rest] = entries;
    if (first === undefined) return [];
    const { extra, ...fields } = first;
    const message = this.message(messageType("ghost_file_entry"), fields, "ghost_file_entry");
    if (message.chunks !== true) {
      if (rest.length > 0) throw this.wrong("entries after a ghost file without chunks");
      return [{ message, payload: { kind: "bytes", bytes: this.base64(extra ?? "", "extra") } }];
    }
    const chunks = rest.map(({ extra: bytes, ...chunk }) => ({
      message: this.message(messageType("ghost_chunk_entry"), chunk, "chunk") as unknown as GhostChunkEntry,
      bytes: this.base64(bytes ?? "", "extra"),
    }));
    return [{ message, payload: { kind: "chunks", chunks } }];
  }

  private payload(format: ImageFormat, message: AnyMessage, extra: Json | undefined): Payload | undefined {
    switch (format.payload) {
      case "none":
        if (extra !== undefined) throw this.wrong(`"extra" in an image without payload`);
        return undefined;
      case "segment":
        if (message.in_pagemaps === true) return undefined;
        return { kind: "bytes", bytes: this.base64(extra ?? "", "extra") };
      case "queues": {
        const queues = this.object(extra, "extra");
        return {
          kind: "queues",
          received: this.base64(queues.inq ?? "", "inq"),
          sent: this.base64(queues.outq ?? "", "outq"),
        };
      }
      case "map": {
        const bytes = this.base64(extra ?? "", "extra");
        const split = Number(message.keys_bytes);
        return { kind: "map", keys: bytes.subarray(0, split), values: bytes.subarray(split) };
      }
      case "semaphores":
        return { kind: "bytes", bytes: this.semaphores(extra) };
      case "messages":
        return { kind: "messages", messages: this.queuedMessages(extra) };
      default:
        return { kind: "bytes", bytes: this.base64(extra ?? "", "extra") };
    }
  }

  private semaphores(extra: Json | undefined): Buffer {
    if (!Array.isArray(extra)) throw this.wrong(`"extra" is no list of semaphores`);
    const bytes = Buffer.alloc(extra.length * 2);
    extra.forEach((value, index) => {
      if (typeof value !== "number" || (value & 0xffff) !== value) throw this.wrong(`"extra" holds no 16-bit number`);
      bytes.writeUInt16LE(value, index * 2);
    });
    return bytes;
  }

  private queuedMessages(extra: Json | undefined): { message: IpcMsg; bytes: Buffer }[] {
    if (!Array.isArray(extra) || extra.length % 2 !== 0) throw this.wrong(`"extra" is no list of messages`);
    const messages: { message: IpcMsg; bytes: Buffer }[] = [];
    for (let index = 0; index < extra.length; index += 2) {
      const fields = this.object(extra[index], "a message in extra");
      const message = this.message(messageType("ipc_msg"), fields, "ipc_msg") as unknown as IpcMsg;
      messages.push({ message, bytes: this.base64(extra[index + 1] ?? "", "extra") });
    }
    return messages;
  }

  private message(type: MessageType, json: JsonObject, path: string): AnyMessage {
    const message: AnyMessage = {};
    const known = new Map(type.fields.map((field) => [field.name, field]));
    for (const [key, value] of Object.entries(json)) {
      const field = known.get(key);
      if (field !== undefined) message[key] = this.field(field, value, `${path}.${key}`);
      else if (key === UNKNOWN_KEY) message[unknownFields] = this.unknown(value);
      else throw this.wrong(`${path} has no field ${key}`);
    }
    for (const field of type.fields) {
      if (field.rule === "repeated") message[field.name] ??= [];
      else if (field.rule === "required" && message[field.name] === undefined) {
        throw this.wrong(`${path}.${field.name} is missing`);
      }
    }
    return message;
  }

  private unknown(json: Json): UnknownField[] {
    if (!Array.isArray(json)) throw this.wrong(`"${UNKNOWN_KEY}" is no list`);
    return json.map((each) => {
      const { number, bytes } = this.object(each, UNKNOWN_KEY);
      if (typeof number !== "number") throw this.wrong(`"${UNKNOWN_KEY}" without a number`);
      return { number, bytes: this.base64(bytes ?? null, UNKNOWN_KEY) };
    });
  }

  private field(field: FieldType, json: Json, path: string): NonNullable<MessageValue> {
    if (field.rule !== "repeated") return this.value(field, json, path);
    if (!Array.isArray(json)) throw this.wrong(`${path} is no list`);
    if (field.show?.address === true && json.length === 1 && typeof json[0] === "string") {
      return this.given(readAddress(json[0]), path);
    }
    return json.map((each) => this.value(field, each, path)) as NonNullable<MessageValue>;
  }

  private value(field: FieldType, json: Json, path: string): Scalar {
    switch (field.kind) {
      case "message":
        return this.message(field.message(), this.object(json, path), path);
      case "bool":
        if (typeof json !== "boolean") throw this.wrong(`${path} is neither true nor false`);
        return json;
      case "string":
        if (typeof json !== "string") throw this.wrong(`${path} is no text`);
        return json;
      case "bytes":
        if (typeof json === "string" && field.show?.quoted === true && !looksBase64(json)) {
          return this.given(readQuoted(json), path);
        }
        return this.base64(json, path);
      default:
        return this.number(field, json, path);
    }
  }

  private number(field: FieldType, json: Json, path: string): number | bigint {
    const wide = /64$/.test(field.kind);
    const value = typeof json === "string" ? this.word(field, json, path) : json;
    if (typeof value === "bigint" && wide) return value;
    if (typeof value !== "number" || !Number.isInteger(value)) throw this.wrong(`${path} is no whole number that fits`);
    return wide ? BigInt(value) : value;
  }

  private word(field: FieldType, text: string, path: string): number | bigint {
    const { show, enumeration } = field;
    if (enumeration !== undefined) return this.given(enumeration.valueOf.get(text), path);
    if (show?.flags !== undefined) return this.given(readFlags(show.flags, text), path);
    if (show?.device === true) return this.given(readDevice(text), path);
    const named = show?.names === undefined ? undefined : readName(show.names, field.name, text);
    if (named !== undefined) return named;
    if (!/^(0x[0-9a-fA-F]+|\d+)$/.test(text)) throw this.wrong(`${path}: ${text} is no value of it`);
    const value = BigInt(text);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }

  private base64(json: Json, path: string): Buffer {
    return this.given(typeof json === "string" ? readBase64(json) : undefined, path);
  }

  private given<T>(value: T | undefined, path: string): T {
    if (value === undefined) throw this.wrong(`${path} is no value of it`);
    return value;
  }
}

/** Plain JSON has a socket's name in base64, which ends in a line end; quoted text in pretty JSON does not. */
function looksBase64(text: string): boolean {
  return (
    text === "" || (text.endsWith("\n") && readBase64(text) !== undefined && text.replace(/\s/g, "").length % 4 === 0)
  );
}
