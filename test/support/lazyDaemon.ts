// Runs `faultline lazy-pages` as a user would, for tests that restore with the real CRIU.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { PagerReport } from "../../src/pager/requests";
import { repositoryRoot } from "./program";
import { waitFor } from "./wait";

const command = join(repositoryRoot, "bin", "faultline");

export class FaultlineLazyPages {
  private output = "";
  private errors = "";
  readonly exited: Promise<number>;

  private constructor(private readonly child: ChildProcess) {
    child.stdout!.on("data", (chunk: Buffer) => {
      this.output += chunk.toString();
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      this.errors += chunk.toString();
    });
    this.exited = new Promise((done) => child.once("close", (code) => done(code ?? 128)));
  }

  /** Starts the daemon for `dir` and waits until it listens. */
  static async start(dir: string, options: readonly string[] = []): Promise<FaultlineLazyPages> {
    const args = ["lazy-pages", "-D", dir, "-v", "--json", ...options];
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    const daemon = new FaultlineLazyPages(child);
    await waitFor("faultline lazy-pages to listen", () => {
      if (child.exitCode !== null) throw new Error(`faultline lazy-pages: ${daemon.errors}`);
      // The socket alone is there a little before all that the daemon opens at its start.
      return existsSync(join(dir, "lazy-pages.socket")) && daemon.errors.includes("listening in");
    });
    return daemon;
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** What it wrote to stderr so far. */
  get messages(): string {
    return this.errors;
  }

  /** Lines on stdout so far. */
  lines(): string[] {
    return this.output.split("\n").filter((line) => line !== "");
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Waits for exit status 0 and gives the JSON summary. */
  async finished(): Promise<PagerReport> {
    const status = await this.exited;
    if (status !== 0) throw new Error(`faultline lazy-pages exited with ${status}: ${this.errors}`);
    return JSON.parse(this.output.trim().split("\n").pop()!) as PagerReport;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.exited;
  }
}
