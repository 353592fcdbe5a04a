// The image directories that a pager has open: shared by its sessions, read ahead of the first task, closed with the last.
// What was decoded of the latest is kept for the next session, as long as no image of it changes.
import { FaultlineError } from "../errors";
import { ImageDirectory } from "../images/directory";
import { PageFlag } from "../images/pagemap";
import { SPACE_KEPT_RANGES_MAX } from "../limits";
import { LAYOUT_ENTRY_NUMBERS, Space } from "../space/space";
import { criuLayout } from "./criuLayout";
import { openSource } from "./imageSource";

/** Directories without a session that are kept decoded, without an open file: some 120 bytes for each run of pages. */
const KEPT_MAX = 4;

/** An address space in which nothing has been installed: never changed itself, a context gets a fork of it. */
interface Fresh {
  readonly layout: Float64Array;
  readonly space: Space;
}

interface Open {
  readonly directory: ImageDirectory;
  /** By the task's pid in the images: what its last restore began with. */
  readonly fresh: Map<number, Fresh>;
  users: number;
}

export class OpenImages {
  private readonly byPath = new Map<string, Open>();
  private readonly bySession = new Map<number, string>();
  /** Without a user, in the order of last use. */
  private readonly kept = new Map<string, Open>();

  /** Opens and keeps the directory, and reads what every task of it will need. Throws what the images throw. */
  prepare(path: string): void {
    const open = this.acquire(path);
    for (const task of open.directory.tasks) {
      if (task.dead) continue;
      const layout = criuLayout(open.directory, task.pid);
      freshSpace(open, task.pid, layout);
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
    this.keep(path, open);
  }

  directory(sessionId: number): ImageDirectory {
    return this.open(sessionId).directory;
  }

  /**
   * What the pages of a task need, as its restore says it. Building that of a heap with hundreds of ranges takes milliseconds,
   * while which the task waits, so what was built for the same layout before is used again.
   */
  space(sessionId: number, imagePid: number, layout: Float64Array | undefined): Space {
    const open = this.open(sessionId);
    // Without a layout it is CRIU's, which follows from the images.
    const known = layout === undefined ? open.fresh.get(imagePid) : undefined;
    return known?.space.fork() ?? freshSpace(open, imagePid, layout ?? criuLayout(open.directory, imagePid));
  }

  close(): void {
    for (const open of this.byPath.values()) open.directory.close();
    this.byPath.clear();
    this.bySession.clear();
    this.kept.clear();
  }

  private open(sessionId: number): Open {
    const path = this.bySession.get(sessionId);
    if (path === undefined) throw new FaultlineError("IMAGE_MISSING", "the session has no image directory");
    return this.byPath.get(path)!;
  }

  private acquire(path: string): Open {
    let open = this.byPath.get(path);
    if (open === undefined) {
      open = this.takeKept(path) ?? { directory: ImageDirectory.open(path), fresh: new Map(), users: 0 };
      this.byPath.set(path, open);
    }
    open.users++;
    return open;
  }

  private keep(path: string, open: Open): void {
    this.kept.set(path, open);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= KEPT_MAX) return;
      this.kept.delete(oldest);
    }
  }

  private takeKept(path: string): Open | undefined {
    const open = this.kept.get(path);
    this.kept.delete(path);
    if (open === undefined) return undefined;
    // The same path may be a link that leads elsewhere now.
    return ImageDirectory.resolve(path) === open.directory.path && open.directory.isUnchanged() ? open : undefined;
  }
}

/** A space for the layout: a fork of the one that is kept for the task, where the layout is the same. */
function freshSpace({ fresh }: Open, imagePid: number, layout: Float64Array): Space {
  const known = fresh.get(imagePid);
  if (known !== undefined && isSame(known.layout, layout)) return known.space.fork();
  const space = Space.from(layout);
  if (layout.length > SPACE_KEPT_RANGES_MAX * LAYOUT_ENTRY_NUMBERS) return space;
  fresh.set(imagePid, { layout, space });
  return space.fork();
}

function isSame(one: Float64Array, other: Float64Array): boolean {
  const bytes = (array: Float64Array): Buffer => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return bytes(one).equals(bytes(other));
}
