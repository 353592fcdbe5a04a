// Changes files of a directory so that a crash at any moment leaves either the old or the new, never neither: new files
// are written under temporary names and synced, then renamed, and only then are old ones removed. One change at a time
// per directory, held by a lock. What is changed is pack.ts and unpack.ts.
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FaultlineError } from "../errors";
import { native } from "../native";
import { fileError } from "./openFile";

/** What temporary names end in. Files so named are left by a process that was killed, and are removed by the next. */
export const TEMPORARY_SUFFIX = ".faultline-new";

const EAGAIN = 11;

export class DirectoryChange implements Disposable {
  private readonly pending = new Set<string>();

  private constructor(
    readonly path: string,
    private readonly fd: number,
  ) {}

  /** Takes the directory's lock and removes what a killed process left. Throws BUSY, PERMISSION or SYSTEM. */
  static begin(path: string): DirectoryChange {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    const done = native.lockExclusive(fd);
    if (done < 0) {
      closeSync(fd);
      throw new FaultlineError(done === -EAGAIN ? "BUSY" : "SYSTEM", "the directory cannot be locked", {
        file: path,
        syscall: "flock",
        errno: -done,
        advice: "another faultline is packing or unpacking it; wait for that",
      });
    }
    for (const name of readdirSync(path)) if (name.endsWith(TEMPORARY_SUFFIX)) removeAll(join(path, name));
    return new DirectoryChange(path, fd);
  }

  /** The temporary path under which the file `name` is to be written. It goes away with this change unless committed. */
  temporary(name: string): string {
    this.pending.add(name);
    return join(this.path, name + TEMPORARY_SUFFIX);
  }

  /** Writes a small file under its temporary name, synced. */
  write(name: string, bytes: Uint8Array): void {
    const file = this.temporary(name);
    try {
      writeFileSync(file, bytes, { mode: 0o600, flush: true });
    } catch (cause) {
      throw fileError(cause, "cannot write the file", file);
    }
  }

  /** Gives a file that was written under its temporary name, and synced, its own name. `like`: whose owner and mode. */
  commit(name: string, like: Stats): void {
    const file = join(this.path, name + TEMPORARY_SUFFIX);
    try {
      chownSync(file, like.uid, like.gid);
      chmodSync(file, like.mode & 0o7777);
      renameSync(file, join(this.path, name));
    } catch (cause) {
      throw fileError(cause, "cannot rename the file", file);
    }
    this.pending.delete(name);
  }

  /** Gives a directory, or a link, that was made under its temporary name its own name. */
  commitOther(name: string): void {
    renameSync(join(this.path, name + TEMPORARY_SUFFIX), join(this.path, name));
    this.pending.delete(name);
  }

  /** Removes a file that the committed ones stand in for, or a whole directory. */
  remove(name: string): void {
    removeAll(join(this.path, name));
  }

  /** Makes renames and removals so far durable. */
  sync(): void {
    fsyncSync(this.fd);
  }

  /** Ends the change: removes temporary files that were not committed and gives the lock back. */
  [Symbol.dispose](): void {
    for (const name of this.pending) removeAll(join(this.path, name + TEMPORARY_SUFFIX));
    closeSync(this.fd);
  }
}

function removeAll(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** Makes a file's bytes, or a directory's names, durable (fsync(2)). */
export function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
