// Waiting on the real kernel's descriptors, and what its userfaultfd can do. Installs are held by test/model.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { native } from "../../src/native";
import { LAYOUT_FEATURES, probeUffd } from "../../src/uffd/features";
import { KernelUffd } from "../../src/uffd/kernelUffd";
import { KernelWaiter } from "../../src/uffd/kernelWaiter";

test("the kernel has the events that a lazy restore needs", () => {
  const abilities = probeUffd();
  assert.ok(abilities.layoutEvents);
  assert.equal(abilities, probeUffd());
});

test("an interrupt from before or during a wait is reported once", () => {
  using waiter = new KernelWaiter();
  waiter.interrupt();
  waiter.interrupt();
  assert.equal(waiter.wait(1_000_000).control, true);
  assert.equal(waiter.wait(0).control, false);
});

test("a wait with nothing ready ends after its time, and not before", () => {
  using waiter = new KernelWaiter(0);
  const start = waiter.nowUs();
  const result = waiter.wait(3000);
  assert.ok(waiter.nowUs() - start >= 3000);
  assert.deepEqual([result.readable.length, result.exited.length, result.control], [0, 0, false]);
});

test("the exit of a process is reported with its token, kill() reaches it, and it is not reported once removed", async () => {
  using waiter = new KernelWaiter();
  const child = spawn("sleep", ["600"], { stdio: "ignore", detached: true });
  const exited = new Promise((done) => child.once("exit", done));
  const pidfd = native.pidfdOpen(child.pid!);
  waiter.addPidfd(pidfd, 42);
  assert.deepEqual(waiter.wait(0).exited, []);
  waiter.kill(42);
  assert.deepEqual([...waiter.wait(10_000_000).exited], [42]);
  waiter.removePidfd(42);
  assert.deepEqual([...waiter.wait(0).exited], []);
  native.closeDescriptor(pidfd);
  await exited;
});

test("a fresh context has no messages, is not readable, and closes once", () => {
  using waiter = new KernelWaiter();
  const uffd = KernelUffd.create(LAYOUT_FEATURES);
  waiter.add(uffd);
  assert.deepEqual(uffd.read(), []);
  assert.deepEqual([...waiter.wait(0).readable], []);
  waiter.remove(uffd);
  uffd.close();
  uffd.close();
  assert.throws(() => KernelUffd.adopt(-1), RangeError);
});

test("installs outside any registered mapping are gone, and impossible ranges are refused before the kernel", () => {
  using uffd = KernelUffd.create(0);
  assert.deepEqual(uffd.installZero(2 ** 35 - 2, 1), { kind: "gone" });
  assert.deepEqual(uffd.installBytes(2 ** 35 - 2, new Uint8Array(4096), 1), { kind: "gone" });
  assert.throws(() => uffd.installZero(-1, 1), RangeError);
  assert.throws(() => uffd.installZero(1, 0), RangeError);
  assert.throws(() => uffd.installBytes(100, new Uint8Array(10), 1), RangeError);
});
