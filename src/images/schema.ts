// The message descriptors of images/*.proto, compiled by protobufjs at build time and made ready one message at a time.
// Not for reading or writing bytes (message.ts) nor for types (messages.ts).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Messages } from "./messages";

export type MessageName = keyof Messages;

export type ScalarKind =
  | "uint32"
  | "int32"
  | "sint32"
  | "fixed32"
  | "uint64"
  | "int64"
  | "sint64"
  | "fixed64"
  | "bool"
  | "enum"
  | "string"
  | "bytes";

/** How `inspect show` writes the field: images/show.proto. */
export interface ShowOptions {
  readonly hex: boolean;
  readonly flags?: string;
  readonly device: boolean;
  readonly address: boolean;
  readonly names?: string;
  readonly quoted: boolean;
}

export interface EnumType {
  readonly name: string;
  readonly nameOf: ReadonlyMap<number, string>;
  readonly valueOf: ReadonlyMap<string, number>;
}

export interface FieldType {
  readonly name: string;
  readonly number: number;
  readonly rule: "required" | "optional" | "repeated";
  readonly packed: boolean;
  readonly kind: ScalarKind | "message";
  /** The embedded message's type; only for kind "message". */
  readonly message: () => MessageType;
  /** The enumeration; only for kind "enum". */
  readonly enumeration: EnumType | undefined;
  readonly show: ShowOptions | undefined;
}

export interface MessageType {
  readonly name: string;
  /** In the order of their numbers, which is the order that CRIU writes them in. */
  readonly fields: readonly FieldType[];
  readonly byNumber: ReadonlyMap<number, FieldType>;
}

/** A field as scripts/build-schema.js writes it. */
interface FieldJson extends Pick<FieldType, "name" | "number" | "rule" | "packed" | "kind"> {
  /** Of an embedded message or an enumeration: its name. */
  readonly type?: string;
  readonly values?: Readonly<Record<string, number>>;
  readonly show?: ShowOptions;
}

/** Written by scripts/build-schema.js: <package>/dist/images/schema.json. */
const schemaPath = join(__dirname, "..", "..", "images", "schema.json");

/** The fields of each message as a JSON text of their own. */
let texts: Readonly<Record<string, string>> | undefined;
const built = new Map<string, MessageType>();

/** The descriptor of one message. */
export function messageType(name: MessageName): MessageType {
  return typeNamed(name);
}

function typeNamed(name: string): MessageType {
  const known = built.get(name);
  if (known !== undefined) return known;
  texts ??= JSON.parse(readFileSync(schemaPath, "utf8")) as Record<string, string>;
  const text = texts[name];
  if (text === undefined) throw new Error(`images/*.proto has no message ${name}`);
  const fields = (JSON.parse(text) as FieldJson[]).map((json) => new Field(json));
  const type: MessageType = { name, fields, byNumber: new Map(fields.map((field) => [field.number, field])) };
  built.set(name, type);
  return type;
}

class Field implements FieldType {
  readonly name: string;
  readonly number: number;
  readonly rule: FieldType["rule"];
  readonly packed: boolean;
  readonly kind: FieldType["kind"];
  private readonly json: FieldJson;
  private known: MessageType | undefined;
  private labels: EnumType | undefined;

  constructor(json: FieldJson) {
    this.name = json.name;
    this.number = json.number;
    this.rule = json.rule;
    this.packed = json.packed;
    this.kind = json.kind;
    this.json = json;
  }

  get show(): ShowOptions | undefined {
    return this.json.show;
  }

  message(): MessageType {
    this.known ??= typeNamed(this.json.type ?? "");
    return this.known;
  }

  get enumeration(): EnumType | undefined {
    const { type, values } = this.json;
    if (type !== undefined && values !== undefined) this.labels ??= enumType(type, values);
    return this.labels;
  }
}

function enumType(name: string, values: Readonly<Record<string, number>>): EnumType {
  const pairs = Object.entries(values);
  return { name, valueOf: new Map(pairs), nameOf: new Map(pairs.map(([label, value]) => [value, label])) };
}
