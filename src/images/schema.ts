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
  readonly flags: string | undefined;
  readonly device: boolean;
  readonly address: boolean;
  readonly names: string | undefined;
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

interface FieldJson {
  readonly type: string;
  readonly id: number;
  readonly rule?: "required" | "repeated";
  readonly options?: Readonly<Record<string, string | boolean>>;
}
interface MessageJson {
  readonly fields: Readonly<Record<string, FieldJson>>;
  readonly nested?: Readonly<Record<string, { readonly values?: EnumJson }>>;
}
type EnumJson = Readonly<Record<string, number>>;
interface SchemaJson {
  /** Each message as a JSON text of its own. */
  readonly messages: Readonly<Record<string, string>>;
  readonly enums: Readonly<Record<string, EnumJson>>;
}

/** Written by scripts/build-schema.js: <package>/dist/images/schema.json. */
const schemaPath = join(__dirname, "..", "..", "images", "schema.json");

let loaded: SchemaJson | undefined;
const built = new Map<string, MessageType>();

function schema(): SchemaJson {
  loaded ??= JSON.parse(readFileSync(schemaPath, "utf8")) as SchemaJson;
  return loaded;
}

/** The descriptor of one message. */
export function messageType(name: MessageName): MessageType {
  return typeNamed(name);
}

function typeNamed(name: string): MessageType {
  const known = built.get(name);
  if (known !== undefined) return known;
  const text = schema().messages[name];
  if (text === undefined) throw new Error(`images/*.proto has no message ${name}`);
  const entry = JSON.parse(text) as MessageJson;
  const fields = Object.entries(entry.fields)
    .map(([field, json]) => fieldType(field, json, entry))
    .sort((a, b) => a.number - b.number);
  const type: MessageType = { name, fields, byNumber: new Map(fields.map((field) => [field.number, field])) };
  built.set(name, type);
  return type;
}

const scalarKinds: ReadonlySet<string> = new Set<ScalarKind>([
  "uint32",
  "int32",
  "sint32",
  "fixed32",
  "uint64",
  "int64",
  "sint64",
  "fixed64",
  "bool",
  "string",
  "bytes",
]);

function fieldType(name: string, json: FieldJson, owner: MessageJson): FieldType {
  const { options } = json;
  const values = owner.nested?.[json.type]?.values ?? schema().enums[json.type];
  const kind = scalarKinds.has(json.type) ? (json.type as ScalarKind) : values !== undefined ? "enum" : "message";
  return {
    name,
    number: json.id,
    rule: json.rule ?? "optional",
    packed: options?.packed === true,
    kind,
    message: () => typeNamed(json.type),
    enumeration: values === undefined || kind !== "enum" ? undefined : enumType(json.type, values),
    show: options === undefined ? undefined : showOptions(options),
  };
}

function enumType(name: string, values: Readonly<Record<string, number>>): EnumType {
  const pairs = Object.entries(values);
  return { name, valueOf: new Map(pairs), nameOf: new Map(pairs.map(([label, value]) => [value, label])) };
}

function showOptions(options: Readonly<Record<string, string | boolean>>): ShowOptions | undefined {
  const text = (key: string) => (typeof options[key] === "string" ? (options[key] as string) : undefined);
  const show: ShowOptions = {
    hex: options["(show).hex"] === true,
    flags: text("(show).flags"),
    device: options["(show).device"] === true,
    address: options["(show).address"] === true,
    names: text("(show).names"),
    quoted: options["(show).quoted"] === true,
  };
  const any = show.hex || show.device || show.address || show.quoted || (show.flags ?? show.names) !== undefined;
  return any ? show : undefined;
}
