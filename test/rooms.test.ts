// Holds the import rule of the house: a room imports only rooms listed before it.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { test } from "node:test";

const root = resolve(__dirname, "..", "..");
const rooms = ["images", "space", "uffd", "pager", "task", "wire", "inspect", "service"];

function* sources(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* sources(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

/** The relative modules that a source file imports, as paths from the repository root without extension. */
function imports(file: string): string[] {
  const text = readFileSync(file, "utf8");
  const found = [...text.matchAll(/(?:from|import|require)\s*\(?\s*"(\.[^"]+)"/g)];
  return found.map((match) => relative(root, resolve(dirname(file), match[1]!)));
}

function forbidden(from: string, to: string): string | undefined {
  const [top, room] = from.split(sep);
  const [targetTop, targetRoom] = to.split(sep);
  if (targetTop === "cmd" && top !== "cmd") return "nothing imports cmd";
  if (top !== "src" || targetTop !== "src") return undefined;
  const here = rooms.indexOf(room!);
  const there = rooms.indexOf(targetRoom!);
  if (here < 0) return undefined;
  if (room === "space" && targetRoom === "images") return "space and images import none of each other";
  if (there > here) return `${room} comes before ${targetRoom}`;
  return undefined;
}

test("a room imports only rooms listed before it, and nothing imports cmd", () => {
  const broken: string[] = [];
  let edges = 0;
  for (const file of [...sources(join(root, "src")), ...sources(join(root, "cmd"))]) {
    const from = relative(root, file);
    for (const to of imports(file)) {
      edges++;
      const why = forbidden(from, to);
      if (why !== undefined) broken.push(`${from} imports ${to}: ${why}`);
    }
  }
  assert.ok(edges > 0);
  assert.deepEqual(broken, []);
});

test("every folder of src is a room of the house", () => {
  const folders = readdirSync(join(root, "src")).filter((name) => statSync(join(root, "src", name)).isDirectory());
  assert.deepEqual(
    folders.filter((name) => !rooms.includes(name)),
    [],
  );
});
