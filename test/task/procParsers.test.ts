// The parsers of /proc on texts with the awkward cases in them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { vmaStatus } from "../../src/images/vmaStatus";
import { parseLimits } from "../../src/task/dump/coreImage";
import { parseEpollTargets, parseInotifyWatches } from "../../src/task/dump/descriptors/simple";
import { parseFileLocks } from "../../src/task/dump/fileLocks";
import { type ImageRun, wantedRuns } from "../../src/task/dump/memory";
import { mergeRuns, withoutZeroPages } from "../../src/task/dump/pageImages";
import { parsePosixTimers } from "../../src/task/dump/taskState";
import { classifyMappings } from "../../src/task/dump/vmas";
import { parseMappings, parseStat } from "../../src/task/proc";

test("a command with spaces and parentheses does not shift the fields of stat", () => {
  const stat = parseStat(`42 (a) b (c)) S 1 42 7 34816 42 4194560 ${"0 ".repeat(42)}`);
  assert.deepEqual(
    [stat.pid, stat.comm, stat.state, stat.ppid, stat.pgrp, stat.session],
    [42, "a) b (c)", "S", 1, 42, 7],
  );
});

const smaps = `00400000-00401000 r-xp 00001000 fd:00 12   /tmp/with space
Rss:                   4 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0000002000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
VmFlags: rd wr sh mr mw me ms
7f0000010000-7f0000014000 r--p 00000000 00:00 0                          [vvar]
VmFlags: rd mr pf io de dd
7f0000014000-7f0000016000 r--p 00000000 00:00 0                          [vvar_vclock]
VmFlags: rd mr pf io de dd
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
VmFlags: rd wr mr mw me gd ac
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
VmFlags: ex
`;

test("mappings get their kinds, the vvar area is one, and the stack grows down", () => {
  const vmas = classifyMappings(parseMappings(smaps));
  assert.deepEqual(
    vmas.map((vma) => vma.kind),
    ["file-private", "shared-anonymous", "vvar", "anonymous", "vsyscall"],
  );
  assert.equal(vmas[0]?.mapping.path, "/tmp/with space");
  assert.equal(vmas[2]?.end, 0x7f0000016000n);
  assert.equal(vmas[3]?.flags, 0x122);
  assert.equal(vmas[4]?.status, vmaStatus.vsyscall | vmaStatus.anonPrivate);
  assert.deepEqual(
    vmas.map((vma) => vma.lazy),
    [false, false, false, true, false],
  );
});

test("of a mapping's fields those are read that matter", () => {
  const text =
    "7f0000000000-7f0000400000 rw-s 00000000 00:10 77                         /memfd:huge (deleted)\n" +
    "Size:               4096 kB\nKernelPageSize:     2048 kB\nMMUPageSize:        4 kB\nRss:                   0 kB\n" +
    "Pss:                   8 kB\nPrivate_Clean:        16 kB\nTHPeligible:           1\nProtectionKey:         3\n" +
    "VmFlags: rd wr sh ht \n7f0000400000-7f0000401000 r--p 00000000 00:00 0 \nVmFlags: rd\n";
  const [first, second] = parseMappings(text);
  assert.deepEqual(
    [first, second].map((mapping) => [mapping?.pageKiB, mapping?.protectionKey, [...(mapping?.flags ?? [])]]),
    [
      [2048, 3, ["rd", "wr", "sh", "ht"]],
      [4, 0, ["rd"]],
    ],
  );
});

test("what decides which pages are copied is the same in maps as in smaps", () => {
  const maps = smaps.split("\n").filter((line) => /^[0-9a-f]/.test(line));
  const facts = (text: string) =>
    classifyMappings(parseMappings(text)).map(({ kind, start, end, protection, isPrivate }) => {
      return { kind, start, end, protection, isPrivate };
    });
  assert.deepEqual(facts(maps.join("\n")), facts(smaps));
});

test("page regions are cut at the borders of mappings and kept out of shared ones", () => {
  const vmas = classifyMappings(parseMappings(smaps));
  const regions = [
    { start: 0x400000, end: 0x401000, guard: false },
    { start: 0x7f0000000000, end: 0x7f0000001000, guard: false },
    { start: 0x7ffbfffff000, end: 0x7ffc00002000, guard: false },
    { start: 0x7ffc00003000, end: 0x7ffc00004000, guard: true },
  ];
  assert.deepEqual(
    wantedRuns(vmas, regions).map(({ address, bytes }) => [address, bytes]),
    [
      [0x400000, 0x1000],
      [0x7ffc00000000, 0x2000],
    ],
  );
});

test("zero pages are left out only where absence means zero, and neighbours become one entry", () => {
  const bytes = new Uint8Array(4 * 4096);
  bytes[5000] = 1;
  bytes[2 * 4096 + 4000] = 2;
  const run: ImageRun = { address: 0x10000, pageCount: 4, bytes, lazy: true, zeroIsAbsent: true };
  const entries = [...mergeRuns(withoutZeroPages([run, { ...run, address: 0x14000, zeroIsAbsent: false }]))];
  assert.deepEqual(
    entries.map(({ address, pieces }) => [address, pieces.reduce((sum, piece) => sum + piece.length, 0)]),
    [
      [0x11000, 2 * 4096],
      [0x14000, 4 * 4096],
    ],
  );
});

test("timers of every way of notifying are told apart", () => {
  const timers = parsePosixTimers(
    "ID: 3\nsignal: 10/00000000deadbeef\nnotify: signal/pid.9\nClockID: 1\n" +
      "ID: 4\nsignal: 34/0000000000000000\nnotify: signal/tid.12\nClockID: 0\n" +
      "ID: 9\nsignal: 0/0000000000000000\nnotify: none/pid.9\nClockID: -6\n",
  );
  assert.deepEqual(
    timers.map(({ id, clock, signal, notify, value, threadId }) => [id, clock, signal, notify, value, threadId]),
    [
      [3, 1, 10, 0, 0xdeadbeefn, undefined],
      [4, 0, 34, 4, 0n, 12],
      [9, -6, 0, 1, 0n, undefined],
    ],
  );
});

test("epoll targets, watches and locks are read as the kernel writes them", () => {
  const [target] = parseEpollTargets(
    "pos:\t0\ntfd:        5 events:       19 data: 1234567890abcdef  pos:7 ino:2f sdev:10\n",
  );
  assert.deepEqual(target, {
    fd: 5,
    events: 0x19,
    data: 0x1234567890abcdefn,
    position: 7n,
    inode: 0x2fn,
    device: 0x10,
  });
  const [watch] = parseInotifyWatches(
    "inotify wd:2 ino:1f sdev:fe00000 mask:300 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:0c0000003a4b5c6d\n",
  );
  assert.deepEqual([watch?.watch, watch?.mask, watch?.handle.length], [2, 0x300, 8]);
  assert.deepEqual(parseFileLocks("lock:\t1: POSIX  ADVISORY  WRITE 42 fe:00:77 100 199\n", 42, 3), [
    { flag: 1, type: 1, pid: 42, fd: 3, start: 100n, len: 100n },
  ]);
  assert.equal(parseFileLocks("lock:\t1: FLOCK  ADVISORY  READ 42 fe:00:77 0 EOF\n", 42, 3)[0]?.len, 0n);
});

test("limits come in the order of their numbers, unlimited as all ones", () => {
  const limits = parseLimits(
    "Max cpu time              unlimited            unlimited            seconds\nMax open files            20  1024  files\n",
  );
  assert.equal(limits.length, 16);
  assert.deepEqual(limits[0], { cur: 0xffffffffffffffffn, max: 0xffffffffffffffffn });
  assert.deepEqual(limits[7], { cur: 20n, max: 1024n });
});
