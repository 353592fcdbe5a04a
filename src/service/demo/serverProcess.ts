// The document server as a process: started, asked, and ended. Not for freezing it; that is demo.ts.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { FaultlineError } from "../../errors";

const pollMs = 20;
const goneMs = 1;
/** No answer takes longer unless something hangs: a digest reads every document. */
const answerLimitMs = 120_000;

export interface ServerStart {
  readonly port: number;
  readonly documents: number;
  readonly bytes: number;
}

export interface ServerStatus {
  readonly documents: number;
  readonly answered: number;
  readonly startedAt: string;
}

export class ServerProcess {
  private over = false;

  private constructor(
    private readonly child: ChildProcess,
    private readonly log: string,
  ) {
    child.once("error", () => undefined); // `pid` tells
  }

  /**
   * In a session of its own, with nothing open but /dev/null and its log: so that all of it is in the image, and so that
   * Ctrl-C reaches only us.
   */
  static spawn(log: string, bytes: number, parent: number): ServerProcess {
    const output = openSync(log, "w");
    try {
      const args = [join(__dirname, "documentServer.js"), String(bytes), String(parent)];
      const child = spawn(process.execPath, args, {
        cwd: "/",
        detached: true,
        stdio: ["ignore", output, output],
        env: { PATH: process.env.PATH ?? "" },
      });
      return new ServerProcess(child, log);
    } finally {
      closeSync(output);
    }
  }

  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new FaultlineError("SYSTEM", "the demo's server could not be started");
    return pid;
  }

  /** Resolves when the server has its documents and listens. */
  async ready(signal: AbortSignal): Promise<ServerStart> {
    for (;;) {
      signal.throwIfAborted();
      const text = readFileSync(this.log, "utf8");
      if (text.startsWith("{") && text.endsWith("\n")) return JSON.parse(text) as ServerStart;
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new FaultlineError("SYSTEM", `the demo's server ended early: ${text.trim() || "it said nothing"}`);
      }
      await pause(pollMs);
    }
  }

  /** Resolves when the process is gone and reaped, so that its pid is free. Who reaps it, Node or the dump, is open. */
  async gone(): Promise<void> {
    while (!this.over && existsSync(`/proc/${this.child.pid}`)) await pause(goneMs);
    this.over = true;
  }

  /** Ends it, unless it was found gone before: its pid may be another's by now. */
  async end(): Promise<void> {
    if (this.over || this.child.pid === undefined) return;
    this.child.kill("SIGKILL");
    await this.gone();
  }
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One request by a connection of its own. */
export function ask(port: number, path: string, signal?: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const take = (response: IncomingMessage): void => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.once("error", reject);
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString() }));
    };
    const options = { host: "127.0.0.1", port, path, agent: false, timeout: answerLimitMs };
    const asked = request(signal === undefined ? options : { ...options, signal }, take);
    asked.once("timeout", () => asked.destroy(new Error(`no answer to ${path} in ${answerLimitMs} ms`)));
    asked.once("error", reject);
    asked.end();
  });
}
