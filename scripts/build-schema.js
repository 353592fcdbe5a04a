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

/** What schema.json holds: each message as a text of its own, since a command needs few of them and parsing costs its start. */
function splitSchema(nested) {
  const messages = {};
  const enums = {};
  for (const [name, entry] of Object.entries(nested)) {
    if (entry.values !== undefined) enums[name] = entry.values;
    else if (entry.fields !== undefined) messages[name] = JSON.stringify(entry);
  }
  return { messages, enums };
}

module.exports = { compileSchema };

if (require.main === module) {
  mkdirSync(join(root, "dist", "images"), { recursive: true });
  writeFileSync(join(root, "dist", "images", "schema.json"), JSON.stringify(splitSchema(compileSchema())));
}
