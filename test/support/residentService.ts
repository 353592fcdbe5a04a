// `faultline serve` as a resident process that a test asks to dump and to restore. Not for what it answers in detail:
// service.test.ts holds that to the contract.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { repositoryRoot } from "./program";
import type { TempDir } from "./tempdir";
import { waitFor } from "./wait";

interface Answer {
  readonly id: number;
  readonly pages: "arriving" | "complete" | "failed";
  readonly error: { readonly message: string } | null;
}

export class ResidentService {
  private constructor(
    private readonly child: ChildProcess,
    private readonly socket: string,
    /** What it wrote to stderr. */
    private readonly said: () => string,
    /** Its own directory for temporary files. */
    readonly temporaryFolder: string,
  ) {}

  /** Starts it with its socket in `folder`, runs `body`, and ends it, and with it every tree that it restored. */
  static async using<T>(folder: TempDir, body: (service: ResidentService) => Promise<T>): Promise<T> {
    const [socket, temporary] = [folder.join("socket"), folder.join("tmp")];
    mkdirSync(temporary);
    // Not through the shell script: the process that is looked at is Node.
    const args = [join(repositoryRoot, "dist", "cmd", "faultline.js"), "serve", "--socket", socket];
    const env = { ...process.env, TMPDIR: temporary };
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"], detached: true, env });
    let said = "";
    child.stderr!.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    const exited = new Promise<void>((done) => child.once("exit", () => done()));
    try {
      await waitFor("the service to listen", () => {
        if (child.exitCode !== null) throw new Error(`faultline serve: ${said}`);
        return said.includes("serving on");
      });
      return await body(new ResidentService(child, socket, () => said, temporary));
    } finally {
      child.kill("SIGTERM");
      await exited;
    }
  }

  get pid(): number {
    return this.child.pid!;
  }

  async dump(wish: { readonly pid: number; readonly directory: string; readonly leaveRunning: boolean }) {
    await this.ask("POST", "/v1/dumps", wish);
  }

  /** Gives the restore's id when the tree runs. */
  async restore(wish: { readonly directory: string; readonly eager: boolean }): Promise<number> {
    return (await this.ask("POST", "/v1/restores", wish)).id;
  }

  /** Resolves when every page of a restore is in. */
  async complete(id: number): Promise<void> {
    await waitFor("every page", async () => (await this.ask("GET", `/v1/restores/${id}`)).pages === "complete");
  }

  private ask(method: string, path: string, wish?: object): Promise<Answer> {
    return new Promise((resolve, reject) => {
      // A connection of its own: one that is kept may just be closed by the other side.
      const asked = request({ socketPath: this.socket, method, path, agent: false }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on("end", () => {
          const answer = JSON.parse(text) as Answer;
          if (response.statusCode === 200 || response.statusCode === 201) resolve(answer);
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${answer.error?.message}`));
        });
      });
      asked.once("error", (error) => reject(new Error(`${method} ${path}: ${error.message}; it said: ${this.said()}`)));
      asked.end(wish === undefined ? undefined : JSON.stringify(wish));
    });
  }
}
