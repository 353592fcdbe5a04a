// `faultline serve` under measurement: a resident process that is asked by curl, as a platform would.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { request } from "node:http";
import { promisify } from "node:util";
import { TempDir } from "../../support/tempdir";
import type { SlowDisk } from "./coldStorage";
import { faultline } from "./daemon";
import { clockMs, soon } from "./heap";

const run = promisify(execFile);

export interface RestoreWish {
  readonly directory: string;
  readonly eager?: boolean;
  readonly record?: boolean;
  readonly workingSet?: boolean;
}

export interface Served {
  readonly id: number;
  /** When curl had the answer: the tree runs. On the clock of clockMs. */
  readonly runsAtMs: number;
}

export class Service {
  private readonly exited: Promise<void>;

  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: TempDir,
  ) {
    this.exited = new Promise((done) => child.once("exit", () => done()));
  }

  /** `under`: a disk that it reads slowly from. */
  static async start(options: readonly string[] = [], under?: SlowDisk): Promise<Service> {
    const folder = new TempDir("bench-service");
    const args = ["serve", "--socket", folder.join("socket"), ...options];
    const child = spawn(faultline, args, { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    await soon("the service to listen", () => {
      if (child.exitCode !== null) throw new Error(`faultline serve: ${said}`);
      return said.includes("serving on");
    });
    under?.add(child.pid!);
    return new Service(child, folder);
  }

  private async curl(path: string, ...options: readonly string[]): Promise<unknown> {
    const args = ["-s", "-S", "--unix-socket", this.folder.join("socket"), ...options, `http://faultline${path}`];
    const { stdout } = await run("curl", args);
    const answer = JSON.parse(stdout) as { error?: { message?: string } | null };
    if (answer.error?.message !== undefined) throw new Error(`${path}: ${answer.error.message}`);
    return answer;
  }

  async restore(wish: RestoreWish): Promise<Served> {
    const { id } = (await this.curl("/v1/restores", "-d", JSON.stringify(wish))) as { id: number };
    return { id, runsAtMs: clockMs() };
  }

  /** Without curl: asked again and again, its start would be what is measured. */
  private look(id: number): Promise<{ pages: string }> {
    return new Promise((done, fail) => {
      const path = `/v1/restores/${id}`;
      const asked = request({ socketPath: this.folder.join("socket"), path }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on("end", () => done(JSON.parse(text) as { pages: string }));
      });
      asked.once("error", fail);
      asked.end();
    });
  }

  /** Resolves when every page is in. */
  async complete(id: number): Promise<void> {
    await soon("every page", async () => (await this.look(id)).pages === "complete");
  }

  /** Kills the restored tree; resolves when it is gone. */
  async kill(id: number): Promise<void> {
    await this.curl(`/v1/restores/${id}`, "-X", "DELETE");
  }

  async end(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGTERM");
    await this.exited;
    this.folder[Symbol.dispose]();
  }
}
