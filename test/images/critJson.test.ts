// What crit prints for records that the fixtures do not have: payloads, names, addresses, devices, quoted text.
// The right-hand sides were read off a real `crit show`, and must come back to the same bytes.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Json } from "../../src/images/exactJson";
import type { ImageKind } from "../../src/images/formats";
import { decodeImage, encodeImage, type RecordInit } from "../../src/images/framing";
import { imageToJson, jsonToImage, messageToJson } from "../../src/images/json";
import { readAddress, readQuoted, showAddress, showFlags, showQuoted } from "../../src/images/show";

const desc = { key: 1, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 0, id: 9 };
const text = (value: string) => Buffer.from(value, "latin1");

interface Sample {
  readonly kind: ImageKind;
  readonly message: object;
  readonly payload?: object;
  readonly entries: Json[];
}

const samples: readonly Sample[] = [
  {
    kind: "GHOST_FILE",
    message: { uid: 0, gid: 0, mode: 0o100644, dev: 5, ino: 6n, atim: { tv_sec: 1n, tv_usec: 2n } },
    payload: { kind: "bytes", bytes: Buffer.alloc(100, "A") },
    entries: [
      {
        uid: 0,
        gid: 0,
        mode: 33188,
        dev: "0:5",
        ino: 6,
        atim: { tv_sec: 1, tv_usec: 2 },
        extra: `${"QUFB".repeat(19)}\n${"QUFB".repeat(14)}QQ==\n`,
      },
    ],
  },
  {
    kind: "GHOST_FILE",
    message: { uid: 0, gid: 0, mode: 0o100644, chunks: true, size: 8192n },
    payload: {
      kind: "chunks",
      chunks: [
        { message: { len: 3n, off: 4096n }, bytes: text("abc") },
        { message: { len: 2n, off: 8190n }, bytes: text("xy") },
      ],
    },
    entries: [
      { uid: 0, gid: 0, mode: 33188, chunks: true, size: 8192 },
      { len: 3, off: 4096, extra: "YWJj\n" },
      { len: 2, off: 8190, extra: "eHk=\n" },
    ],
  },
  {
    kind: "IPCNS_MSG",
    message: { desc, qbytes: 10, qnum: 2 },
    payload: {
      kind: "messages",
      messages: [
        { message: { mtype: 1n, msize: 3 }, bytes: text("abc") },
        { message: { mtype: 2n, msize: 8 }, bytes: text("abcdefgh") },
      ],
    },
    entries: [
      {
        desc,
        qbytes: 10,
        qnum: 2,
        extra: [{ mtype: 1, msize: 3 }, "YWJj\n", { mtype: 2, msize: 8 }, "YWJjZGVmZ2g=\n"],
      },
    ],
  },
  {
    kind: "IPCNS_SEM",
    message: { desc, nsems: 3 },
    payload: { kind: "bytes", bytes: Buffer.from([1, 0, 2, 0, 255, 255]) },
    entries: [{ desc, nsems: 3, extra: [1, 2, 65535] }],
  },
  {
    kind: "IPCNS_SHM",
    message: { desc, size: 5n },
    payload: { kind: "bytes", bytes: text("hello") },
    entries: [{ desc, size: 5, extra: "aGVsbG8=\n" }],
  },
  {
    kind: "TCP_STREAM",
    message: { inq_len: 3, inq_seq: 1, outq_len: 2, outq_seq: 4, opt_mask: 15, snd_wscale: 1, mss_clamp: 2 },
    payload: { kind: "queues", received: text("abc"), sent: text("xy") },
    entries: [
      {
        inq_len: 3,
        inq_seq: 1,
        outq_len: 2,
        outq_seq: 4,
        opt_mask: "0xf",
        snd_wscale: 1,
        mss_clamp: 2,
        extra: { inq: "YWJj\n", outq: "eHk=\n" },
      },
    ],
  },
  {
    kind: "SK_QUEUES",
    message: { id_for: 1, length: 3, scm: [{ type: 1, rights: [3, 4] }] },
    payload: { kind: "bytes", bytes: text("abc") },
    entries: [{ id_for: 1, length: 3, scm: [{ type: 1, rights: [3, 4] }], extra: "YWJj\n" }],
  },
  {
    kind: "BPFMAP_DATA",
    message: { map_id: 1, keys_bytes: 2, values_bytes: 3, count: 1 },
    payload: { kind: "map", keys: text("kk"), values: text("vvv") },
    entries: [{ map_id: 1, keys_bytes: 2, values_bytes: 3, count: 1, extra: "a2t2dnY=\n" }],
  },
  {
    kind: "INOTIFY_WD",
    message: {
      id: 1,
      i_ino: 3n,
      mask: 16,
      ignored_mask: 0,
      s_dev: 0x800012,
      wd: 1,
      f_handle: { bytes: 1, type: 2, handle: [1n << 63n] },
    },
    entries: [
      {
        id: 1,
        i_ino: 3,
        mask: "0x10",
        ignored_mask: "0x0",
        s_dev: "8:18",
        wd: 1,
        f_handle: { bytes: 1, type: 2, handle: [1n << 63n] },
      },
    ],
  },
  {
    kind: "FILE_LOCKS",
    message: { flag: 1, type: 2, pid: -5, fd: -1, start: -1n, len: 9007199254740993n },
    entries: [{ flag: 1, type: 2, pid: -5, fd: -1, start: -1, len: 9007199254740993n }],
  },
  {
    kind: "EVENTPOLL_TFD",
    message: { id: 1, tfd: 2, events: 1, data: 0xffffffffffffffffn },
    entries: [{ id: 1, tfd: 2, events: 1, data: 18446744073709551615n }],
  },
];

for (const [index, { kind, message, payload, entries }] of samples.entries()) {
  test(`${kind} (sample ${index}) shows as crit shows it`, () => {
    const bytes = encodeImage(kind, [{ message, payload }] as unknown as RecordInit<never>[]);
    assert.deepEqual(imageToJson(decodeImage(bytes, "x"), { pretty: true, payload: true }), { magic: kind, entries });
    assert.ok(jsonToImage({ magic: kind, entries }, "x").equals(bytes));
  });
}

test("flags are names in order, then the nameless bits together", () => {
  assert.equal(showFlags("mmap.prot", 0x1007), "PROT_READ | PROT_WRITE | PROT_EXEC | 0x1000");
  assert.equal(showFlags("mmap.flags", 0x4000002), "MAP_PRIVATE | 0x4000000");
  assert.equal(showFlags("rfile.flags", 0o100000 | 2 | 0x4000), "O_RDWR | O_DIRECT | O_LARGEFILE");
  assert.equal(showFlags("rfile.flags", 3), "O_WRONLY | O_RDWR");
  assert.equal(showFlags("pmap.flags", 15), "PE_PARENT | PE_LAZY | PE_PRESENT | 0x8");
  assert.equal(showFlags("mmap.status", 0x80000010), "VMA_UNSUPP | 0x10");
});

test("socket families, types, protocols and states have names", () => {
  const shown = messageToJson(
    "inet_sk_entry",
    { family: 10, type: 2, proto: 17, state: 7, src_addr: [], dst_addr: [] },
    true,
  );
  assert.deepEqual(shown, { family: "INET6", type: "DGRAM", proto: "UDP", state: "CLOSE" });
});

test("addresses are written as crit writes them and read back", () => {
  for (const [words, shown] of [
    [[0x0100007f], "127.0.0.1"],
    [[0, 0, 0, 0x01000000], "::1"],
    [[0x0db80120, 0, 0, 0x01000000], "2001:b80d::1"],
    [[0, 0, 0xffff0000, 0x0100007f], "::ffff:7f00:1"],
    [[0, 0, 0, 0], "::"],
    [[1, 2, 3, 4], "100:0:200:0:300:0:400:0"],
  ] as const) {
    assert.equal(showAddress(words), shown);
    assert.deepEqual(readAddress(shown), words);
  }
});

test("names of Unix sockets are quoted-printable", () => {
  for (const [bytes, shown] of [
    [Buffer.from("\0abc=\xff d \nx", "latin1"), "=00abc=3D=FF d=20\nx"],
    [Buffer.from("a\0b\tc  "), "a=00b\tc =20"],
    [
      Buffer.from(`/tmp/very long name with spaces and öäü ${"x".repeat(80)} \0`),
      `/tmp/very long name with spaces and =C3=B6=C3=A4=C3=BC ${"x".repeat(20)}=\n${"x".repeat(60)} =00`,
    ],
  ] as const) {
    assert.equal(showQuoted(bytes), shown);
    assert.deepEqual(readQuoted(showQuoted(bytes)), bytes);
  }
});
