// The directory that a dump fills: a hidden one beside the final name, synced and renamed when complete, so that no half
// image is ever seen under the final name. Knows nothing of what is in it.
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { FaultlineError } from "../../errors";

export class ImageFolder {
  /** The final name. */
  readonly target: string;
  /** Where files go until commit(). */
  readonly path: string;
  #open = true;

  /** Throws BUSY where the target exists and is not an empty directory. */
  constructor(target: string) {
    this.target = resolve(target);
    refuseOccupied(this.target);
    try {
      mkdirSync(dirname(this.target), { recursive: true });
      this.path = mkdtempSync(join(dirname(this.target), `.${basename(this.target)}.partial-`));
    } catch (cause) {
      throw folderError(cause, "the image directory cannot be made", this.target);
    }
  }

  write(name: string, bytes: Uint8Array): void {
    const file = join(this.path, name);
    try {
      writeFileSync(file, bytes, { mode: 0o600, flag: "wx" });
    } catch (cause) {
      throw folderError(cause, "an image cannot be written", join(this.target, name));
    }
  }

  /** Makes everything durable and gives it its final name. */
  async commit(): Promise<void> {
    try {
      // Together: the file system makes all of them durable at once, not one after the other.
      await Promise.all(readdirSync(this.path).map((name) => sync(join(this.path, name))));
      await sync(this.path);
      renameSync(this.path, this.target);
      await sync(dirname(this.target));
    } catch (cause) {
      throw folderError(cause, "the image directory cannot be completed", this.target);
    }
    this.#open = false;
  }

  /** Removes what was written, unless committed. */
  abandon(): void {
    if (this.#open) rmSync(this.path, { recursive: true, force: true });
    this.#open = false;
  }
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function refuseOccupied(target: string): void {
  let names: string[];
  try {
    names = readdirSync(target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw folderError(error, "the image directory cannot be used", target);
  }
  if (names.length > 0) {
    throw new FaultlineError("BUSY", "the image directory is not empty", {
      file: target,
      advice: "name another one, or remove what is in it",
    });
  }
}

/** A failure of the file system as a FaultlineError; other errors stay what they are. */
export function folderError(cause: unknown, message: string, file: string): FaultlineError {
  if (cause instanceof FaultlineError) return cause;
  const { code, errno } = cause as NodeJS.ErrnoException;
  if (code === undefined || errno === undefined) throw cause; // a bug: it keeps its stack
  const refused = code === "EACCES" || code === "EPERM" || code === "EROFS";
  const advice = code === "ENOSPC" ? "the disk is full; the program runs on" : undefined;
  return new FaultlineError(refused ? "PERMISSION" : "SYSTEM", message, {
    file,
    errno: errno === undefined ? undefined : Math.abs(errno),
    advice,
    cause,
  });
}
