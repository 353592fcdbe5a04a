// Properties of the codec: any message survives, 64-bit numbers are exact, what is unknown is kept, text need not be
// UTF-8, every payload and both framings come back byte for byte.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FaultlineError } from "../../src/errors";
import { formatJson, parseJson } from "../../src/images/exactJson";
import { formats, type ImageFormat, type ImageKind, isImageKind } from "../../src/images/formats";
import { decodeImage, encodeImage, type RecordInit } from "../../src/images/framing";
import { imageToJson, jsonToImage } from "../../src/images/json";
import {
  type AnyMessage,
  decodeAny,
  decodeMessage,
  encodeAny,
  encodeMessage,
  unknownFields,
} from "../../src/images/message";
import type { Payload } from "../../src/images/payload";
import { type FieldType, type MessageName, type MessageType, messageType } from "../../src/images/schema";
import { decodeText, encodeText } from "../../src/images/text";

const kinds = Object.keys(formats).filter(isImageKind);
const where = { file: "test.img" };

/** Any value that `field` can hold. */
function anyValue(field: FieldType, depth: number): fc.Arbitrary<unknown> {
  switch (field.kind) {
    case "uint32":
    case "fixed32":
      return fc.nat({ max: 0xffff_ffff });
    case "int32":
    case "sint32":
      return fc.integer();
    case "enum":
      return fc.constantFrom(...field.enumeration!.nameOf.keys());
    case "uint64":
    case "fixed64":
      return fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    case "int64":
    case "sint64":
      return fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });
    case "bool":
      return fc.boolean();
    case "string":
      return fc.uint8Array({ maxLength: 12 }).map((bytes) => decodeText(Buffer.from(bytes)));
    case "bytes":
      return fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes));
    case "message":
      return messageOf(field.message(), depth + 1);
  }
}

/** Any message of `type`; messages within themselves end after a few levels. */
function messageOf(type: MessageType, depth = 0): fc.Arbitrary<AnyMessage> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of type.fields) {
    const deep = field.kind === "message" && depth >= 3;
    if (field.rule === "repeated") {
      const maxLength = deep ? 0 : 3;
      fields[field.name] = maxLength === 0 ? fc.constant([]) : fc.array(anyValue(field, depth), { maxLength });
    } else if (field.rule === "required") fields[field.name] = anyValue(field, depth);
    else fields[field.name] = deep ? fc.constant(undefined) : fc.option(anyValue(field, depth), { nil: undefined });
  }
  return fc.record(fields).map((message) => {
    const present = Object.entries(message).filter(([, value]) => value !== undefined);
    return Object.fromEntries(present) as AnyMessage;
  });
}

const bytesOf = (length: number) => Buffer.from(Array.from({ length }, (_each, index) => (index * 37 + 11) & 0xff));

/** Sizes that a message states and the payload that belongs to them; sizes are cut so that a test stays small. */
function withPayload(format: ImageFormat, message: AnyMessage): { message: AnyMessage; payload?: Payload } {
  const small = (field: string) => Number(BigInt(message[field] as number | bigint) % 40n);
  switch (format.payload) {
    case "none":
      return { message };
    case "pipe":
      return {
        message: { ...message, bytes: small("bytes") },
        payload: { kind: "bytes", bytes: bytesOf(small("bytes")) },
      };
    case "packet":
      return {
        message: { ...message, length: small("length") },
        payload: { kind: "bytes", bytes: bytesOf(small("length")) },
      };
    case "segment": {
      const size = small("size");
      const sized = { ...message, size: BigInt(size) };
      return message.in_pagemaps === true
        ? { message: sized }
        : { message: sized, payload: { kind: "bytes", bytes: bytesOf(size) } };
    }
    case "semaphores": {
      const nsems = small("nsems");
      return { message: { ...message, nsems }, payload: { kind: "bytes", bytes: bytesOf(nsems * 2) } };
    }
    case "queues": {
      const sizes = { inq_len: small("inq_len"), outq_len: small("outq_len") };
      const payload: Payload = { kind: "queues", received: bytesOf(sizes.inq_len), sent: bytesOf(sizes.outq_len) };
      return { message: { ...message, ...sizes }, payload };
    }
    case "map": {
      const sizes = { keys_bytes: small("keys_bytes"), values_bytes: small("values_bytes") };
      const payload: Payload = { kind: "map", keys: bytesOf(sizes.keys_bytes), values: bytesOf(sizes.values_bytes) };
      return { message: { ...message, ...sizes }, payload };
    }
    case "messages": {
      const qnum = small("qnum") % 4;
      const messages = Array.from({ length: qnum }, (_each, index) => ({
        message: { mtype: BigInt(index), msize: index * 3 },
        bytes: bytesOf(index * 3),
      }));
      return { message: { ...message, qnum }, payload: { kind: "messages", messages } };
    }
    case "ghost": {
      if (message.chunks !== true) return { message, payload: { kind: "bytes", bytes: bytesOf(33) } };
      const chunks = [3, 0, 8].map((length, index) => ({
        message: { len: BigInt(length), off: BigInt(index) * 4096n },
        bytes: bytesOf(length),
      }));
      return { message, payload: { kind: "chunks", chunks } };
    }
  }
}

function encodeAs(kind: ImageKind, records: unknown, head: unknown, framing: "v1" | "v1.1" = "v1.1"): Buffer {
  return encodeImage(kind, records as RecordInit<never>[], { head: head as never, framing });
}

for (const kind of kinds) {
  const format: ImageFormat = formats[kind];
  test(`any ${kind} image survives encoding, in both framings, and JSON in both forms`, () => {
    const one = messageOf(messageType(format.message)).map((message) => withPayload(format, message));
    const count = format.count === "one" ? { minLength: 1, maxLength: 1 } : { maxLength: 3 };
    const head = format.head === undefined ? fc.constant(undefined) : messageOf(messageType(format.head));
    fc.assert(
      fc.property(fc.array(one, count), head, (records, first) => {
        const bytes = encodeAs(kind, records, first);
        const image = decodeImage(bytes, "test.img");
        assert.equal(image.kind, kind);
        assert.deepEqual(
          image.records.map((record) => record.message),
          records.map((record) => record.message),
        );
        assert.ok(encodeAs(kind, image.records, image.head).equals(bytes));
        const old = decodeImage(encodeAs(kind, records, first, "v1"), "old.img");
        assert.equal(old.framing, format.family === "none" ? "v1.1" : "v1");
        assert.ok(encodeAs(kind, old.records, old.head).equals(bytes));
        for (const pretty of [true, false]) {
          const text = formatJson(imageToJson(image, { pretty, payload: true }), pretty ? 4 : 0);
          assert.ok(jsonToImage(parseJson(text, "json"), "json").equals(bytes), text);
        }
      }),
      { numRuns: 30 },
    );
  });
}

test("unknown fields of every wire type are written back where they were", () => {
  const field = (number: number, wire: number, rest: number[]) => [...varint(number * 8 + wire), ...rest];
  const known = encodeMessage("fs_entry", { cwd_id: 1, root_id: 2, umask: 18 });
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ number: fc.integer({ min: 4, max: 3000 }), wire: fc.constantFrom(0, 1, 2, 5), fill: fc.nat(127) }),
      ),
      (fields) => {
        const unknown = fields
          .sort((a, b) => a.number - b.number)
          .flatMap(({ number, wire, fill }) => {
            const bodies: Record<number, number[]> = {
              0: [fill],
              1: new Array<number>(8).fill(fill),
              2: [3, fill, fill, fill],
              5: new Array<number>(4).fill(fill),
            };
            return field(number, wire, bodies[wire]!);
          });
        const bytes = Buffer.concat([known, Buffer.from(unknown)]);
        const message = decodeMessage("fs_entry", bytes, where);
        assert.equal(message.umask, 18);
        assert.equal(message[unknownFields]?.length ?? 0, fields.length);
        assert.ok(encodeMessage("fs_entry", message).equals(bytes));
      },
    ),
  );
});

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

test("an unknown field between known ones keeps its place", () => {
  // regs_entry fields 8 and 10 of inventory_entry have 7 between them, which no version uses.
  const bytes = Buffer.from([0x08, 0x02, 0x38, 0x2a, 0x40, 0x05]);
  const message = decodeMessage("inventory_entry", bytes, where);
  assert.equal(message.dump_uptime, 5n);
  assert.ok(encodeMessage("inventory_entry", message).equals(bytes));
});

test("packed and single elements of a list are both read", () => {
  const packed = Buffer.from([0x08, 1, 0x10, 0, 0x18, 1, 0x20, 1, 0x2a, 3, 1, 0x96, 0x01, 0x28, 3]);
  assert.deepEqual(decodeMessage("pstree_entry", packed, where).threads, [1, 150, 3]);
});

test("any bytes survive as text", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      assert.deepEqual(encodeText(decodeText(Buffer.from(bytes))), Buffer.from(bytes));
    }),
    { numRuns: 2000 },
  );
  for (const hex of ["efbfbd", "eda080", "edb280", "f4908080", "c080", "e282", "f09f98", "80", "f09f9880ff"]) {
    assert.equal(encodeText(decodeText(Buffer.from(hex, "hex"))).toString("hex"), hex);
  }
});

test("any JSON value with exact integers survives", () => {
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constantFrom(null, true, false),
      fc.string(),
      fc.maxSafeInteger(),
      fc.bigInt({ min: 1n << 54n, max: 1n << 64n }),
      fc.array(tie("value")),
      fc.dictionary(fc.string(), tie("value")),
    ),
  }));
  fc.assert(
    fc.property(value, fc.constantFrom(0, 2, 4), (json, indent) => {
      const text = formatJson(json as never, indent);
      assert.equal(formatJson(parseJson(text, "json"), indent), text);
    }),
  );
});

test("a value that its field cannot hold is refused", () => {
  const fs = { cwd_id: 1, root_id: 2 };
  assert.throws(() => encodeMessage("fs_entry", { ...fs, umask: -1 }), TypeError);
  assert.throws(() => encodeMessage("fs_entry", { ...fs, umask: 2 ** 32 }), TypeError);
  assert.throws(() => encodeMessage("fs_entry", { ...fs, umask: 1.5 }), TypeError);
  assert.throws(() => encodeMessage("rlimit_entry", { cur: 1n << 64n, max: 0n }), TypeError);
  assert.throws(() => encodeAny(messageType("fs_entry"), { cwd_id: 1 }), TypeError);
});

test("damage is refused with file, record and offset", () => {
  const refused = (name: MessageName, hex: string, code: string, offset: number) => {
    const bytes = Buffer.from(hex, "hex");
    assert.throws(
      () => decodeAny(messageType(name), bytes, { file: "x.img", record: 3 }, 0, bytes.length),
      (error: unknown) =>
        error instanceof FaultlineError &&
        error.code === code &&
        error.details.file === "x.img" &&
        error.details.record === 3 &&
        error.details.offset === offset,
      hex,
    );
  };
  refused("fs_entry", "0801", "IMAGE_CORRUPT", 0); // root_id is missing
  refused("fs_entry", "08011080", "IMAGE_TRUNCATED", 3); // a number without end
  refused("fs_entry", "080110ffffffffffffffffffff7f", "IMAGE_CORRUPT", 3); // a number of 11 bytes
  refused("fs_entry", "0a01", "IMAGE_CORRUPT", 1); // wrong wire type
  refused("utsns_entry", "0aff", "IMAGE_TRUNCATED", 1); // a length without end
  refused("utsns_entry", "0aff7f", "IMAGE_TRUNCATED", 1); // longer than the message
  refused("fs_entry", "23", "IMAGE_CORRUPT", 0); // a group
  refused("fs_entry", "080110020001", "IMAGE_CORRUPT", 4); // field number 0
  const deep = Array.from({ length: 300 }).reduce<Buffer>(
    (inner) => Buffer.concat([Buffer.from([0x0a, 0, 0x12, ...varint(inner.length)]), inner]),
    Buffer.from([0x0a, 0]),
  );
  assert.throws(() => decodeMessage("cgroup_dir_entry", deep, where), FaultlineError);
});
