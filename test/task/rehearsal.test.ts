// The rehearsal before the first freeze of a process of ours: that it succeeds, since a dump goes on without, and that its
// process ends whatever happens.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { verifyDirectory } from "../../src/images/verify";
import { Rehearsal, Understudy } from "../../src/task/dump/rehearsal";
import { childrenOf, threadsOf } from "../../src/task/proc";
import { isGone, processStat } from "../support/processes";
import { repositoryRoot, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { hangMs, waitFor } from "../support/wait";

const none = {
  ...{ shellJob: false, tcpEstablished: false, tcpClose: false, fileLocks: false, linkRemap: false },
  ...{ externalUnix: false, skipWaiting: false, ghostLimitBytes: 1024 * 1024 },
};
const all = { ...none, shellJob: true, tcpEstablished: true, fileLocks: true, linkRemap: true, externalUnix: true };

for (const [name, options] of Object.entries({ "no option": none, "all options": all })) {
  test(`the understudy can be frozen and read, again and again, with ${name}`, () => {
    const understudy = Understudy.start();
    try {
      for (let time = 0; time < 3; time++) understudy.rehearse(options, hangMs);
      const status = readFileSync(`/proc/${understudy.pid}/status`, "latin1");
      assert.match(status, /^TracerPid:\t0$/m);
      assert.equal(threadsOf(understudy.pid).length, 8);
    } finally {
      understudy[Symbol.dispose]();
    }
    assert.ok(isGone(understudy.pid));
  });
}

test("a process rehearses once, and leaves no child", () => {
  const before = childrenOf(process.pid);
  for (let time = 0; time < 2; time++) {
    const rehearsal = new Rehearsal();
    assert.equal(childrenOf(process.pid).length, before.length + (time === 0 ? 1 : 0));
    if (time === 0) rehearsal.run(none);
    rehearsal[Symbol.dispose]();
    assert.deepEqual(childrenOf(process.pid), before);
  }
});

test("the understudy ends with who started it, also where that one is killed while it stands", async () => {
  const script = `
    const { Understudy } = require(${JSON.stringify(join(repositoryRoot, "dist/src/task/dump/rehearsal.js"))});
    const { FrozenTree } = require(${JSON.stringify(join(repositoryRoot, "dist/src/task/dump/freeze.js"))});
    const one = Understudy.start();
    one.rehearse(${JSON.stringify(none)}, ${hangMs});
    if (process.argv[1] === "frozen") FrozenTree.freeze(one.pid, ${hangMs});
    console.log(one.pid);
    setInterval(() => {}, 1000);`;
  for (const how of ["running", "frozen"]) {
    const child = spawn(process.execPath, ["-e", script, how], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const pid = Number(line.toString());
    assert.equal(processStat(pid)?.state, how === "frozen" ? "t" : "S");
    child.kill("SIGKILL");
    await once(child, "exit");
    await waitFor("the understudy to end", () => isGone(pid) || processStat(pid)?.state === "Z");
  }
});

test("started by another than it is told, the understudy ends at once", () => {
  const program = join(repositoryRoot, "build/Release/faultline-understudy");
  assert.throws(() => execFileSync(program, ["1"], { timeout: hangMs }), { status: 1 });
});

for (const [what, spawned] of [
  ["no process can be made", "() => -11"],
  ["another program answers", "(path, argument) => spawnAside('/bin/true', argument)"],
] as const) {
  test(`where ${what}, a dump does without a rehearsal`, async () => {
    await withTempDir("dump-alone", (images) =>
      withProgram("heap", async (program) => {
        const script = `
          const { native } = require(${JSON.stringify(join(repositoryRoot, "dist/src/native.js"))});
          const { dump } = require(${JSON.stringify(join(repositoryRoot, "dist/src/task/dump/dump.js"))});
          const { spawnAside } = native;
          native.spawnAside = ${spawned};
          dump({ pid: Number(process.argv[1]), directory: process.argv[2], after: "run" });`;
        execFileSync(process.execPath, ["-e", script, String(program.pid), images.join("img")], { timeout: hangMs });
        assert.deepEqual(verifyDirectory(images.join("img")).findings, []);
        program.go();
        assert.equal(await program.verdict(), "PASS");
      }),
    );
  });
}
