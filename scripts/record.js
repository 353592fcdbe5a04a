// Makes dist/bundle/detached.cache anew, with the functions that a `restore -d` runs: dumps an idle Node, restores it, and writes
// down what V8 has compiled when its pages are in. Arguments: V8's flags for the restore. Run by bundle.js. Fails, and changes
// nothing, where this machine or user cannot dump and restore (no root, or a container without the capabilities).
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");

const dist = join(__dirname, "..", "dist");
const cache = join(dist, "bundle", "detached.cache");
const flags = process.argv.slice(2);
const patienceMs = 20_000;
const idle = 'require("node:fs").writeFileSync(process.argv[1], ""); setInterval(() => undefined, 1000);';

/** startDetached.js without a cache, which writes one at its end. The command changes flags, and V8 notes those of that moment. */
function recorder(file) {
  const script = join(dist, "bundle", "command.js");
  return `
const { readFileSync, writeFileSync } = require("node:fs");
const script = new (require("node:vm").Script)(readFileSync(${JSON.stringify(script)}, "latin1"), {
  filename: ${JSON.stringify(script)},
});
process.on("exit", (code) => {
  if (code !== 0) return;
  for (const flag of ${JSON.stringify(flags)}) require("node:v8").setFlagsFromString(flag);
  writeFileSync(${JSON.stringify(file)}, script.createCachedData());
});
script.runInThisContext()(require, ${JSON.stringify(dist)})("cmd/faultline.js");
`;
}

async function run(args) {
  const child = spawn(process.execPath, args, { stdio: "ignore", timeout: patienceMs, killSignal: "SIGKILL" });
  const [status] = await once(child, "exit");
  if (status !== 0) throw new Error(`${args.join(" ")} ended with ${status}`);
}

async function record(work) {
  const [ready, images, pid, made] = ["ready", "images", "pid", "cache"].map((name) => join(work, name));
  const program = spawn(process.execPath, ["-e", idle, ready], { detached: true, stdio: "ignore", cwd: "/" });
  const gone = once(program, "exit");
  try {
    for (let waitedMs = 0; !existsSync(ready) && waitedMs < patienceMs; waitedMs += 10) await sleep(10);
    await run([join(dist, "startDump.js"), "dump", "-t", `${program.pid}`, "-D", images]);
    await gone; // its pid is free
    const script = join(work, "record.js");
    writeFileSync(script, recorder(made));
    await run([...flags, script, "restore", "-D", images, "-d", "--pidfile", pid]);
  } finally {
    if (existsSync(pid)) process.kill(Number(readFileSync(pid, "latin1")), "SIGKILL");
    else program.kill("SIGKILL");
  }
  copyFileSync(made, cache);
}

const work = mkdtempSync(join(tmpdir(), "faultline-record-"));
record(work)
  .finally(() => rmSync(work, { recursive: true, force: true }))
  .catch((error) => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  });
