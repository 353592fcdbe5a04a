// Joins the compiled command line into one script with V8's code cache beside it, since reading, resolving and compiling
// some seventy small files costs more than a restore. Run at the end of the build. Every module keeps its own scope, name
// and directory, and runs when first required; only the names that it requires are looked up.
//
//   dist/bundle/command.js, dump.js and pager.js            the modules that the entry reaches
//   dist/bundle/*.cache                                     what V8 makes of them
//   dist/start.js, startDetached.js, startDump.js and startPager.js    load one with its cache, or without where V8 refuses it
const { execFileSync, spawnSync } = require("node:child_process");
const { mkdirSync, readFileSync, writeFileSync } = require("node:fs");
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

/** V8 takes a cache only under the flags it was made with: those of pagerThread.ts for the pager's thread, of bin/faultline. */
const pagerFlags = ["--min-semi-space-size=8", "--no-concurrent-recompilation"];
const detachedFlags = ["--no-opt", "--no-sparkplug", "--min-semi-space-size=8"];

/** Writes a code cache with every function of a script, for a V8 that has `flags`. In a process of its own: flags stay. */
function writeCache(filename, cache, flags) {
  execFileSync(process.execPath, [...flags, __filename, filename, cache], { stdio: "inherit" });
}

/** What that process does. */
function writeCacheHere(filename, cache) {
  setFlagsFromString("--no-lazy");
  const script = new Script(readFileSync(filename, "latin1"), { filename });
  setFlagsFromString("--lazy");
  writeFileSync(cache, script.createCachedData());
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

/** A module's text with each name that it requires looked up, so that none has to be when it runs. */
function linked(file, { source, names }) {
  const text = source.replace(/\brequire\((["'])([^"']+)\1\)/g, (call, _, name) => {
    if (names[name] !== undefined) return `$load(${JSON.stringify(relative(dist, names[name]))})`;
    if (name.startsWith("."))
      return `require($dist + ${JSON.stringify(`/${relative(dist, join(dirname(file), name))}`)})`;
    // Nobody starts a program by commander, and Node takes milliseconds to load what it would do so with.
    if (name === "node:child_process" && file.includes("/node_modules/commander/")) return `$later("${name}")`;
    return call;
  });
  return `${JSON.stringify(relative(dist, file))}: function (exports, module, __filename, __dirname) {${text}\n}`;
}

function bundle(entry, verb) {
  const parts = [...collect(entry, verb)].map(([file, module]) => linked(file, module));
  return `(function (require, $dist) {
const $modules = {\n${parts.join(",\n")}\n};
const $loaded = new Map();
function $load(id) {
  const known = $loaded.get(id);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  $loaded.set(id, module);
  const file = $dist + "/" + id;
  $modules[id].call(module.exports, module.exports, module, file, file.slice(0, file.lastIndexOf("/")));
  return module.exports;
}
function $later(name) {
  return new Proxy({}, { get: (_, key) => require(name)[key] });
}
return $load;
})`;
}

/** Small on purpose: it is compiled without a cache at every start. */
function starter(name, cache, entry, worker) {
  return `"use strict";
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { Script } = require("node:vm");
const bundle = join(__dirname, "bundle");
let cachedData;
try {
  cachedData = readFileSync(join(bundle, ${JSON.stringify(cache)}));
} catch {}
const filename = join(bundle, ${JSON.stringify(name)});
const script = new Script(readFileSync(filename, "latin1"), { filename, cachedData });
${worker === undefined ? "" : `globalThis[Symbol.for("faultline.pagerEntry")] = join(__dirname, ${JSON.stringify(worker)});\n`}script.runInThisContext()(require, __dirname)(${JSON.stringify(entry)});
`;
}

/**
 * A cache for `restore -d` with fewer functions: half of them are for what most programs do not have, and V8 makes at each start
 * all that a cache holds. An idle Node is dumped and restored here, and what ran is kept; the others are compiled when they are
 * called. False where this user or machine cannot do that.
 */
function recordDetached() {
  const done = spawnSync(process.execPath, [join(__dirname, "record.js"), ...detachedFlags], { stdio: "ignore" });
  return done.status === 0;
}

function main() {
  mkdirSync(join(dist, "bundle"), { recursive: true });
  // The verbs for whose start, or for what runs while a program stands, it matters; bin/faultline starts the others without.
  for (const [name, entry, verb] of [
    ["command", "cmd/faultline.js", "restore"],
    ["dump", "cmd/faultline.js", "dump"],
    ["pager", "src/pager/worker.js", undefined],
  ]) {
    writeFileSync(join(dist, "bundle", `${name}.js`), ascii(bundle(join(dist, entry), verb)));
  }
  for (const [name, cache, entry, file, worker, flags] of [
    ["command.js", "command.cache", "cmd/faultline.js", "start.js", "startPager.js", []],
    ["command.js", "detached.cache", "cmd/faultline.js", "startDetached.js", undefined, detachedFlags],
    ["dump.js", "dump.cache", "cmd/faultline.js", "startDump.js", undefined, []],
    ["pager.js", "pager.cache", "src/pager/worker.js", "startPager.js", undefined, pagerFlags],
  ]) {
    writeCache(join(dist, "bundle", name), join(dist, "bundle", cache), flags);
    writeFileSync(join(dist, file), starter(name, cache, entry, worker));
  }
  if (!recordDetached())
    process.stderr.write("restore -d starts some milliseconds later than it could: see scripts/record.js\n");
}

if (process.argv.length > 2) writeCacheHere(...process.argv.slice(2));
else main();
