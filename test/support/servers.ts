// Servers of three kinds with some hundred thousand objects in memory, which answer on a Unix socket: what a working set
// is measured with. Started in a session of their own, dumped by `faultline dump`, restored by `faultline restore`.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, openSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { SessionReport } from "../../src/pager/requests";
import { runCommand } from "./criu";
import { repositoryRoot } from "./program";
import { waitFor } from "./wait";

const faultline = join(repositoryRoot, "bin", "faultline");

export type ServerKind = "redis" | "node" | "python";
export const serverKinds: readonly ServerKind[] = ["redis", "node", "python"];

const nodeServer = `
const store = new Map();
for (let i = 0; i < 100000; i++) store.set("key" + i, { id: i, text: "value " + i * 7, list: [i, i + 1] });
require("node:net").createServer((socket) => socket.once("data", (data) => {
  const key = data.toString().trim();
  socket.end(JSON.stringify(store.get(key) ?? [...store.values()].slice(0, 50)));
})).listen(process.argv[1]);
`;
const pythonServer = `
import json, socketserver, sys
store = {"key%d" % i: {"id": i, "text": "value %d" % (i * 7), "list": [i, i + 1]} for i in range(100000)}
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        key = self.rfile.readline().decode().strip()
        self.wfile.write(json.dumps(store.get(key) or list(store.values())[:50]).encode())
socketserver.UnixStreamServer(sys.argv[1], Answer).serve_forever()
`;

function commandOf(kind: ServerKind, socket: string): readonly string[] {
  if (kind === "node") return [process.execPath, "-e", nodeServer, socket];
  if (kind === "python") return ["/usr/bin/python3", "-c", pythonServer, socket];
  return [
    "/usr/bin/redis-server",
    "--port",
    "0",
    "--unixsocket",
    socket,
    "--save",
    "",
    "--enable-debug-command",
    "yes",
  ];
}

/** One connection: sends a line, gives everything that comes until the other end closes (redis: until it fell silent). */
function ask(kind: ServerKind, socketPath: string, line: string): Promise<string> {
  return new Promise((done, fail) => {
    const socket = connect(socketPath, () => socket.write(`${line}\n`));
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      // An inline command's answer ends with an empty line or a whole bulk string.
      if (kind === "redis" && text.endsWith("\r\n")) socket.end();
    });
    socket.once("error", fail);
    socket.once("close", () => done(text));
  });
}

function accepts(socketPath: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(socketPath, () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}

/** The requests that every restore is asked, in order. */
export async function askAll(kind: ServerKind, socket: string): Promise<string[]> {
  const answers: string[] = [];
  for (let i = 0; i < 60; i++) {
    const key = i % 15 === 14 ? "all" : `key${(i * 977) % 100000}`;
    const line = kind === "redis" ? (key === "all" ? "DBSIZE" : `GET key:${(i * 977) % 100000}`) : key;
    answers.push(await ask(kind, socket, line));
  }
  return answers;
}

/** Starts a server and dumps it into `images`, which ends it. Gives its answers from before, and its pid. */
export async function dumpServer(
  kind: ServerKind,
  socket: string,
  images: string,
  compress: "lz4" | "none" = "lz4",
): Promise<{ readonly answers: readonly string[]; readonly pid: number }> {
  const [file, ...args] = commandOf(kind, socket);
  const output = openSync(`${socket}.log`, "a");
  const child = spawn(file!, args, {
    detached: true,
    stdio: ["ignore", output, output],
    cwd: "/",
    env: { PATH: "/usr/bin:/bin", HOME: "/" },
  });
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  try {
    // The socket's name is there a moment before it listens.
    await waitFor(`${kind} to listen`, () => existsSync(socket) && accepts(socket));
    if (kind === "redis") await ask(kind, socket, "DEBUG POPULATE 100000 key 64");
    const answers = await askAll(kind, socket);
    const { status, output: said } = await runCommand(faultline, [
      "dump",
      "-t",
      String(child.pid),
      "-D",
      images,
      "--compress",
      compress,
    ]);
    if (status !== 0) throw new Error(`dump of ${kind}: ${said}`);
    return { answers, pid: child.pid! };
  } finally {
    child.kill("SIGKILL");
    await exited;
  }
}

const progress = /^faultline: (\d+ tasks, \d+ threads|built; .*|running as \d+|\d+ of \d+ pages are in)$/;

/** A server restored in the foreground by `faultline restore --json`. */
export class RestoredServer {
  private output = "";
  private errors = "";
  private readonly exited: Promise<void>;

  private constructor(
    private readonly child: ChildProcess,
    readonly kind: ServerKind,
    readonly socket: string,
  ) {
    child.stdout!.on("data", (chunk: Buffer) => {
      this.output += chunk.toString();
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      this.errors += chunk.toString();
    });
    this.exited = new Promise((done) => child.once("close", () => done()));
  }

  /** Resolves when the server runs. */
  static async start(
    kind: ServerKind,
    socket: string,
    images: string,
    options: readonly string[],
  ): Promise<RestoredServer> {
    const child = spawn(faultline, ["restore", "-D", images, "--json", "-v", ...options], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const server = new RestoredServer(child, kind, socket);
    await waitFor(`${kind} to be restored`, () => {
      if (child.exitCode !== null) throw new Error(`restore of ${kind}: ${server.errors}`);
      return server.event("running") !== undefined;
    });
    return server;
  }

  /** What it wrote to stderr so far, without its progress. */
  get messages(): string {
    return this.errors
      .split("\n")
      .filter((line) => !progress.test(line))
      .join("\n");
  }

  /** Waits until no more pages come by themselves: the progress, five times a second, says the same twice. */
  async settled(): Promise<void> {
    await waitFor("pages to have come", () => {
      const [last, before] = (this.errors.match(/\d+ of \d+ pages are in/g) ?? []).reverse();
      return last !== undefined && (last === before || this.event("pages") !== undefined);
    });
  }

  event(name: string): Record<string, unknown> | undefined {
    const lines = this.output.split("\n").filter((line) => line.endsWith("}"));
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>).find((value) => value.event === name);
  }

  askAll(): Promise<string[]> {
    return askAll(this.kind, this.socket);
  }

  /** Ends the server and gives the pager's report. */
  async end(): Promise<SessionReport> {
    const pid = this.event("running")?.pid;
    if (typeof pid === "number" && this.child.exitCode === null) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    await this.exited;
    const report = this.event("pages");
    if (report === undefined) throw new Error(`no report of ${this.kind}: ${this.errors}`);
    return report as unknown as SessionReport;
  }
}
