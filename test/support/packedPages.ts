// Packs the page files of a CRIU dump next to the raw ones: CRIU reads its eager pages from the raw files, Faultline's
// daemon reads the packed ones, which it prefers. Or runs `faultline pack --for-criu`, which leaves CRIU only its own pages.
import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { ImageDirectory } from "../../src/images/directory";
import { PackedPagesWriter } from "../../src/images/packedWriter";
import { PageFlag } from "../../src/images/pagemap";
import { runCommand } from "./criu";
import { repositoryRoot } from "./program";

/** Packs `dir` as a user would, for a restore by `criu restore --lazy-pages`. */
export async function packForCriu(dir: string): Promise<void> {
  const { status, output } = await runCommand(join(repositoryRoot, "bin", "faultline"), ["pack", "--for-criu", dir]);
  assert.equal(status, 0, output);
}

/** Writes pagez-N.img for each live task of `dir`; returns their paths. */
export async function packBeside(dir: string): Promise<string[]> {
  const files: string[] = [];
  using directory = ImageDirectory.open(dir);
  for (const task of directory.tasks) {
    if (task.dead) continue;
    const index = directory.pageIndex(task.pid);
    const raw = openSync(join(dir, `pages-${index.pagesId}.img`), "r");
    const file = join(dir, `pagez-${index.pagesId}.img`);
    const writer = await PackedPagesWriter.create(file);
    let offset = 0;
    for (const run of index.runs()) {
      if ((run.flags & PageFlag.Present) === 0) continue;
      await writer.addFileRun(raw, offset, run.pageCount);
      offset += run.pageCount * 4096;
    }
    await writer.finish();
    closeSync(raw);
    files.push(file);
  }
  return files;
}
