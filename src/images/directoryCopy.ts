// A changed copy of an image directory that appears all at once: made beside its place, renamed there when complete.
import {
  constants,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { FaultlineError } from "../errors";
import { EMPTY_PARENT } from "./criuPagemap";
import { syncPath, TEMPORARY_SUFFIX } from "./directoryChange";
import { fileError } from "./openFile";

/** Copies `source`, lets `change` work on the copy, and gives it the name `output`, which must not exist. */
export async function copyDirectory<T extends { readonly directory: string }>(
  source: string,
  output: string,
  change: (copy: string) => Promise<T>,
): Promise<T> {
  const target = resolve(output);
  if (existsSync(target)) {
    throw new FaultlineError("BUSY", "the output exists", { file: target, advice: "name a directory that does not" });
  }
  let copy: string;
  try {
    copy = mkdtempSync(`${target}${TEMPORARY_SUFFIX}-`);
  } catch (cause) {
    throw fileError(cause, "cannot create the output", target);
  }
  try {
    copyEntries(source, copy, target);
    const result = await change(copy);
    syncPath(copy);
    renameSync(copy, target);
    syncPath(dirname(target));
    return { ...result, directory: target };
  } catch (error) {
    rmSync(copy, { recursive: true, force: true });
    if (error instanceof FaultlineError) throw error;
    throw fileError(error, "cannot write the copy", target);
  }
}

function copyEntries(source: string, copy: string, target: string): void {
  for (const name of readdirSync(source)) {
    const from = join(source, name);
    const stat = lstatSync(from);
    if (stat.isSymbolicLink()) symlinkSync(linkFor(source, target, name), join(copy, name));
    else if (stat.isFile()) copySynced(from, join(copy, name));
    else if (name === EMPTY_PARENT) cpSync(from, join(copy, name), { recursive: true });
    // Sockets and the like of a daemon at work are not images.
  }
}

/** A relative link (`parent`) is kept where it leads to the same place from the copy, else made to. */
function linkFor(source: string, target: string, name: string): string {
  const link = readlinkSync(join(source, name));
  if (isAbsolute(link) || resolve(source, link) === resolve(target, link)) return link;
  // Into the directory itself: the empty parent image that pack makes for CRIU.
  if (resolve(source, link).startsWith(`${source}/`)) return link;
  return relative(target, realpathSync(join(source, name)));
}

function copySynced(from: string, to: string): void {
  copyFileSync(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  syncPath(to);
}
