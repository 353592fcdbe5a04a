// A temporary directory that goes away with its test.
// Not for processes: end those first, then the directory.
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class TempDir {
  readonly path: string;

  /**
   * Made under the system's temporary directory, or `under`; `open` lets every user write there (programs that change
   * their uid).
   */
  constructor(label = "test", open = false, under = tmpdir()) {
    this.path = mkdtempSync(join(under, `faultline-${label}-`));
    if (open) chmodSync(this.path, 0o777);
  }

  join(...names: string[]): string {
    return join(this.path, ...names);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Runs `body` with a fresh directory and removes it afterwards, whatever happened. */
export async function withTempDir<T>(label: string, body: (dir: TempDir) => Promise<T> | T): Promise<T> {
  const dir = new TempDir(label);
  try {
    return await body(dir);
  } finally {
    dir[Symbol.dispose]();
  }
}
