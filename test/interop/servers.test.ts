// Servers that the test drives from outside while they are dumped and restored by Faultline: node with worker threads and
// nginx under load, redis with 300 MB that saves in the background while its pages still come, and gdb on what came back.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../support/criu";
import { Program, type ProgramFacts, repositoryRoot, withProgram } from "../support/program";
import { TempDir, withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";
import { faultlineEngine } from "./engines";

function facts(name: string, options: readonly string[] = []): ProgramFacts {
  return { name, about: name, options, link: "dynamic", alone: undefined, criuCannot: undefined };
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const port = (server.address() as { port: number }).port;
      server.close(() => done(port));
    });
  });
}

/** One request on a connection of its own; rejects when the connection breaks. */
function fetchText(port: number, path: string): Promise<string> {
  return new Promise((done, fail) => {
    const request = get({ host: "127.0.0.1", port, path, agent: false, timeout: 20_000 }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => done(text));
      response.on("error", fail);
    });
    request.on("error", fail);
    request.on("timeout", () => request.destroy(new Error(`no answer from port ${port}`)));
  });
}

/** Clients that ask again and again; a broken connection is forgiven only while `forgive` is set. */
class Load {
  answered = 0;
  broken = 0;
  forgive = false;
  private stopped = false;
  private failure: unknown;
  private readonly clients: Promise<void>[];

  constructor(count: number, ask: (n: number) => Promise<void>) {
    this.clients = Array.from({ length: count }, (_, client) => this.run(client * 1_000_000, ask));
  }

  private async run(first: number, ask: (n: number) => Promise<void>): Promise<void> {
    for (let n = first; !this.stopped; n++) {
      const forgiven = this.forgive;
      try {
        await ask(n);
        this.answered++;
      } catch (error) {
        this.broken++;
        if (error instanceof assert.AssertionError || !(forgiven || this.forgive)) this.failure ??= error;
        await sleep(5);
      }
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.clients);
    if (this.failure !== undefined) throw this.failure;
  }
}

interface Server {
  readonly facts: ProgramFacts;
  readonly executable: string;
  readonly arguments: readonly string[];
  readonly answers: () => Promise<unknown>;
}

/** Starts a server, waits until it answers, runs `body`, ends it. */
async function withServer(server: Server, scratch: TempDir, body: (program: Program) => Promise<void>): Promise<void> {
  const program = Program.spawn(server.facts, server.executable, server.arguments, scratch);
  try {
    await waitFor(`${server.facts.name} to answer`, () =>
      server.answers().then(
        () => true,
        () => false,
      ),
    );
    writeFileSync(scratch.join("ready"), "");
    await program.ready();
    await body(program);
  } finally {
    program.remember();
    await program.end();
  }
}

/** Dumps the server and restores it lazily. */
async function dumpAndRestore(program: Program, images: TempDir, lazy = true): Promise<void> {
  program.remember();
  await faultlineEngine.dump(program.pid, images.path, program.facts, false);
  await program.gone();
  await faultlineEngine.restore(images.path, program.facts, lazy);
  program.remember();
}

async function underLoad(server: Server, scratch: TempDir, ask: (n: number) => Promise<void>): Promise<void> {
  await withTempDir("images", (images) =>
    withServer(server, scratch, async (program) => {
      const load = new Load(4, ask);
      await waitFor("load", () => load.answered > 100);
      load.forgive = true; // from here on connections may break: those in flight, and those made while it is away
      await dumpAndRestore(program, images);
      await server.answers();
      await sleep(50);
      load.forgive = false;
      await sleep(50);
      const before = load.answered;
      await waitFor("load after the restore", () => load.answered > before + 200);
      await load.stop();
    }),
  );
}

test("node with worker threads loses no request but those in flight", async () => {
  const port = await freePort();
  const server: Server = {
    facts: facts("node", ["--tcp-close"]),
    executable: process.execPath,
    arguments: [join(repositoryRoot, "test", "interop", "server.js"), String(port)],
    answers: () => fetchText(port, "/"),
  };
  await underLoad(server, new TempDir("node"), async (n) => {
    const key = n % 50_000;
    const wanted = createHash("sha256").update(`value ${key} `.repeat(20)).digest("hex");
    assert.equal(await fetchText(port, `/${encodeURIComponent(`key ${key}`)}`), wanted);
  });
});

test("nginx with workers loses no request but those in flight", async () => {
  const port = await freePort();
  const scratch = new TempDir("nginx");
  for (const name of ["www", "body", "proxy", "fastcgi", "uwsgi", "scgi"]) mkdirSync(scratch.join(name));
  const pages = Array.from({ length: 50 }, (_, n) => `page ${n} `.repeat(500));
  for (const [n, page] of pages.entries()) writeFileSync(scratch.join("www", `${n}.html`), page);
  const temporary = ["proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${scratch.join(name)};`);
  writeFileSync(
    scratch.join("nginx.conf"),
    `daemon off; user root; worker_processes 2; pid ${scratch.join("pid")}; error_log ${scratch.join("errors")};
    events { worker_connections 64; }
    http { access_log ${scratch.join("access")}; client_body_temp_path ${scratch.join("body")}; ${temporary.join(" ")}
      open_file_cache max=100; server { listen 127.0.0.1:${port}; root ${scratch.join("www")}; } }`,
  );
  const server: Server = {
    facts: facts("nginx", ["--tcp-close"]),
    executable: "/usr/sbin/nginx",
    arguments: ["-c", scratch.join("nginx.conf"), "-e", scratch.join("errors")],
    answers: () => fetchText(port, "/0.html"),
  };
  await underLoad(server, scratch, async (n) => {
    assert.equal(await fetchText(port, `/${n % 50}.html`), pages[n % 50]);
  });
});

test("redis with 300 MB has the same digest, and saves in the background while its pages still come", async () => {
  const port = await freePort();
  const scratch = new TempDir("redis");
  const cli = (...command: string[]) =>
    execFileSync("redis-cli", ["-p", String(port), ...command], { encoding: "utf8", timeout: 60_000 }).trim();
  const server: Server = {
    facts: facts("redis-server"),
    executable: "/usr/bin/redis-server",
    arguments: ["--port", String(port), "--save", "", "--dir", scratch.path, "--enable-debug-command", "local"],
    answers: async () => assert.equal(cli("ping"), "PONG"),
  };
  await withTempDir("images", (images) =>
    withServer(server, scratch, async (program) => {
      cli("debug", "populate", "300000", "key", "1000");
      const digest = cli("debug", "digest");
      await dumpAndRestore(program, images);
      assert.equal(cli("bgsave"), "Background saving started"); // a fork while most pages are missing
      assert.equal(cli("get", "key:299999")?.startsWith("value:299999"), true);
      cli("set", "written-since", "yes");
      await waitFor("BGSAVE", () => cli("info", "persistence").includes("rdb_bgsave_in_progress:0"), 60_000);
      assert.match(cli("info", "persistence"), /rdb_last_bgsave_status:ok/);
      cli("del", "written-since");
      assert.equal(cli("debug", "digest"), digest);
    }),
  );
});

test("gdb attaches to a restored program and reads its memory", async () => {
  await withTempDir("images", (images) =>
    withProgram("tls", async (program) => {
      await dumpAndRestore(program, images);
      const commands = ["-ex", "info threads", "-ex", "print gs_target", "-ex", "detach"];
      const { status, output } = await runCommand("gdb", ["-q", "-batch", "-p", String(program.pid), ...commands]);
      assert.equal(status, 0, output);
      assert.match(output, /\{11, 22, 33, 44\}/);
      assert.equal(output.match(/LWP \d+/g) !== null, true, output);
      program.go();
      assert.equal(await program.verdict(), "PASS");
    }),
  );
});
