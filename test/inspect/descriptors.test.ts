// Descriptors of the fixtures: kinds, targets, positions, other ends, and who shares them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { addressText } from "../../src/inspect/describeFile";
import { type Descriptor, taskDescriptors } from "../../src/inspect/descriptors";
import { signalName } from "../../src/inspect/signals";
import { critEntries, fixtureImages, fixtureNames } from "./fixtures";

function descriptorsOf(name: (typeof fixtureNames)[number], pid: number): Map<number, Descriptor> {
  using checkpoint = Checkpoint.open(fixtureImages(name));
  const task = taskDescriptors(checkpoint).find((each) => each.pid === pid)!;
  return new Map(task.descriptors.map((descriptor) => [descriptor.fd, descriptor]));
}

for (const name of fixtureNames) {
  test(`fds of ${name}: numbers and flags are those of crit's decoding`, () => {
    using checkpoint = Checkpoint.open(fixtureImages(name));
    const [task] = taskDescriptors(checkpoint);
    const expected = critEntries<{ id: number; fd: number; flags: number }>(name, "fdinfo-2.img");
    assert.deepEqual(
      task!.descriptors.map(({ fd, fileId, closeOnExec }) => ({ fd, id: fileId, flags: closeOnExec ? 1 : 0 })),
      expected.map(({ fd, id, flags }) => ({ fd, id, flags })),
    );
    assert.ok(task!.descriptors.every((descriptor) => descriptor.kind !== "unknown"));
  });
}

test("patchwork: one of almost every kind, each in words", () => {
  const fds = descriptorsOf("patchwork", 15808);
  const told = [...fds.values()].map(({ fd, kind, target }) => `${fd} ${kind} ${target}`);
  assert.deepEqual(told, [
    "0 file /dev/null",
    "1 file /srv/fixture/patchwork.out",
    "2 file /srv/fixture/patchwork.out",
    "3 memfd memfd:patchwork-memfd",
    "4 file /srv/fixture/patchwork.dat",
    "5 pipe pipe:[70343] read end",
    "6 pipe pipe:[70343] write end",
    "7 unix unix stream [70344] established",
    "8 unix unix stream [70345] established",
    "9 inet tcp 127.0.0.1:58879 listen",
    "10 file /dev/null",
    "11 eventfd eventfd count 7",
    "12 eventpoll eventpoll watching fd 11, 5",
    "13 timerfd timerfd in 3598.922 s, every 10 s",
    "14 signalfd signalfd SIGUSR2, SIGRTMIN",
    "251 pipe pipe:[70876] write end",
  ]);
  assert.equal(fds.get(1)!.position, 6);
  assert.equal(fds.get(1)!.access, "w");
  assert.equal(fds.get(5)!.queuedBytes, 22);
});

test("patchwork: pipes and sockets know their other ends in both tasks, and files who shares them", () => {
  const [parent, child] = [descriptorsOf("patchwork", 15808), descriptorsOf("patchwork", 15812)];
  assert.deepEqual(parent.get(6)!.peers, [
    { pid: 15808, fd: 5 },
    { pid: 15812, fd: 5 },
  ]);
  // The child closed its write end; the one that feeds its read end is the parent's.
  assert.equal(child.get(6), undefined);
  assert.deepEqual(child.get(5)!.peers, [{ pid: 15808, fd: 6 }]);
  assert.deepEqual(parent.get(7)!.peers, [
    { pid: 15808, fd: 8 },
    { pid: 15812, fd: 8 },
  ]);
  assert.deepEqual(parent.get(1)!.sharedWith, [
    { pid: 15808, fd: 2 },
    { pid: 15812, fd: 1 },
    { pid: 15812, fd: 2 },
  ]);
  assert.deepEqual(parent.get(251)!.peers, []);
});

test("addresses and signals in the usual notation", () => {
  assert.equal(addressText([0x0100007f], false), "127.0.0.1");
  assert.equal(addressText([0, 0, 0, 0x01000000], true), "[::1]");
  assert.equal(addressText([0xb80d0120, 0, 0, 0x02000000], true), "[2001:db8::2]");
  assert.equal(addressText([0, 0, 0, 0], true), "[::]");
  assert.deepEqual(
    [signalName(6), signalName(15), signalName(34), signalName(36), signalName(64)],
    ["SIGABRT", "SIGTERM", "SIGRTMIN", "SIGRTMIN+2", "SIGRTMIN+30"],
  );
});
