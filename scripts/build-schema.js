// Compiles images/*.proto to one JSON descriptor (protobufjs's own) at build time, so that no command parses
// .proto text at start, and messages.ts can be checked against it.
const { readdirSync, mkdirSync, writeFileSync } = require("node:fs");
const { join, dirname } = require("node:path");
const protobuf = require("protobufjs");

const root = join(__dirname, "..");
const bundled = dirname(require.resolve("protobufjs/package.json"));

/** The descriptor of all messages and enumerations, without google.protobuf's own. */
function compileSchema() {
  const schema = new protobuf.Root();
  schema.resolvePath = (_origin, target) =>
    target.startsWith("google/") ? join(bundled, target) : join(root, "images", target);
  const files = readdirSync(join(root, "images")).filter((name) => name.endsWith(".proto"));
  schema.loadSync(files, { keepCase: true });
  schema.resolveAll();
  const { nested } = schema.toJSON();
  delete nested.google;
  return nested;
}

const scalars = new Set(
  "uint32 int32 sint32 fixed32 uint64 int64 sint64 fixed64 bool string bytes".split(" "), // what images use
);

/** What a field says to the codec (src/images/schema.ts), so that no command has to work it out at its start. */
function compileField([name, { type, id, rule, options }], owner, enums) {
  const values = owner.nested?.[type]?.values ?? enums[type];
  const kind = scalars.has(type) ? type : values === undefined ? "message" : "enum";
  const text = (key) => (typeof options?.[key] === "string" ? options[key] : undefined);
  const is = (key) => options?.[key] === true;
  const show = {
    hex: is("(show).hex"),
    flags: text("(show).flags"),
    device: is("(show).device"),
    address: is("(show).address"),
    names: text("(show).names"),
    quoted: is("(show).quoted"),
  };
  return {
    name,
    number: id,
    rule: rule ?? "optional",
    packed: is("packed"),
    kind,
    type: scalars.has(type) ? undefined : type,
    values: kind === "enum" ? values : undefined,
    show: Object.values(show).some((value) => value !== false && value !== undefined) ? show : undefined,
  };
}

/** What schema.json holds: the fields of each message as a text of their own, since a command needs few of them and parsing costs its start. */
function splitSchema(nested) {
  const entries = Object.entries(nested);
  const enums = Object.fromEntries(
    entries.filter(([, { values }]) => values).map(([name, { values }]) => [name, values]),
  );
  const messages = {};
  for (const [name, entry] of entries) {
    if (entry.fields === undefined) continue;
    const fields = Object.entries(entry.fields).map((field) => compileField(field, entry, enums));
    messages[name] = JSON.stringify(fields.sort((a, b) => a.number - b.number));
  }
  return messages;
}

module.exports = { compileSchema };

if (require.main === module) {
  mkdirSync(join(root, "dist", "images"), { recursive: true });
  writeFileSync(join(root, "dist", "images", "schema.json"), JSON.stringify(splitSchema(compileSchema())));
}
