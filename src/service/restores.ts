// The restored trees of a service: what runs, what has ended, and how far the pages of each are.
import { FaultlineError } from "../errors";
import { SERVICE_RESTORES_MAX } from "../limits";
import type { EventLog } from "./events";

/** How a root task ended: its exit code, or the signal that ended it. */
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: number | null;
}

/** A running restore, as an engine hands it over. */
export interface RunningTree {
  readonly pid: number;
  /** From the start of the restore to the first instruction of the program, microseconds. */
  readonly restoreUs: number;
  readonly pagesTotal: number;
  /** Pages that have not arrived yet. */
  missingPages(): Promise<number>;
  /** Resolves when every page has arrived; rejects where the error policy had to be applied. */
  readonly pagesDone: Promise<void>;
  readonly exited: Promise<ExitStatus>;
  /** Ends every task of the tree with SIGKILL. */
  kill(): void;
}

/** A restore as the contract shows it. */
export interface RestoreView {
  readonly id: number;
  readonly directory: string;
  readonly pid: number;
  readonly state: "running" | "exited";
  readonly pages: "arriving" | "complete" | "failed";
  readonly pagesTotal: number;
  readonly pagesMissing: number;
  readonly restoreUs: number;
  readonly startedAt: string;
  readonly exit: ExitStatus | null;
  readonly error: string | null;
}

interface Entry {
  readonly id: number;
  readonly directory: string;
  readonly tree: RunningTree;
  readonly startedAt: string;
  pages: RestoreView["pages"];
  exit: ExitStatus | null;
  error: string | null;
}

export class Restores {
  private readonly entries = new Map<number, Entry>();
  private nextId = 1;

  constructor(private readonly events: EventLog) {}

  get running(): number {
    return [...this.entries.values()].filter((entry) => entry.exit === null).length;
  }

  get started(): number {
    return this.nextId - 1;
  }

  add(directory: string, tree: RunningTree): Promise<RestoreView> {
    const entry: Entry = {
      id: this.nextId++,
      directory,
      tree,
      startedAt: new Date().toISOString(),
      pages: "arriving",
      exit: null,
      error: null,
    };
    this.entries.set(entry.id, entry);
    this.events.emit("restored", { restore: entry.id, pid: tree.pid, directory, restoreUs: tree.restoreUs });
    tree.pagesDone.then(
      () => {
        entry.pages = "complete";
        this.events.emit("pages-complete", { restore: entry.id, pid: tree.pid });
      },
      (error: unknown) => {
        entry.pages = "failed";
        entry.error = error instanceof FaultlineError ? error.line() : String(error);
        this.events.emit("pages-failed", { restore: entry.id, pid: tree.pid, message: entry.error });
      },
    );
    tree.exited.then((exit) => {
      entry.exit = exit;
      this.events.emit("exited", { restore: entry.id, pid: tree.pid, code: exit.code, signal: exit.signal });
      this.forgetOldest();
    });
    return this.view(entry);
  }

  list(): Promise<RestoreView[]> {
    return Promise.all([...this.entries.values()].map((entry) => this.view(entry)));
  }

  /** @throws FaultlineError NOT_FOUND */
  get(id: number): Promise<RestoreView> {
    return this.view(this.find(id));
  }

  /** Ends the tree and answers when it is gone. */
  async end(id: number): Promise<RestoreView> {
    const entry = this.find(id);
    if (entry.exit === null) {
      entry.tree.kill();
      await entry.tree.exited;
    }
    return this.view(entry);
  }

  async endAll(): Promise<void> {
    await Promise.all([...this.entries.keys()].map((id) => this.end(id)));
  }

  private find(id: number): Entry {
    const entry = this.entries.get(id);
    if (entry === undefined) {
      throw new FaultlineError("NOT_FOUND", `no restore ${id}`, { advice: "GET /v1/restores lists them" });
    }
    return entry;
  }

  private async view(entry: Entry): Promise<RestoreView> {
    const { tree } = entry;
    return {
      id: entry.id,
      directory: entry.directory,
      pid: tree.pid,
      state: entry.exit === null ? "running" : "exited",
      pages: entry.pages,
      pagesTotal: tree.pagesTotal,
      pagesMissing: entry.pages === "complete" ? 0 : await tree.missingPages(),
      restoreUs: tree.restoreUs,
      startedAt: entry.startedAt,
      exit: entry.exit,
      error: entry.error,
    };
  }

  private forgetOldest(): void {
    const ended = [...this.entries.values()].filter((entry) => entry.exit !== null);
    for (const entry of ended.slice(0, Math.max(0, ended.length - SERVICE_RESTORES_MAX))) this.entries.delete(entry.id);
  }
}
