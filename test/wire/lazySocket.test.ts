// Holds the framing of CRIU's lazy-pages socket: whatever a peer sends, in whatever pieces, ends in calls or one error.
import assert from "node:assert/strict";
import { existsSync, openSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import type { FaultlineError } from "../../src/errors";
import { native } from "../../src/native";
import { type LazyRestore, LazySocket, type LazySocketOptions } from "../../src/wire/lazySocket";
import { findPeerTask } from "../../src/wire/peerTask";
import { type TempDir, withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";

const FIN = 0x52535446;

class Recorder implements LazyRestore {
  readonly calls: string[] = [];
  async task(pid: number, uffd: number): Promise<void> {
    this.calls.push(`task ${pid}`);
    assert.equal(native.closeDescriptor(uffd), 0);
  }
  deadTask(pid: number): void {
    this.calls.push(`dead ${pid}`);
  }
  async finished(): Promise<void> {
    this.calls.push("finished");
  }
  async failed(error: FaultlineError): Promise<void> {
    this.calls.push(`failed ${error.code}`);
  }
}

function listen(dir: TempDir, options: Partial<LazySocketOptions> = {}): { socket: LazySocket; restores: Recorder[] } {
  const restores: Recorder[] = [];
  const socket = LazySocket.listen({
    workDir: dir.path,
    connectTimeoutMs: 20_000,
    messageTimeoutMs: 20_000,
    once: true,
    connected: () => {
      restores.push(new Recorder());
      return restores[restores.length - 1]!;
    },
    ...options,
  });
  return { socket, restores };
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}

/** A restoring side: sends `parts` one after the other, a descriptor for "fd", and hangs up. */
async function peer(dir: TempDir, parts: readonly (Uint8Array | "fd")[], pauseMs = 0): Promise<void> {
  const fd = native.unixConnect(dir.join("lazy-pages.socket"));
  assert.ok(fd >= 0, `connect: ${fd}`);
  const sent = openSync("/dev/null", "r");
  for (const part of parts) {
    if (part === "fd") assert.equal(native.sendDescriptors(fd, new Uint8Array(1), Int32Array.of(sent)), 1);
    else native.socketSend(fd, part, 0, part.length);
    if (pauseMs > 0) await sleep(pauseMs);
  }
  native.closeDescriptor(sent);
  native.closeDescriptor(fd);
}

test("tasks, dead tasks and FIN arrive as sent, and the socket file is gone afterwards", async () => {
  await withTempDir("wire", async (dir) => {
    const { socket, restores } = listen(dir);
    await peer(dir, [word(100), "fd", word(-101), word(102), "fd", word(FIN)]);
    await socket.serve();
    assert.deepEqual(restores[0]!.calls, ["task 100", "dead 101", "task 102", "finished"]);
    assert.ok(!existsSync(dir.join("lazy-pages.socket")));
  });
});

test("words may come byte by byte, and a descriptor long after its pid", async () => {
  await withTempDir("wire", async (dir) => {
    const { socket, restores } = listen(dir);
    const serving = socket.serve();
    const bytes = [...word(77)].map((byte) => Uint8Array.of(byte));
    await peer(dir, [...bytes, "fd", word(FIN)], 3);
    await serving;
    assert.deepEqual(restores[0]!.calls, ["task 77", "finished"]);
  });
});

for (const [what, parts, code] of [
  ["a peer that hangs up before FIN", [word(5), "fd"], "PEER"],
  ["a peer that hangs up inside a word", [word(5).subarray(0, 2)], "PEER"],
  ["a peer that hangs up between pid and descriptor", [word(5)], "PEER"],
  ["a pid without a descriptor", [word(5), Uint8Array.of(0), word(FIN)], "PEER"],
  ["pid 0", [word(0), word(FIN)], "PEER"],
] as const) {
  test(`${what} fails the restore in one error`, async () => {
    await withTempDir("wire", async (dir) => {
      const { socket, restores } = listen(dir);
      await peer(dir, parts);
      await socket.serve();
      assert.equal(restores[0]!.calls.pop(), `failed ${code}`);
      assert.ok(restores[0]!.calls.every((call) => call.startsWith("task")));
    });
  });
}

test("a silent peer is given up after the timeout", async () => {
  await withTempDir("wire", async (dir) => {
    const { socket, restores } = listen(dir, { messageTimeoutMs: 50 });
    const fd = native.unixConnect(dir.join("lazy-pages.socket"));
    await socket.serve();
    assert.deepEqual(restores[0]!.calls, ["failed TIMEOUT"]);
    native.closeDescriptor(fd);
  });
});

test("stop() takes what has arrived, of those too that nobody has accepted yet; what is incomplete fails", async () => {
  for (const once of [true, false]) {
    await withTempDir("wire", async (dir) => {
      const { socket, restores } = listen(dir, { once });
      await peer(dir, [word(1), "fd", word(FIN)]);
      await peer(dir, [word(2), "fd", word(3), "fd", word(FIN).subarray(0, 3)]);
      const waiting = native.unixConnect(dir.join("lazy-pages.socket"));
      native.socketSend(waiting, word(4), 0, 4);
      socket.stop();
      await socket.serve();
      assert.deepEqual(
        restores.map((restore) => restore.calls),
        [["task 1", "finished"], ["task 2", "task 3", "failed ABORTED"], ["failed ABORTED"]],
      );
      native.closeDescriptor(waiting);
    });
  }
});

test("who connected before the first restore was accepted is served too; nobody can connect after", async () => {
  await withTempDir("wire", async (dir) => {
    const { socket, restores } = listen(dir);
    await peer(dir, [word(1), "fd", word(FIN)]);
    await peer(dir, [word(2), "fd", word(FIN)]);
    await socket.serve();
    assert.deepEqual(
      restores.map((restore) => restore.calls),
      [
        ["task 1", "finished"],
        ["task 2", "finished"],
      ],
    );
    assert.ok(native.unixConnect(dir.join("lazy-pages.socket")) < 0);
  });
});

test("a socket that another daemon serves is refused; one that nobody serves any more is replaced", async () => {
  await withTempDir("wire", async (dir) => {
    const { socket } = listen(dir, { once: false });
    assert.throws(() => listen(dir), { code: "BUSY" });
    socket.stop();
    await socket.serve();
    const abandoned = native.unixListen(dir.join("lazy-pages.socket"), 1);
    native.closeDescriptor(abandoned);
    const again = listen(dir);
    again.socket.stop();
    await again.socket.serve();
    writeFileSync(dir.join("lazy-pages.socket"), "not a socket");
    assert.throws(() => listen(dir), { code: "BUSY" });
  });
});

test("several restores at once are kept apart", async () => {
  await withTempDir("wire", async (dir) => {
    const { socket, restores } = listen(dir, { once: false });
    const serving = socket.serve();
    const count = 8;
    await Promise.all(Array.from({ length: count }, (_, i) => peer(dir, [word(i + 1), "fd", word(FIN)], 2)));
    await waitFor(
      "all to finish",
      () => restores.filter((restore) => restore.calls.includes("finished")).length === count,
    );
    const pids = restores.map((restore) => restore.calls[0]).sort();
    assert.deepEqual(
      pids,
      Array.from({ length: count }, (_, i) => `task ${i + 1}`),
    );
    socket.stop();
    await serving;
  });
});

test("any bytes at all end in calls and at most one error", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.constant("fd" as const), fc.uint8Array({ maxLength: 9 })), { maxLength: 8 }),
      async (parts) => {
        await withTempDir("wire", async (dir) => {
          const { socket, restores } = listen(dir);
          await peer(
            dir,
            parts.filter((part) => part === "fd" || part.length > 0),
          );
          await socket.serve();
          const ends = restores[0]!.calls.filter((call) => /^(finished|failed)/.test(call));
          assert.equal(ends.length, 1, restores[0]!.calls.join());
        });
      },
    ),
    { numRuns: 60 },
  );
});

test("a task is found among the descendants of the peer by the pid it has for itself", () => {
  assert.equal(findPeerTask(process.ppid, process.pid), process.pid);
  assert.equal(findPeerTask(process.pid, process.ppid), 0);
  assert.equal(findPeerTask(0, 1), 0);
});
