// Names that a dump gives to files that have lost the one they were opened by, while another exists somewhere (a hard
// link): link_remap.N beside the old name, as CRIU's images have them. A dump that fails takes them away again.
import { unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { checked, FaultlineError } from "../../errors";
import { native } from "../../native";

const exists = 17;
/** Names that earlier dumps left; far more than ever lie in one directory. */
const triesMax = 10_000;

export class RemapLinks implements Disposable {
  #made: string[] = [];

  /** Links the file behind `procPath` (/proc/PID/fd/N) beside `name`, its old path. Returns the new path. */
  make(procPath: string, name: string, pid: number, number: number): string {
    for (let suffix = number; suffix < number + triesMax; suffix++) {
      const path = join(dirname(name), `link_remap.${suffix}`);
      const done = native.linkFile(procPath, path);
      if (done === -exists) continue;
      checked(done, "linkat", "a file that lost its name cannot get another", { pid, file: path });
      this.#made.push(path);
      return path;
    }
    throw new FaultlineError("SYSTEM", "no name is free for a file that lost its own", { pid, file: name });
  }

  /** The images are complete: the names stay for the restore. */
  keep(): void {
    this.#made = [];
  }

  [Symbol.dispose](): void {
    for (const path of this.#made) unlinkSync(path);
    this.#made = [];
  }
}
