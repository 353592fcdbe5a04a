// Three real servers with realistic data in memory, that are dumped and restored: redis, node and python. Started without
// pipes or terminals, on a port of their own; each answers one request that reads what it holds.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { connect } from "node:net";
import { criuDump } from "../../support/criu";
import { processStat } from "../../support/processes";
import { TempDir } from "../../support/tempdir";
import { compileYardstick } from "./compile";
import { packForm } from "./forms";
import { soon } from "./heap";

export type ServerKind = "redis" | "node" | "python";

/** A record such as a service keeps: names, numbers, a little text; it compresses as JSON does. */
const record = `{"id":ID,"name":"user HASH","mail":"HASH@example.org","tags":["a","b"],"score":SCORE,"note":"last seen at ID"}`;

const nodeSource = `
const held = new Map();
const hash = (x) => (Math.imul(x ^ (x >>> 15), 2654435761) >>> 0).toString(36);
for (let i = 0; i < COUNT; i++) held.set("key:" + i, JSON.parse(${JSON.stringify(record)}
  .replaceAll("ID", String(i)).replaceAll("HASH", hash(i)).replace("SCORE", String(i % 977))));
require("node:http").createServer((request, response) => response.end(JSON.stringify(held.get("key:" + (request.url.length * 77 % COUNT)))))
  .listen(PORT, "127.0.0.1");`;

const pythonSource = `
import http.server, json
def mixed(x): return format((x ^ (x >> 15)) * 2654435761 & 0xffffffff, "x")
held = {"key:%d" % i: json.loads(${JSON.stringify(record)}.replace("ID", str(i)).replace("HASH", mixed(i)).replace("SCORE", str(i % 977))) for i in range(COUNT)}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(held["key:%d" % (len(self.path) * 77 % COUNT)]).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()`;

const requests: Record<ServerKind, string> = {
  redis: "GET key:4711^",
  node: "GET /x HTTP/1.0^^",
  python: "GET /x HTTP/1.0^^",
};

function commandOf(kind: ServerKind, port: number, count: number): [string, string[]] {
  const source = (text: string) => text.replaceAll("COUNT", String(count)).replaceAll("PORT", String(port));
  if (kind === "node") return [process.execPath, ["-e", source(nodeSource)]];
  if (kind === "python") return ["/usr/bin/python3", ["-c", source(pythonSource)]];
  const options = [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--enable-debug-command",
    "local",
    "--save",
    "",
    "--appendonly",
    "no",
    "--tcp-keepalive",
    "0",
  ];
  return ["/usr/bin/redis-server", options];
}

let nextPort = 21000 + (process.pid % 20000);

export class Server {
  private comm = "";
  private readonly reaped: Promise<void>;

  private constructor(
    readonly kind: ServerKind,
    readonly pid: number,
    readonly port: number,
    readonly keys: number,
    private readonly child: ChildProcess,
    readonly images: TempDir,
  ) {
    this.reaped = new Promise((done) => child.once("exit", () => done()));
  }

  /** Starts one that holds `keys` records and waits until it answers. `under`: where its images shall be. */
  static async start(kind: ServerKind, keys: number, under?: string): Promise<Server> {
    const port = nextPort++;
    const [file, args] = commandOf(kind, port, keys);
    const env = { PATH: "/usr/bin:/bin", HOME: "/", UV_USE_IO_URING: "0" };
    const child = spawn(file, args, { detached: true, stdio: "ignore", cwd: "/", env });
    const server = new Server(kind, child.pid!, port, keys, child, new TempDir("bench-server", false, under));
    await server.answered();
    server.comm = processStat(server.pid)?.comm ?? "";
    if (kind === "redis") {
      await server.fill();
      await server.settle();
    }
    return server;
  }

  /**
   * Starts asking, again and again; resolves when that has begun, so that starting a process is in nobody's time. Then
   * `firstAnswerMs` tells when the server answered first, on the clock of clockMs.
   */
  async asking(): Promise<{ readonly firstAnswerMs: Promise<number> }> {
    const probe = spawn(compileYardstick("first_answer"), [String(this.port), requests[this.kind]]);
    let text = "";
    const begun = new Promise<void>((done) => {
      probe.stdout.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        done();
      });
    });
    const firstAnswerMs = new Promise<number>((done, fail) => {
      probe.once("close", (code) =>
        code === 0 ? done(Number(text.split("\n")[1]) / 1e6) : fail(new Error(`${this.kind} is silent`)),
      );
    });
    await Promise.race([begun, firstAnswerMs]);
    return { firstAnswerMs };
  }

  async answered(): Promise<void> {
    await (await this.asking()).firstAnswerMs;
  }

  private fill(): Promise<void> {
    return new Promise((done, fail) => {
      const socket = connect(this.port, "127.0.0.1");
      socket.once("error", fail);
      const lines: string[] = [];
      for (let id = 0; id < this.keys; id++) {
        const hash = (Math.imul(id ^ (id >>> 15), 2654435761) >>> 0).toString(36);
        const text = record
          .replaceAll("ID", String(id))
          .replaceAll("HASH", hash)
          .replace("SCORE", String(id % 977));
        lines.push(`*3\r\n$3\r\nSET\r\n$${4 + String(id).length}\r\nkey:${id}\r\n$${text.length}\r\n${text}\r\n`);
      }
      let answered = 0;
      socket.on("data", (chunk: Buffer) => {
        for (const byte of chunk) if (byte === 0x0a) answered++;
        if (answered === this.keys) socket.end(done);
      });
      socket.write(lines.join(""));
    });
  }

  /** Redis moves what it was filled with into a larger table, a little each tick: every restore would go on with that. */
  private async settle(): Promise<void> {
    const args = ["-p", String(this.port), "debug", "htstats", "0"];
    await soon(
      "redis to be at rest",
      () => !execFileSync("redis-cli", args, { encoding: "utf8" }).includes("rehashing"),
    );
  }

  /** Some requests one after the other, for different records. */
  async ask(count: number): Promise<void> {
    for (let each = 0; each < count; each++) {
      const text = this.kind === "redis" ? `GET key:${each * 977}\r\n` : `GET /${"x".repeat(each)} HTTP/1.0\r\n\r\n`;
      await new Promise<void>((done, fail) => {
        const socket = connect(this.port, "127.0.0.1", () => socket.write(text));
        socket.once("error", fail);
        socket.once("data", () => {
          socket.destroy();
          done();
        });
      });
    }
  }

  /** `packs`: makes the packed form too (forms.ts). */
  async dump(packs = true): Promise<void> {
    await criuDump(this.pid, this.images.path);
    await this.reaped;
    await soon("the server to be gone", () => processStat(this.pid) === undefined);
    if (packs) await packForm(this.images.path);
  }

  /** Kills the restored server, or the first one. */
  async kill(): Promise<void> {
    if (processStat(this.pid)?.comm === this.comm) process.kill(this.pid, "SIGKILL");
    await soon("the server to be gone", () => {
      const stat = processStat(this.pid);
      return stat === undefined || stat.comm !== this.comm;
    });
  }

  async end(): Promise<void> {
    await this.kill();
    if (this.child.exitCode === null && this.child.signalCode === null) await this.reaped;
    this.images[Symbol.dispose]();
  }
}

export interface Load {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

/** Four connections that ask one GET after the other, for so long or until `over`. Blocks no event loop. */
export function load(server: Server, milliseconds: number, over?: Promise<unknown>): Promise<Load> {
  const args = [server.port, 4, milliseconds, server.keys].map(String);
  const start = performance.now();
  return new Promise((done, fail) => {
    const child = spawn(compileYardstick("redis_load"), args);
    let ranMs = milliseconds;
    void over?.then(() => {
      ranMs = Math.min(ranMs, performance.now() - start);
      child.stdin.end();
    });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.once("close", (code) => {
      if (code !== 0) return fail(new Error("the load on redis broke off"));
      const [, count, p50, , p99, max] = text.trim().split(" ").map(Number);
      const perSecond = (count! * 1000) / ranMs;
      return done({ perSecond, p50Us: p50! / 1000, p99Us: p99! / 1000, maxUs: max! / 1000 });
    });
  });
}

/** Bytes of a directory as they take up disk. */
export function directoryMib(path: string): number {
  return Number(execFileSync("du", ["-sk", path], { encoding: "utf8" }).split("\t")[0]) / 1024;
}
