// Holds that `faultline page-server` takes the pages of a real `criu dump --page-server`, and that whatever else connects ends
// in one line and no file.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import type { FaultlineError } from "../../src/errors";
import { readImageFile } from "../../src/images/framing";
import { decodePagemap } from "../../src/images/pagemap";
import { PageServer } from "../../src/wire/pageServer";
import { criuDump, criuRestore, runCommand } from "../support/criu";
import { withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";
import { faultlineBinary } from "./engines";

test("the pages of a real dump are received, and with the other images CRIU restores the program", async () => {
  await withTempDir("pages", (received) =>
    withTempDir("images", (images) =>
      withProgram("heap", async (program) => {
        const server = spawn(faultlineBinary, ["page-server", "-D", received.path, "--json"]);
        let said = "";
        let printed = "";
        server.stderr.on("data", (chunk: Buffer) => (said += String(chunk)));
        server.stdout.on("data", (chunk: Buffer) => (printed += String(chunk)));
        const ended = new Promise<number | null>((done) => server.once("close", done));
        try {
          const port = await waitFor("the server to listen", () => /listening at 127\.0\.0\.1:(\d+)/.exec(said)?.[1]);
          await criuDump(program.pid, images.path, ["--page-server", "--address", "127.0.0.1", "--port", port]);
          assert.equal(await ended, 0, said);
        } finally {
          if (server.exitCode === null && server.signalCode === null) server.kill("SIGKILL");
        }
        await program.gone();
        const { pages } = JSON.parse(printed) as { pages: number };
        assert.ok(pages > 100, printed);
        const names = readdirSync(received.path).sort();
        assert.deepEqual(names, [`pagemap-${program.pid}.img`, "pages-65537.img"]);
        for (const name of names) renameSync(received.join(name), images.join(name));
        const verified = await runCommand(faultlineBinary, ["verify", images.path]);
        assert.equal(verified.status, 0, verified.output);
        await criuRestore(images.path);
        program.go();
        assert.equal(await program.verdict(), "PASS");
      }),
    ),
  );
});

interface Message {
  readonly command: number;
  readonly pages: number;
  readonly address: number;
  readonly destination: number;
}

const OPEN2 = 4;
const PRESENT = 6 | (4 << 16);
const PARENT = 6 | (1 << 16);
const CLOSE = 0x1023;

/** A header in the layout of CRIU since 4.2, or before. */
function header({ command, pages, address, destination }: Message, long: boolean): Buffer {
  const bytes = Buffer.alloc(long ? 32 : 24, 0);
  bytes.writeUInt32LE(command, 0);
  if (long) bytes.writeBigUInt64LE(BigInt(pages), 8);
  else bytes.writeUInt32LE(pages, 4);
  bytes.writeBigUInt64LE(BigInt(address), long ? 16 : 8);
  bytes.writeBigUInt64LE(BigInt(destination), long ? 24 : 16);
  return bytes;
}

const page = (fill: number, count: number) => Buffer.alloc(count * 4096, fill);
const task = (pid: number) => pid * 256 + 1;

/** Two tasks' pages: [0x10000, +2), [0x20000, +1); and [0x30000, +1). */
function conversation(long: boolean): Buffer[] {
  const say = (command: number, pages: number, address: number, destination: number) =>
    header({ command, pages, address, destination }, long);
  return [
    say(OPEN2, 0, 0, task(42)),
    say(PRESENT, 2, 0x10000, task(42)),
    page(1, 2),
    say(PRESENT, 1, 0x20000, task(42)),
    page(2, 1),
    say(OPEN2, 0, 0, task(43)),
    say(PRESENT, 1, 0x30000, task(43)),
    page(3, 1),
    say(CLOSE, 0, 0, task(43)),
  ];
}

/** Sends `pieces`, ends once `answers` bytes have come back, and gives them; the server's outcome beside them. */
async function talk(dir: TempDir, pieces: readonly Buffer[], answers: number) {
  const server = await PageServer.start({ imagesDir: dir.path, address: "127.0.0.1", port: 0, timeoutMs: 20_000 });
  const served = server.serve().catch((error: FaultlineError) => error);
  const socket = connect(server.port, "127.0.0.1");
  const chunks: Buffer[] = [];
  const closed = new Promise<void>((done) => socket.once("close", () => done()));
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    if (Buffer.concat(chunks).length >= answers) socket.end();
  });
  socket.on("error", () => undefined); // the server's outcome says why
  for (const piece of pieces) socket.write(piece);
  if (answers === 0) socket.end();
  const outcome = await served;
  await closed;
  return { outcome, answer: Buffer.concat(chunks) };
}

test("headers of both lengths, in whatever pieces they come, make the same images", async () => {
  const examine = fc.asyncProperty(
    fc.boolean(),
    fc.array(fc.nat(4 * 4096 + 9 * 32), { maxLength: 6 }),
    async (long, cuts) => {
      await withTempDir("pages", async (dir) => {
        const all = Buffer.concat(conversation(long));
        const at = [0, ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b), all.length];
        const pieces = at.slice(1).map((end, i) => all.subarray(at[i], end));
        const { outcome, answer } = await talk(dir, pieces, 6);
        assert.deepEqual(outcome, { objects: 2, pages: 4 });
        assert.deepEqual(answer, Buffer.alloc(6));
        const read = (name: string) => decodePagemap(readImageFile(dir.join(name)), name);
        const first = read("pagemap-42.img");
        assert.deepEqual([...first.starts, ...first.counts, ...first.flags], [0x10, 0x20, 2, 1, 4, 4]);
        const bytes = readImageFile(dir.join(`pages-${first.pagesId}.img`));
        assert.deepEqual(bytes, Buffer.concat([page(1, 2), page(2, 1)]));
        const second = read("pagemap-43.img");
        assert.deepEqual(readImageFile(dir.join(`pages-${second.pagesId}.img`)), page(3, 1));
      });
    },
  );
  await fc.assert(examine, { numRuns: 25 });
});

test("pages that are left to a parent are noted where the parent is, and refused where it is not", async () => {
  const say = (command: number, pages: number, address: number) =>
    header({ command, pages, address, destination: task(42) }, true);
  const left = [say(OPEN2, 0, 0), say(PARENT, 3, 0x10000), say(CLOSE, 0, 0)];
  await withTempDir("pages", async (dir) => {
    mkdirSync(dir.join("parent"));
    writeFileSync(dir.join("parent", "pagemap-42.img"), "");
    const { outcome, answer } = await talk(dir, left, 5);
    assert.deepEqual(outcome, { objects: 1, pages: 0 });
    assert.deepEqual(answer, Buffer.of(1, 0, 0, 0, 0));
    assert.deepEqual([...decodePagemap(readImageFile(dir.join("pagemap-42.img")), "").flags], [1]);
  });
  await withTempDir("pages", async (dir) => {
    const { outcome } = await talk(dir, left, 5);
    assert.match((outcome as FaultlineError).line(), /leaves pages of pagemap-42\.img to a parent that is not here/);
    assert.deepEqual(readdirSync(dir.path), []);
  });
});

test("a peer that hangs up anywhere, goes back, or speaks otherwise is an error of one line, and no file is left", async () => {
  const all = Buffer.concat(conversation(true));
  const say = (command: number, pages: number, address: number) =>
    header({ command, pages, address, destination: task(42) }, true);
  const open = say(OPEN2, 0, 0);
  for (const [pieces, expected] of [
    [[], /hung up/],
    [[all.subarray(0, 10)], /hung up/],
    [[all.subarray(0, 70)], /hung up/],
    [[all.subarray(0, 9000)], /hung up/],
    [[all.subarray(0, all.length - 32)], /hung up/],
    [[open, say(PRESENT, 1, 0x20000), page(1, 1), say(PRESENT, 1, 0x10000)], /out of order/],
    [[open, say(PRESENT, 1, 0x20001)], /no range/],
    [[open, say(99, 0, 0)], /command 99/],
    [[open, open], /twice/],
    [[header({ command: OPEN2, pages: 0, address: 0, destination: 42 * 256 + 77 }, true)], /type 77, number 42/],
    [["GET / HTTP/1.1\r\nHost: example\r\n\r\n"].map((text) => Buffer.from(text)), /command|no range/],
  ] as const) {
    await withTempDir("pages", async (dir) => {
      const { outcome } = await talk(dir, pieces, 0);
      assert.ok(outcome instanceof Error, String(expected));
      assert.match((outcome as FaultlineError).line(), expected);
      assert.deepEqual(readdirSync(dir.path), []);
    });
  }
});

test("a directory that has the object already is left as it is", async () => {
  await withTempDir("pages", async (dir) => {
    writeFileSync(dir.join("pagemap-42.img"), "old");
    const { outcome } = await talk(dir, conversation(true), 6);
    assert.match((outcome as FaultlineError).line(), /in the image directory already/);
    assert.deepEqual(readdirSync(dir.path), ["pagemap-42.img"]);
  });
});

test("without a dump the server ends after --timeout, in one line; a missing directory is told at once", async () => {
  await withTempDir("pages", async (dir) => {
    const late = await runCommand(faultlineBinary, ["page-server", "-D", dir.path, "--timeout", "0.2"]);
    assert.equal(late.status, 1);
    assert.match(late.output.trim().split("\n").pop()!, /^faultline: no dump connected for 0\.2 s/);
    const missing = await runCommand(faultlineBinary, ["page-server", "-D", dir.join("none")]);
    assert.equal(missing.status, 1);
    assert.match(missing.output, /^faultline: the image directory does not exist/);
  });
});
