// Joins the compiled command line into one script with V8's code cache beside it, since reading, resolving and compiling
// some seventy small files costs more than a restore. Run at the end of the build. Every module keeps its own scope, name
// and directory, and runs when first required; nothing is rewritten.
//
//   dist/bundle/command.js, dump.js and pager.js            the modules that the entry reaches
//   dist/bundle/*.cache                                     what V8 makes of them
//   dist/start.js, dist/startDump.js, dist/startPager.js    load one with its cache, or without where V8 refuses it
const { existsSync, mkdirSync, readFileSync, writeFileSync } = require("node:fs");
const { dirname, join, relative } = require("node:path");
const { setFlagsFromString } = require("node:v8");
const { Script } = require("node:vm");

const dist = join(__dirname, "..", "dist");
/** Packages that are plain CommonJS and small; all others are loaded as usual. */
const bundled = ["commander"];

/** The file that `name` means in `from`, or undefined for what stays outside; of the verbs' files only that of `only`. */
function resolve(from, name, only) {
  if (!name.startsWith(".") && !bundled.includes(name)) return undefined;
  const found = require.resolve(name, { paths: [dirname(from)] });
  const verb = /^cmd\/([a-z-]+)\.js$/.exec(relative(dist, found))?.[1];
  return found.endsWith(".js") && (verb === undefined || verb === only) ? found : undefined;
}

/** Latin-1 is what V8 takes without a copy: anything beyond ASCII is written as an escape. */
function ascii(source) {
  return source.replace(/[\u0080-\uffff]/g, (symbol) => `\\u${symbol.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** V8 takes a cache only under the flags it was made with: those of pagerThread.ts for the pager's thread. */
const pagerFlags = ["--min-semi-space-size=8", "--no-concurrent-recompilation"];

/** Every function compiled, as a cache for a V8 that starts with `flags`. */
function codeCache(filename, flags) {
  for (const flag of flags) setFlagsFromString(flag);
  setFlagsFromString("--no-lazy");
  const script = new Script(readFileSync(filename, "latin1"), { filename });
  setFlagsFromString("--lazy");
  return script.createCachedData();
}

/** All modules that `entry` reaches, with what each of its names means. */
function collect(entry, verb) {
  const modules = new Map();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (modules.has(file)) continue;
    const source = readFileSync(file, "utf8").replace(/^#!.*/, "");
    const names = {};
    for (const [, name] of source.matchAll(/\brequire\(["']([^"']+)["']\)/g)) {
      const target = existsInTree(file, name, verb);
      if (target === undefined) continue;
      names[name] = target;
      waiting.push(target);
    }
    modules.set(file, { source, names });
  }
  return modules;
}

function existsInTree(file, name, verb) {
  try {
    return resolve(file, name, verb);
  } catch {
    return undefined; // a verb that is not built yet; requiring it fails when it is asked for
  }
}

function bundle(entry, verb) {
  const parts = [...collect(entry, verb)].map(([file, { source, names }]) => {
    const ids = Object.fromEntries(Object.entries(names).map(([name, target]) => [name, relative(dist, target)]));
    const id = JSON.stringify(relative(dist, file));
    return `${id}: [${JSON.stringify(ids)}, function (exports, require, module, __filename, __dirname) {${source}\n}]`;
  });
  return `(function (outside, join, dirname, dist) {
const modules = {\n${parts.join(",\n")}\n};
const loaded = new Map();
function load(id) {
  const known = loaded.get(id);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  loaded.set(id, module);
  const [names, run] = modules[id];
  const file = join(dist, id);
  // Nobody starts a program by commander, and Node takes milliseconds to load what it would do so with.
  const later = (name) => new Proxy({}, { get: (_, key) => outside(name)[key] });
  const here = (name) => {
    if (names[name] !== undefined) return load(names[name]);
    if (name === "node:child_process" && id.includes("node_modules/commander/")) return later(name);
    return outside(name.startsWith(".") ? join(dirname(file), name) : name);
  };
  run.call(module.exports, module.exports, here, module, file, dirname(file));
  return module.exports;
}
load(${JSON.stringify(relative(dist, entry))});
})`;
}

/** Small on purpose: it is compiled without a cache at every start. */
function starter(name, worker) {
  return `"use strict";
const { readFileSync } = require("node:fs");
const { dirname, join } = require("node:path");
const { Script } = require("node:vm");
const path = join(__dirname, "bundle", ${JSON.stringify(name)});
let cachedData;
try {
  cachedData = readFileSync(path + ".cache");
} catch {}
const filename = path + ".js";
const script = new Script(readFileSync(filename, "latin1"), { filename, cachedData });
${worker === undefined ? "" : `globalThis[Symbol.for("faultline.pagerEntry")] = join(__dirname, ${JSON.stringify(worker)});\n`}script.runInThisContext()(require, join, dirname, __dirname);
`;
}

mkdirSync(join(dist, "bundle"), { recursive: true });
/** The verbs for whose start, or for what runs while a program stands, it matters; bin/faultline starts the others without. */
for (const [name, entry, verb, file, worker, flags] of [
  ["command", "cmd/faultline.js", "restore", "start.js", "startPager.js", []],
  ["dump", "cmd/faultline.js", "dump", "startDump.js", undefined, []],
  ["pager", "src/pager/worker.js", undefined, "startPager.js", undefined, pagerFlags],
]) {
  const from = join(dist, entry);
  if (!existsSync(from)) continue;
  const filename = join(dist, "bundle", `${name}.js`);
  writeFileSync(filename, ascii(bundle(from, verb)));
  writeFileSync(join(dist, "bundle", `${name}.cache`), codeCache(filename, flags));
  writeFileSync(join(dist, file), starter(name, worker));
}
