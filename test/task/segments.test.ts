// System V segments that outlive the program between dump and restore. One that does not is in test/programs.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { dump } from "../../src/task/dump/dump";
import { Restorer } from "../../src/task/restore/restore";
import { parseSegments, systemVSegments } from "../../src/task/segments";
import { type Program, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";

/** Dumps `sysv_shared_memory kept`, runs `between`, restores, and gives the verdict. The segment is always removed. */
async function afterRestore(between: (id: number) => void): Promise<string> {
  const body = (program: Program) =>
    withTempDir("segments", async (images) => {
      const id = Number(readFileSync(program.scratch.join("segment"), "latin1"));
      const restorer = new Restorer();
      try {
        await dump({ pid: program.pid, directory: images.path });
        await program.gone();
        assert.equal(systemVSegments().get(id)?.attached, 0);
        between(id);
        const result = await restorer.restore({ imagesDir: images.path, eager: true });
        program.remember();
        program.go();
        const verdict = await program.verdict();
        await result.waitExit();
        return verdict;
      } finally {
        await restorer.close();
        if (systemVSegments().has(id)) spawnSync("ipcrm", ["-m", String(id)]);
      }
    });
  return withProgram("sysv_shared_memory", body, { arguments: ["kept"] });
}

test("a segment that outlived the dumped program is attached again, with the dump's content", async () => {
  assert.equal(await afterRestore(() => undefined), "PASS");
});

test("a segment that was removed since is made again under its id and key", async () => {
  const verdict = await afterRestore((id) => {
    assert.equal(spawnSync("ipcrm", ["-m", String(id)]).status, 0);
    assert.ok(!systemVSegments().has(id));
  });
  assert.equal(verdict, "PASS");
});

test("a key that another segment has taken meanwhile is refused, and nothing is left", async () => {
  let other = -1;
  const taken = afterRestore((id) => {
    const key = systemVSegments().get(id)?.key ?? 0;
    const make = `use IPC::SysV; print shmget(${key}, 4096, 01600)`;
    assert.equal(spawnSync("ipcrm", ["-m", String(id)]).status, 0);
    other = Number(spawnSync("perl", ["-e", make], { encoding: "utf8" }).stdout);
    assert.equal(systemVSegments().get(other)?.key, key);
    if (other === id) throw new Error("the same id was given again");
  });
  try {
    await assert.rejects(taken, /System V segment \d+: its (key|id) is taken/);
  } finally {
    spawnSync("ipcrm", ["-m", String(other)]);
  }
});

test("the list of segments is read by its column names", () => {
  const text = `       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime
 -167772160         29  1640                 40000  1534  1534      2     1     2     3     4          0
`;
  assert.deepEqual(parseSegments(text).get(29), {
    ...{ id: 29, key: 0xf6000000, mode: 0o1640, bytes: 40000, attached: 2 },
    ...{ uid: 1, gid: 2, creatorUid: 3, creatorGid: 4 },
  });
});
