// Compiles images/*.proto to one JSON descriptor at build time, so that no command parses .proto text at start.
const { readdirSync, mkdirSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const protobuf = require("protobufjs");

const root = join(__dirname, "..");
const schema = new protobuf.Root();
for (const file of readdirSync(join(root, "images")).filter((name) => name.endsWith(".proto"))) {
  schema.loadSync(join(root, "images", file), { keepCase: true });
}
schema.resolveAll();
mkdirSync(join(root, "dist", "images"), { recursive: true });
writeFileSync(join(root, "dist", "images", "schema.json"), JSON.stringify(schema.toJSON()));
