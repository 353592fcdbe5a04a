// What `faultline lazy-pages` does when something breaks under a real `criu restore --lazy-pages`: the declared policy,
// an error that names the file, nothing hung.
import assert from "node:assert/strict";
import {
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { test } from "node:test";
import { ImageDirectory } from "../../src/images/directory";
import { criuDump, criuRestore } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { packBeside } from "../support/packedPages";
import { isGone } from "../support/processes";
import { type Program, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";

type Body = (program: Program, images: TempDir, daemon: FaultlineLazyPages) => Promise<void>;

/** Dumps random_touches (16 MiB, touching nothing before `go`), restores it lazily, and runs `body` while it is lazy. */
async function whileLazy(options: readonly string[], body: Body): Promise<void> {
  await withDaemon(options, async (program, images, daemon) => {
    await criuRestore(images.path, [], true);
    await body(program, images, daemon);
  });
}

/** Dumps random_touches and runs `body` while the daemon listens. */
async function withDaemon(options: readonly string[], body: Body): Promise<void> {
  await withTempDir("lazy", (images) =>
    withProgram(
      "random_touches",
      async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        const daemon = await FaultlineLazyPages.start(images.path, ["--stay-lazy", ...options]);
        try {
          await body(program, images, daemon);
        } finally {
          await daemon.stop();
        }
      },
      { arguments: ["16", "1"] },
    ),
  );
}

/** The task's own memory: the largest page file. */
function pagesFile(images: TempDir): string {
  const names = readdirSync(images.path).filter((name) => /^pages-\d+\.img$/.test(name));
  const bySize = names.sort((a, b) => statSync(images.join(b)).size - statSync(images.join(a)).size);
  return images.join(bySize[0]!);
}

for (const [policy, signal] of [
  ["kill", "SIGKILL"],
  ["poison", "SIGBUS"],
] as const) {
  test(`a page file cut short ends the task under --on-error ${policy} (${signal}), and the error names the file`, async () => {
    await whileLazy(["--on-error", policy], async (program, images, daemon) => {
      truncateSync(pagesFile(images), 4096 * 64);
      program.go();
      assert.match(await program.verdict(), /^FAIL ended without a verdict/);
      assert.equal(await daemon.exited, 1);
      assert.match(daemon.messages, /pages-\d+\.img/);
      assert.match(daemon.messages, /ends early/);
    });
  });
}

test("a damaged block of a packed file ends the task, and the error names file and offset", async () => {
  await withTempDir("lazy", (images) =>
    withProgram(
      "random_touches",
      async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        const [file] = await packBeside(images.path);
        const fd = openSync(file!, "r+");
        for (let at = 200_000; at < 4_000_000; at += 20_000) writeSync(fd, "damage", at);
        closeSync(fd);
        const daemon = await FaultlineLazyPages.start(images.path, ["--stay-lazy"]);
        try {
          await criuRestore(images.path, [], true);
          program.go();
          assert.match(await program.verdict(), /^FAIL ended without a verdict/);
          assert.equal(await daemon.exited, 1);
          assert.match(daemon.messages, /wrong checksum \(\S*pagez-\d+\.img, offset \d+/);
        } finally {
          await daemon.stop();
        }
      },
      { arguments: ["16", "1"] },
    ),
  );
});

/** Damages the stored blocks of [address, address + pageCount pages) in the packed file of the task. */
function damageBlocks(images: TempDir, pid: number, address: number, pageCount: number): void {
  using directory = ImageDirectory.open(images.path);
  const index = directory.pageIndex(pid);
  for (const { block } of index.pieces(address / 4096, address / 4096 + pageCount)) {
    const fd = openSync(block!.file, "r+");
    writeSync(fd, "damage", block!.offset);
    closeSync(fd);
  }
}

test("copies made by fork that nobody knows by pid are killed each, orphans too, and nobody else", async () => {
  await withTempDir("lazy", (images) =>
    withProgram(
      "lazy_orphans",
      async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        await packBeside(images.path);
        damageBlocks(images, program.pid, 0x300000000000, 256);
        const daemon = await FaultlineLazyPages.start(images.path, ["--stay-lazy"]);
        try {
          await criuRestore(images.path, [], true);
          program.go();
          assert.equal(await program.verdict(), "PASS", daemon.messages);
          assert.equal(await daemon.exited, 1);
          assert.match(daemon.messages, /wrong checksum \(\S*pagez-\d+\.img, offset \d+/);
        } finally {
          await daemon.stop();
        }
      },
      { arguments: ["killed"] },
    ),
  );
});

test("under --on-error wait the task stays parked until the page file is whole again, and then passes", async () => {
  await whileLazy(["--on-error", "wait"], async (program, images, daemon) => {
    const file = pagesFile(images);
    copyFileSync(file, `${file}.whole`);
    truncateSync(file, 4096 * 64);
    program.go();
    await sleep(300);
    assert.equal(program.verdictNow(), undefined);
    // Into the same file: the daemon has it open.
    copyFileSync(`${file}.whole`, file);
    assert.equal(await program.verdict(), "PASS", daemon.messages);
  });
});

test("a page file that vanishes is still served from the open descriptor", async () => {
  await whileLazy([], async (program, images, daemon) => {
    unlinkSync(pagesFile(images));
    program.go();
    assert.equal(await program.verdict(), "PASS", daemon.messages);
    await daemon.finished();
  });
});

test("a restored task that is killed ends its session; nothing is left open", async () => {
  await whileLazy([], async (program, _images, daemon) => {
    process.kill(program.pid, "SIGKILL");
    const report = await daemon.finished();
    assert.equal(report.sessions[0]!.contexts[0]!.state, "exited");
    assert.ok(report.sessions[0]!.missingPages === 0);
  });
});

test("a stopped and continued task is served on", async () => {
  await whileLazy([], async (program, _images, daemon) => {
    process.kill(program.pid, "SIGSTOP");
    await sleep(100);
    process.kill(program.pid, "SIGCONT");
    program.go();
    assert.equal(await program.verdict(), "PASS", daemon.messages);
    await daemon.finished();
  });
});

test("a stopped daemon parks the task, and serves it when continued", async () => {
  await whileLazy([], async (program, _images, daemon) => {
    daemon.signal("SIGSTOP");
    program.go();
    await sleep(200);
    assert.equal(program.verdictNow(), undefined);
    daemon.signal("SIGCONT");
    assert.equal(await program.verdict(), "PASS", daemon.messages);
    await daemon.finished();
  });
});

test("SIGTERM with pages missing kills the task rather than let it run on with zeros", async () => {
  await whileLazy([], async (program, _images, daemon) => {
    await waitFor("the hand-over to end", () => daemon.messages.includes("the transfer begins"));
    daemon.signal("SIGTERM");
    await stoppedWithoutZeros(program, daemon);
  });
});

test("SIGTERM before the daemon has looked at what the restore sent kills the task too", async () => {
  await withDaemon([], async (program, images, daemon) => {
    daemon.signal("SIGSTOP");
    const restored = criuRestore(images.path, [], true).catch(() => undefined);
    // CRIU itself needs a page of the task, in its last steps: it waits for the daemon.
    await waitFor("the task to wait for a page", () => waitsForPage(program.pid));
    daemon.signal("SIGTERM");
    daemon.signal("SIGCONT");
    await stoppedWithoutZeros(program, daemon);
    await restored;
  });
});

/** Whether the process waits in the kernel for a userfaultfd's owner (wchan of proc(5)). */
function waitsForPage(pid: number): boolean {
  return !isGone(pid) && readFileSync(`/proc/${pid}/wchan`, "latin1") === "handle_userfault";
}

async function stoppedWithoutZeros(program: Program, daemon: FaultlineLazyPages): Promise<void> {
  assert.equal(await daemon.exited, 1);
  await waitFor("the task to be gone", () => isGone(program.pid));
  assert.equal(program.verdictNow(), undefined);
  assert.match(daemon.messages, /session 1 failed .*; the pager was stopped with pages missing/m);
}

test("kill -9 of the daemon does not become zeros: the watchdog kills the task", async () => {
  await whileLazy([], async (program, _images, daemon) => {
    daemon.signal("SIGKILL");
    await waitFor("the task to be gone", () => isGone(program.pid));
    assert.equal(program.verdictNow(), undefined);
  });
});

test("SIGUSR1 prints a JSON summary while serving", async () => {
  await whileLazy([], async (program, _images, daemon) => {
    daemon.signal("SIGUSR1");
    const line = await waitFor("the summary", () => daemon.lines()[0]);
    const report = JSON.parse(line) as { sessions: { missingPages: number }[] };
    assert.ok(report.sessions[0]!.missingPages > 3000);
    program.go();
    assert.equal(await program.verdict(), "PASS");
    await daemon.finished();
  });
});

test("without a restore the daemon ends after --timeout, in one line", async () => {
  await withTempDir("lazy", (images) =>
    withProgram("heap", async (program) => {
      await criuDump(program.pid, images.path);
      const daemon = await FaultlineLazyPages.start(images.path, ["--timeout", "0.3"]);
      assert.equal(await daemon.exited, 1);
      assert.match(daemon.messages.trim().split("\n").pop()!, /^faultline: no restore connected within 0.3 s/);
    }),
  );
});

test("--keep serves one restore after another, each as a session of its own", async () => {
  await withTempDir("lazy", (images) =>
    withProgram("heap", async (program) => {
      await criuDump(program.pid, images.path);
      await program.gone();
      const daemon = await FaultlineLazyPages.start(images.path, ["--keep"]);
      try {
        for (let round = 0; round < 3; round++) {
          program.again();
          await criuRestore(images.path, [], true);
          program.go();
          assert.equal(await program.verdict(), "PASS", daemon.messages);
          await waitFor("the task to be gone", () => isGone(program.pid));
        }
        await waitFor("the sessions to end", () => daemon.messages.match(/session 3 done/) !== null);
        daemon.signal("SIGTERM");
        const report = await daemon.finished();
        assert.deepEqual(
          report.sessions.map((session) => session.state),
          ["done", "done", "done"],
        );
      } finally {
        await daemon.stop();
      }
    }),
  );
});
