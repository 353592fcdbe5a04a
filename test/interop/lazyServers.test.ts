// Servers under load of data, dumped by CRIU and restored lazily on Faultline's daemon: redis with 300 MB, python3, node.
// They answer over TCP before and after; every byte they hold is compared by a digest that they make of it themselves.
import assert from "node:assert/strict";
import { copyFileSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { criuDump, criuRestore } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { packForCriu } from "../support/packedPages";
import { isGone, sessionMembers } from "../support/processes";
import { Program, type ProgramFacts, repositoryRoot } from "../support/program";
import { TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

/** Longest wait for one answer: a digest of 300 MB that comes page by page, milliseconds. */
const answerMs = 60_000;

function factsOf(name: string): ProgramFacts {
  return { name, about: name, options: [], link: "dynamic", alone: undefined, criuCannot: undefined };
}

/** A connection on which each line is answered by one line (or, for redis, by one simple reply). */
class Client {
  private readonly waiting: ((line: string) => void)[] = [];

  private constructor(private readonly socket: Socket) {
    // A server that dies shows as an answer that does not come.
    const lines = createInterface({ input: socket });
    lines.on("line", (line) => this.waiting.shift()?.(line));
    lines.on("error", () => socket.destroy());
  }

  static open(port: number): Promise<Client> {
    return new Promise((done, fail) => {
      const socket = connect(port, "127.0.0.1", () => done(new Client(socket)));
      socket.once("error", fail);
    });
  }

  ask(line: string): Promise<string> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`no answer to "${line}" in ${answerMs} ms`)), answerMs);
      this.waiting.push((answer) => {
        clearTimeout(timer);
        done(answer);
      });
      this.socket.write(`${line}\r\n`);
    });
  }

  /** Closed by a reset: no TIME_WAIT is left on the server's port. */
  close(): Promise<void> {
    const closed = new Promise<void>((done) => this.socket.once("close", () => done()));
    this.socket.resetAndDestroy();
    return closed;
  }
}

async function withClient<T>(port: number, body: (client: Client) => Promise<T>): Promise<T> {
  const client = await Client.open(port);
  try {
    return await body(client);
  } finally {
    await client.close();
  }
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** How many sockets the process has open: one, the listening one, when every client has been let go. */
function socketCount(pid: number): number {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return "socket:[closed meanwhile]";
    }
  });
  return links.filter((link) => link.startsWith("socket:")).length;
}

interface Server {
  readonly program: Program;
  readonly port: number;
}

/**
 * Dumps the server, restores it on a daemon with `options`, gives it to `body` while it is lazy, and waits until all is
 * there, or with --stay-lazy kills it.
 */
async function restoredLazily(
  server: Server,
  packed: boolean,
  options: readonly string[],
  body: () => Promise<void>,
): Promise<void> {
  const { program } = server;
  await withTempDir("lazy-server", async (images) => {
    await waitFor("the server to close its connections", () => socketCount(program.pid) === 1);
    program.remember();
    await criuDump(program.pid, images.path);
    await program.gone();
    if (packed) await packForCriu(images.path);
    const daemon = await FaultlineLazyPages.start(images.path, options);
    try {
      await criuRestore(images.path, [], true);
      program.remember();
      await body();
      if (options.includes("--stay-lazy")) {
        process.kill(program.pid, "SIGKILL");
        await waitFor("the server to be gone", () => isGone(program.pid));
      }
      const report = await daemon.finished();
      assert.equal(report.sessions[0]!.state, "done");
      assert.equal(report.sessions[0]!.lostPages, 0);
      assert.equal(report.sessions[0]!.lz4Bytes > 0, packed);
      assert.deepEqual(sessionMembers(daemon.pid), [], "the daemon and its watchdog are gone");
    } finally {
      await daemon.stop();
    }
  });
}

async function withServer(program: Program, body: (program: Program) => Promise<void>): Promise<void> {
  try {
    await body(program);
  } finally {
    await program.end();
  }
}

for (const [script, interpreter] of [
  ["table.py", "/usr/bin/python3"],
  ["table.js", process.execPath],
] as const) {
  test(`${script} answers over TCP before and while it is lazy, from raw pages and then from packed ones`, async () => {
    const scratch = new TempDir("server", true);
    const file = join(repositoryRoot, "test", "interop", "servers", script);
    await withServer(Program.spawn(factsOf(script), interpreter, [file, scratch.path], scratch), async (program) => {
      await program.ready();
      const port = Number(readFileSync(scratch.join("ready"), "utf8"));
      const digest = await withClient(port, (client) => client.ask("digest"));
      let asked = 1;
      const checkAll = () =>
        withClient(port, async (client) => {
          assert.equal(await client.ask("count"), `${asked + 1}`);
          asked += 2;
          for (let n = 0; n < 100_000; n += 997, asked++) {
            assert.equal(await client.ask(`item ${n}`), `value ${n * n} of ${n}`.repeat(4));
          }
          assert.equal(await client.ask("digest"), digest);
        });
      await restoredLazily({ program, port }, false, ["--drain-rate", "40M"], checkAll);
      await restoredLazily({ program, port }, true, ["--stay-lazy"], checkAll);
    });
  });
}

/** Redis answers an inline command by one line: "+text", or ":number". */
async function redis(client: Client, command: string): Promise<string> {
  const answer = await client.ask(command);
  assert.match(answer, /^[+:]/, `${command}: ${answer}`);
  return answer.slice(1);
}

/** A field of INFO, which redis-cli's inline form gives as one bulk string: asked on a connection of its own. */
function info(port: number, field: string): Promise<string> {
  return new Promise((done, fail) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("INFO persistence\r\n"));
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      const found = new RegExp(`^${field}:(.*)\r$`, "m").exec(text);
      if (found === null) return;
      socket.resetAndDestroy();
      done(found[1]!);
    });
    socket.once("error", fail);
  });
}

/** Keys of 1000 bytes, each of another content, made by redis itself. */
function fillKeys(from: number, to: number): string {
  const set = "redis.call('SET', 'key:'..i, string.rep(redis.sha1hex(i), 25))";
  return `EVAL "for i = ${from}, ${to} do ${set} end return ${to}" 0`;
}

async function startRedis(scratch: TempDir): Promise<Server> {
  const port = await freePort();
  const options = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", scratch.path, "--save", ""];
  const more = ["--enable-debug-command", "yes", "--dbfilename", "dump.rdb", "--daemonize", "no"];
  const program = Program.spawn(factsOf("redis"), "/usr/bin/redis-server", [...options, ...more], scratch);
  try {
    await waitFor("redis to answer", () =>
      withClient(port, (client) => client.ask("PING")).then(
        (answer) => answer === "+PONG",
        () => false,
      ),
    );
  } catch (error) {
    await program.end();
    throw error;
  }
  return { program, port };
}

test("redis with 300 MB saves itself while it is lazy and holds every key, from raw pages and then from packed ones", async () => {
  const scratch = new TempDir("redis", true);
  const server = await startRedis(scratch);
  const { port, program } = server;
  await withServer(program, async () => {
    const digest = await withClient(port, async (client) => {
      await redis(client, fillKeys(1, 300_000));
      await redis(client, 'SET marker "before the dump"');
      return redis(client, "DEBUG DIGEST");
    });
    await restoredLazily(server, false, ["--drain-rate", "60M"], async () => {
      await withClient(port, async (client) => {
        // A child that reads all of it while the parent changes what it reads.
        await redis(client, "BGSAVE");
        await redis(client, 'SET key:7 "after the fork"');
        await redis(client, "DEL key:7");
        await redis(client, fillKeys(7, 7));
        assert.equal(await redis(client, "DBSIZE"), "300001");
      });
      await waitFor("BGSAVE to end", async () => (await info(port, "rdb_bgsave_in_progress")) === "0", answerMs);
      assert.equal(await info(port, "rdb_last_bgsave_status"), "ok");
    });
    await restoredLazily(server, true, ["--stay-lazy"], async () => {
      await withClient(port, async (client) => assert.equal(await redis(client, "DEBUG DIGEST"), digest));
    });
    const saved = new TempDir("redis", true);
    copyFileSync(scratch.join("dump.rdb"), saved.join("dump.rdb"));
    const again = await startRedis(saved);
    await withServer(again.program, () =>
      withClient(again.port, async (client) =>
        assert.equal(await redis(client, "DEBUG DIGEST"), digest, "what was saved while lazy"),
      ),
    );
  });
});
