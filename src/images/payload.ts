// The raw bytes that some image records carry after their message: pipe contents, packets, deleted files and the like.
// Sizes come from the message and are checked against the file before anything is taken.
import { FaultlineError } from "../errors";
import type { PayloadKind } from "./formats";
import { type AnyMessage, decodeMessage, encodeMessage, type Where } from "./message";
import type { GhostChunkEntry, IpcMsg } from "./messages";

export type Payload =
  /** Bytes of a pipe, a packet, a deleted file, a shared memory segment or a semaphore set. */
  | { readonly kind: "bytes"; readonly bytes: Buffer; readonly padding?: Buffer | undefined }
  /** A sparse deleted file. */
  | {
      readonly kind: "chunks";
      readonly chunks: readonly { readonly message: GhostChunkEntry; readonly bytes: Buffer }[];
    }
  /** What a connection has received and not read, and has sent and not seen acknowledged. */
  | { readonly kind: "queues"; readonly received: Buffer; readonly sent: Buffer }
  /** Messages of a System V queue. */
  | {
      readonly kind: "messages";
      readonly messages: readonly {
        readonly message: IpcMsg;
        readonly bytes: Buffer;
        readonly padding?: Buffer | undefined;
      }[];
    }
  /** A BPF map's contents. */
  | { readonly kind: "map"; readonly keys: Buffer; readonly values: Buffer };

interface Decoded {
  readonly payload: Payload | undefined;
  /** Where the next record begins. */
  readonly end: number;
}

/** Takes the payload that begins at `at`. Throws IMAGE_TRUNCATED where the file ends inside it. */
export function decodePayload(
  kind: PayloadKind,
  message: AnyMessage,
  buffer: Buffer,
  at: number,
  where: Where,
): Decoded {
  const taker = new Taker(buffer, at, where);
  const payload = take(kind, message, taker);
  return { payload, end: taker.at };
}

function take(kind: PayloadKind, message: AnyMessage, taker: Taker): Payload | undefined {
  switch (kind) {
    case "none":
      return undefined;
    case "pipe":
      return { kind: "bytes", bytes: taker.bytes(size(message, "bytes")) };
    case "packet":
      return { kind: "bytes", bytes: taker.bytes(size(message, "length")) };
    case "queues":
      return {
        kind: "queues",
        received: taker.bytes(size(message, "inq_len")),
        sent: taker.bytes(size(message, "outq_len")),
      };
    case "map":
      return {
        kind: "map",
        keys: taker.bytes(size(message, "keys_bytes")),
        values: taker.bytes(size(message, "values_bytes")),
      };
    case "segment":
      return message.in_pagemaps === true ? undefined : taker.padded(size(message, "size"), 4);
    case "semaphores":
      return taker.padded(2 * size(message, "nsems"), 8);
    case "ghost":
      return message.chunks === true ? takeChunks(taker) : { kind: "bytes", bytes: taker.bytes(taker.left()) };
    case "messages":
      return takeMessages(taker, size(message, "qnum"));
  }
}

function takeChunks(taker: Taker): Payload {
  const chunks: { message: GhostChunkEntry; bytes: Buffer }[] = [];
  while (taker.left() > 0) {
    const message = taker.message("ghost_chunk_entry");
    chunks.push({ message, bytes: taker.bytes(Number(message.len)) });
  }
  return { kind: "chunks", chunks };
}

function takeMessages(taker: Taker, count: number): Payload {
  const messages: { message: IpcMsg; bytes: Buffer; padding?: Buffer | undefined }[] = [];
  for (let index = 0; index < count; index++) {
    const message = taker.message("ipc_msg");
    const { bytes, padding } = taker.padded(message.msize, 8);
    messages.push(padding === undefined ? { message, bytes } : { message, bytes, padding });
  }
  return { kind: "messages", messages };
}

/** A size that a message states; beyond 2^53 it is larger than any file, which the taker then says. */
function size(message: AnyMessage, field: string): number {
  return Number(message[field]);
}

class Taker {
  constructor(
    private readonly buffer: Buffer,
    public at: number,
    private readonly where: Where,
  ) {}

  left(): number {
    return this.buffer.length - this.at;
  }

  bytes(count: number): Buffer {
    if (count > this.left()) {
      throw new FaultlineError("IMAGE_TRUNCATED", `a payload of ${count} bytes where ${this.left()} are left`, {
        file: this.where.file,
        record: this.where.record,
        offset: this.at,
      });
    }
    const bytes = this.buffer.subarray(this.at, this.at + count);
    this.at += count;
    return bytes;
  }

  /** Bytes, then what fills them up to a multiple of `unit`: kept only where it is not zero. */
  padded(count: number, unit: number): { kind: "bytes"; bytes: Buffer; padding?: Buffer } {
    const bytes = this.bytes(count);
    const padding = this.bytes((unit - (count % unit)) % unit);
    return padding.every((byte) => byte === 0) ? { kind: "bytes", bytes } : { kind: "bytes", bytes, padding };
  }

  message<N extends "ghost_chunk_entry" | "ipc_msg">(name: N) {
    const length = this.bytes(4).readUInt32LE(0);
    const start = this.at;
    this.bytes(length);
    return decodeMessage(name, this.buffer, this.where, start, start + length);
  }
}

/** Appends a record's payload. Throws TypeError where it does not fit the sizes in the message. */
export function encodePayload(
  parts: Buffer[],
  kind: PayloadKind,
  message: AnyMessage,
  payload: Payload | undefined,
): void {
  const wanted = expected(kind, message);
  if (payload?.kind !== wanted)
    throw new TypeError(`a payload of ${String(payload?.kind)} where ${String(wanted)} is due`);
  if (payload === undefined) return;
  switch (payload.kind) {
    case "bytes": {
      const count = byteCount(kind, message);
      if (count !== undefined) checkSize(payload.bytes, count);
      parts.push(payload.bytes);
      if (kind === "segment") parts.push(padding(payload, 4));
      if (kind === "semaphores") parts.push(padding(payload, 8));
      return;
    }
    case "queues":
      checkSize(payload.received, message.inq_len);
      checkSize(payload.sent, message.outq_len);
      parts.push(payload.received, payload.sent);
      return;
    case "map":
      checkSize(payload.keys, message.keys_bytes);
      checkSize(payload.values, message.values_bytes);
      parts.push(payload.keys, payload.values);
      return;
    case "chunks":
      for (const chunk of payload.chunks) {
        checkSize(chunk.bytes, chunk.message.len);
        pushMessage(parts, encodeMessage("ghost_chunk_entry", chunk.message));
        parts.push(chunk.bytes);
      }
      return;
    case "messages":
      if (payload.messages.length !== message.qnum) throw new TypeError("a queue whose message states another count");
      for (const entry of payload.messages) {
        checkSize(entry.bytes, entry.message.msize);
        pushMessage(parts, encodeMessage("ipc_msg", entry.message));
        parts.push(entry.bytes, padding(entry, 8));
      }
  }
}

function checkSize(bytes: Buffer, stated: unknown): void {
  if (Number(stated) !== bytes.length) throw new TypeError("a payload whose message states another size");
}

function expected(kind: PayloadKind, message: AnyMessage): Payload["kind"] | undefined {
  if (kind === "none" || (kind === "segment" && message.in_pagemaps === true)) return undefined;
  if (kind === "ghost") return message.chunks === true ? "chunks" : "bytes";
  return kind === "queues" || kind === "map" || kind === "messages" ? kind : "bytes";
}

function byteCount(kind: PayloadKind, message: AnyMessage): number | undefined {
  if (kind === "pipe") return size(message, "bytes");
  if (kind === "packet") return size(message, "length");
  if (kind === "segment") return size(message, "size");
  return kind === "semaphores" ? 2 * size(message, "nsems") : undefined;
}

function padding(payload: { readonly bytes: Buffer; readonly padding?: Buffer | undefined }, unit: number): Buffer {
  return payload.padding ?? Buffer.alloc((unit - (payload.bytes.length % unit)) % unit);
}

function pushMessage(parts: Buffer[], bytes: Buffer): void {
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32LE(bytes.length, 0);
  parts.push(length, bytes);
}
