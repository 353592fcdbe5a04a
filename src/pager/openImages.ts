// The image directories that a pager has open: shared by its sessions, read ahead of the first task, closed with the last.
import { FaultlineError } from "../errors";
import { ImageDirectory } from "../images/directory";
import { PageFlag } from "../images/pagemap";
import { criuLayout } from "./criuLayout";
import { openSource } from "./imageSource";

interface Open {
  readonly directory: ImageDirectory;
  /** Layouts of CRIU's restore, made before they are needed. */
  readonly layouts: Map<number, Float64Array>;
  users: number;
}

export class OpenImages {
  private readonly byPath = new Map<string, Open>();
  private readonly bySession = new Map<number, string>();

  /** Opens and keeps the directory, and reads what every task of it will need. Throws what the images throw. */
  prepare(path: string): void {
    const open = this.acquire(path);
    for (const task of open.directory.tasks) {
      if (task.dead) continue;
      open.layouts.set(task.pid, criuLayout(open.directory, task.pid));
      const layout = open.layouts.get(task.pid)!;
      // The first lookup opens the page file and compares its length with the pagemap.
      const source = openSource(open.directory, { kind: "task", id: task.pid });
      for (let at = 0; at < layout.length; at += 4) {
        if (layout[at + 2]! < 0) continue;
        source.locate(layout[at + 3]!);
        break;
      }
    }
  }

  openSession(sessionId: number, path: string): void {
    this.acquire(path);
    this.bySession.set(sessionId, path);
  }

  /**
   * Opens what the tasks of a session will need, while nobody waits for it. What is wrong with it is told where it is
   * asked for: the restore may not need it.
   */
  openAhead(sessionId: number): void {
    const { directory } = this.open(sessionId);
    try {
      for (const task of directory.tasks) {
        const index = task.dead ? undefined : directory.pageIndex(task.pid);
        for (let run = 0; index !== undefined && run < index.runCount; run++) {
          const { firstPage, flags } = index.run(run);
          if ((flags & PageFlag.Present) === 0) continue;
          index.lookup(firstPage); // opens the page file
          break;
        }
      }
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
    }
  }

  closeSession(sessionId: number): void {
    const path = this.bySession.get(sessionId);
    if (path === undefined) return;
    this.bySession.delete(sessionId);
    const open = this.byPath.get(path)!;
    if (--open.users > 0) return;
    this.byPath.delete(path);
    open.directory.close();
  }

  directory(sessionId: number): ImageDirectory {
    return this.open(sessionId).directory;
  }

  layout(sessionId: number, imagePid: number): Float64Array {
    const open = this.open(sessionId);
    return open.layouts.get(imagePid) ?? criuLayout(open.directory, imagePid);
  }

  close(): void {
    for (const open of this.byPath.values()) open.directory.close();
    this.byPath.clear();
    this.bySession.clear();
  }

  private open(sessionId: number): Open {
    const path = this.bySession.get(sessionId);
    if (path === undefined) throw new FaultlineError("IMAGE_MISSING", "the session has no image directory");
    return this.byPath.get(path)!;
  }

  private acquire(path: string): Open {
    let open = this.byPath.get(path);
    if (open === undefined) {
      open = { directory: ImageDirectory.open(path), layouts: new Map(), users: 0 };
      this.byPath.set(path, open);
    }
    open.users++;
    return open;
  }
}
