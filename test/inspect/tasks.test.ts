// The process tree, command lines, environments and registers of the fixtures.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { threadRegisters } from "../../src/inspect/registers";
import { environment, listTasks } from "../../src/inspect/tasks";
import { registersText } from "../../src/inspect/textRegisters";
import { tasksText } from "../../src/inspect/textTasks";
import {
  type CritTask,
  type CritVma,
  critEntries,
  critRuns,
  type FixtureName,
  fixtureImages,
  fixtureNames,
} from "./fixtures";

const commandLines: Readonly<Record<FixtureName, readonly string[]>> = {
  patchwork: ["./patchwork", "/srv/fixture/patchwork.dat"],
  "python-http": ["/usr/bin/python3", "server.py"],
  redis: ["redis-server *:7781"],
};

for (const name of fixtureNames) {
  test(`ps of ${name}: tasks, threads and sizes are those of crit's decoding`, () => {
    using checkpoint = Checkpoint.open(fixtureImages(name));
    const tasks = listTasks(checkpoint);
    const expected = critEntries<CritTask>(name, "pstree.img");
    assert.deepEqual(new Set(tasks.map((task) => task.pid)), new Set(expected.map((task) => task.pid)));
    for (const { pid, ppid, threads } of expected) {
      const task = tasks.find((each) => each.pid === pid)!;
      assert.equal(task.parentPid, ppid);
      if (task.state === "dead") continue;
      assert.deepEqual(
        task.threads.map((thread) => thread.threadId),
        threads,
      );
      const [mm] = critEntries<{ vmas: CritVma[] }>(name, `mm-${pid}.img`);
      const virtual = mm!.vmas.reduce((sum, vma) => sum + (BigInt(vma.end) - BigInt(vma.start)), 0n);
      assert.equal(task.virtualBytes, Number(virtual));
      const { runs } = critRuns(name, `pagemap-${pid}.img`);
      const pages = (flag: string) => runs.reduce((sum, run) => sum + (run.flags.includes(flag) ? run.nr_pages : 0), 0);
      assert.equal(task.pagesBytes, pages("PE_PRESENT") * 4096);
      assert.equal(task.lazyBytes, pages("PE_LAZY") * 4096);
      assert.equal(task.storedBytes, pages("PE_PRESENT") * 4096);
    }
    assert.deepEqual(tasks[0]!.commandLine, commandLines[name]);
  });

  test(`regs of ${name}: every thread's registers are those of crit's decoding`, () => {
    using checkpoint = Checkpoint.open(fixtureImages(name));
    for (const { pid, dead } of checkpoint.tasks) {
      const threads = threadRegisters(checkpoint, pid);
      if (dead) assert.equal(threads.length, 0);
      for (const thread of threads) {
        const [core] = critEntries<{
          thread_info: { gpregs: Record<string, string>; fpregs: { xmm_space: number[] } };
        }>(name, `core-${thread.threadId}.img`);
        const { gpregs, fpregs } = core!.thread_info;
        for (const [register, value] of Object.entries(thread.registers)) {
          assert.equal(value, BigInt(gpregs[register]!), `${thread.threadId} ${register}`);
        }
        assert.deepEqual(thread.floating.sse, fpregs.xmm_space);
      }
    }
  });
}

test("a thread's place is told as file and offset, where objdump finds it", () => {
  using checkpoint = Checkpoint.open(fixtureImages("redis"));
  const [leader] = threadRegisters(checkpoint, 15853);
  // epoll_wait's return address in Debian 12's libc, behind its syscall instruction.
  assert.equal(leader!.location, "/usr/lib/x86_64-linux-gnu/libc.so.6+0x108f36");
  assert.match(
    registersText([leader!]),
    /^15853 redis-server at \/usr\/lib\/x86_64-linux-gnu\/libc\.so\.6\+0x108f36\n {5}rip 00007fa3a17adf36/,
  );
});

test("the tree of patchwork shows a child, two threads and a zombie with its exit code", () => {
  using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
  const tasks = listTasks(checkpoint);
  assert.deepEqual(
    tasks.map(({ pid, depth, state, exitStatus, command }) => ({ pid, depth, state, exitStatus, command })),
    [
      { pid: 15808, depth: 0, state: "alive", exitStatus: undefined, command: "patchwork" },
      { pid: 15812, depth: 1, state: "alive", exitStatus: undefined, command: "patch-child" },
      { pid: 15813, depth: 1, state: "dead", exitStatus: 3 << 8, command: "patchwork" },
    ],
  );
  assert.deepEqual(
    tasks[0]!.threads.map((thread) => thread.name),
    ["patchwork", "patch-one", "patch-two"],
  );
  assert.equal(
    tasksText(tasks),
    [
      "  PID  STATE          VIRTUAL    PAGES     LAZY   STORED  COMMAND",
      "15808  alive         85.9 MiB  3.3 MiB  3.3 MiB  3.3 MiB  ./patchwork /srv/fixture/patchwork.dat",
      "15810  thread                                             │  {patch-one}",
      "15811  thread                                             │  {patch-two}",
      "15812  alive         85.9 MiB  3.3 MiB  3.3 MiB  3.3 MiB  ├─ ./patchwork /srv/fixture/patchwork.dat",
      "15813  dead, exit 3         0        0        0        0  └─ [patchwork]",
      "",
    ].join("\n"),
  );
});

test("env reads NAME=value pairs from the dumped stack, and none where a program wrote its title over them", () => {
  using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
  assert.deepEqual(environment(checkpoint, 15808), ["PATH=/usr/bin:/bin", "HOME=/", "LANG=C"]);
  assert.deepEqual(environment(checkpoint, 15813), []);
  using redis = Checkpoint.open(fixtureImages("redis"));
  assert.deepEqual(environment(redis, 15853), []);
});

test("a pid that the image does not have is an error that names those it has", () => {
  using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
  assert.throws(
    () => threadRegisters(checkpoint, 4711),
    (error) => error instanceof FaultlineError && error.code === "NOT_FOUND" && error.line().includes("15808"),
  );
});
