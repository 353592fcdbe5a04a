// Deleted files: made anew, without a name, in the directory where they were, filled from their image, and opened once
// for each description. The name is taken for the moment of opening, if nobody has it, so that /proc shows it as before.
import { dirname } from "node:path";
import type { GhostFileEntry, RegFileEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import type { Batch } from "../../batch";
import { syscalls } from "../../constants";
import { isPlainDevice } from "../../devices";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";

const temporaryFile = 0o20200000; // O_TMPFILE with its O_DIRECTORY
const current = -100;
const followLink = 0x400;
const typeMask = 0o170000;
const regularType = 0o100000;
const directoryType = 0o040000;
const fifoType = 0o010000;
const deviceType = 0o020000;
const linkType = 0o120000;
const modeMask = 0o7777;
const removeDirectory = 0x200;
const linkat = 265;
const unlinkat = 263;
const mkdirat = 258;
const mknodat = 259;
const fchownat = 260;
const symlinkat = 266;
const fchmodat = 268;
const linkItself = 0x100; // AT_SYMLINK_NOFOLLOW
const fchmod = 91;
const fchown = 93;

export function ghostKey(id: number): string {
  return `ghost ${id}`;
}

export function ghostObstacle(entry: GhostFileEntry | undefined, name: string): string | undefined {
  if (entry === undefined) return `the content of the deleted file ${name} is not in the image`;
  const type = entry.mode & typeMask;
  if (type === regularType || type === directoryType || type === fifoType) return undefined;
  if (type === deviceType && entry.rdev !== undefined && isPlainDevice(BigInt(entry.rdev))) return undefined;
  if (type === linkType && entry.symlnk_target !== undefined) return undefined;
  return `the deleted ${name} is no regular file, directory, fifo, link or harmless device`;
}

export function isGhostFifo(entry: GhostFileEntry): boolean {
  return (entry.mode & typeMask) === fifoType;
}

/** What is made under a name and not opened through another: a device, a link, a fifo that stands for its name only. */
export function isGhostNode(entry: GhostFileEntry, files: readonly RegFileEntry[]): boolean {
  const type = entry.mode & typeMask;
  if (type === fifoType) return files.every((file) => (file.flags & openFlag.path) !== 0);
  return type === deviceType || type === linkType;
}

export function isGhostDirectory(entry: GhostFileEntry): boolean {
  return (entry.mode & typeMask) === directoryType;
}

function path(batch: Batch, name: string): ReturnType<Batch["place"]> {
  return batch.place(Buffer.concat([encodeText(name), Buffer.from([0])]));
}

/** The folders above a path that are not there any more, the topmost first: they are made for a moment. */
export function missingFolders(context: FileContext, name: string): string[] {
  const missing: string[] = [];
  for (let folder = dirname(name); folder !== "/" && context.isFree(folder); folder = dirname(folder)) {
    missing.unshift(folder);
  }
  return missing;
}

/** The calls and bytes that withFolders() adds. */
export function folderRoom(folders: readonly string[]): [calls: number, bytes: number] {
  return [folders.length * 2, folders.reduce((sum, folder) => sum + folder.length * 8 + 64, 0)];
}

/** Calls made by `compose` while the folders are there. */
export function withFolders(batch: Batch, folders: readonly string[], compose: () => void): void {
  for (const folder of folders) batch.call(mkdirat, [current, path(batch, folder), 0o700], { tolerate: true });
  compose();
  for (const folder of [...folders].reverse()) {
    batch.call(unlinkat, [current, path(batch, folder), removeDirectory], { tolerate: true });
  }
}

/** The nameless file, for the tracer to fill. */
export function makeGhost(context: FileContext, id: number, entry: GhostFileEntry, name: string): void {
  const folders = missingFolders(context, name);
  const [calls, bytes] = folderRoom(folders);
  const batch = context.script.room(6 + calls, name.length * 4 + 128 + bytes);
  const flags = temporaryFile | openFlag.readWrite | openFlag.closeOnExec;
  withFolders(batch, folders, () => {
    batch.call(syscalls.openat, [current, path(batch, dirname(name)), flags, entry.mode & modeMask], {
      purpose: `making the deleted file ${name}`,
    });
  });
  batch.call(fchmod, [0, entry.mode & modeMask]);
  if (entry.uid !== 0 || entry.gid !== 0) batch.call(fchown, [0, entry.uid, entry.gid]);
  settle(context, batch, 0, ghostKey(id));
}

/**
 * All descriptions of one file that has lost its name: `from` is a path that leads to the file. Where nobody has the
 * name, the file gets it for the moment of opening. The opens are tolerated to fail, so that the name is always taken
 * away again; a descriptor that is missing then fails where it is placed.
 */
export function openNameless(context: FileContext, from: string, files: readonly RegFileEntry[]): void {
  const name = files[0]?.name ?? "";
  const named = context.isFree(name);
  const folders = named ? missingFolders(context, name) : [];
  const [calls, bytes] = folderRoom(folders);
  const batch = context.script.room(
    2 + files.length * 7 + calls,
    (files.length + 3) * (name.length * 4 + from.length * 4 + 96) + bytes,
  );
  withFolders(batch, folders, () => openByName(context, batch, from, files, named));
}

function openByName(
  context: FileContext,
  batch: Batch,
  from: string,
  files: readonly RegFileEntry[],
  named: boolean,
): void {
  const name = files[0]?.name ?? "";
  if (named) {
    batch.call(linkat, [current, path(batch, from), current, path(batch, name), followLink], {
      purpose: `naming ${name} for a moment`,
    });
  }
  for (const file of files) {
    const flags = openedAgain(file, named);
    batch.call(syscalls.openat, [current, path(batch, named ? name : from), flags], { tolerate: true });
    if (file.pos > 0n) batch.call(syscalls.lseek, [0, file.pos, 0], { tolerate: true });
    setOwner(batch, 0, file.fown);
    const master = context.masters.of(fileKey(file.id));
    batch.call(syscalls.dup3, [0, master, openFlag.closeOnExec], { tolerate: true });
    batch.call(syscalls.close, [0], { tolerate: true });
  }
  if (named) batch.call(unlinkat, [current, path(batch, name), 0]);
}

/** Without its name a file is opened through a link, which is to be followed; what was made by O_TMPFILE is there already. */
function openedAgain({ flags }: RegFileEntry, named: boolean): number {
  const once = openFlag.create | openFlag.exclusive | openFlag.truncate | (named ? 0 : openFlag.noFollow);
  const made = (flags & temporaryFile) === temporaryFile ? temporaryFile : 0;
  return (flags & ~once & ~made) | openFlag.closeOnExec;
}

/** The descriptions of a deleted file made by makeGhost, and filled since. */
export function openGhost(context: FileContext, id: number, files: readonly RegFileEntry[]): void {
  const master = context.masters.of(ghostKey(id));
  openNameless(context, `/proc/self/fd/${master}`, files);
  // At once: the end of any of its directory entries is the end of all inotify watches on a file without links.
  context.script.room(1).call(syscalls.close, [master]);
}

/** A deleted directory: made where nothing is, opened, and removed again. */
export function makeGhostDirectory(context: FileContext, files: readonly RegFileEntry[], entry: GhostFileEntry): void {
  const name = files[0]?.name ?? "";
  const folders = missingFolders(context, name);
  const [calls, bytes] = folderRoom(folders);
  const batch = context.script.room(6 + files.length * 6 + calls, (files.length + 5) * (name.length * 4 + 64) + bytes);
  withFolders(batch, folders, () => {
    const mode = entry.mode & modeMask;
    batch.call(mkdirat, [current, path(batch, name), mode], { purpose: `making the directory ${name}` });
    if (entry.uid !== 0 || entry.gid !== 0) {
      batch.call(fchownat, [current, path(batch, name), entry.uid, entry.gid, linkItself]);
    }
    batch.call(fchmodat, [current, path(batch, name), mode]); // whatever the mask for new files is
    for (const file of files) {
      const flags = (file.flags & openFlag.path) | openFlag.directory | openFlag.closeOnExec;
      batch.call(syscalls.openat, [current, path(batch, name), flags]);
      setOwner(batch, 0, file.fown);
      settle(context, batch, 0, fileKey(file.id));
    }
    batch.call(unlinkat, [current, path(batch, name), removeDirectory]);
  });
}

/** A deleted device, link or fifo: made under its name, or beside it where another file has that by now, and removed again. */
export function makeGhostNode(context: FileContext, files: readonly RegFileEntry[], entry: GhostFileEntry): void {
  const known = files[0]?.name ?? "";
  const name = context.isFree(known) ? known : `${known}.faultline-${files[0]?.id}`;
  const folders = missingFolders(context, name);
  const [calls, bytes] = folderRoom(folders);
  const batch = context.script.room(5 + files.length * 6 + calls, (files.length + 5) * (name.length * 4 + 64) + bytes);
  withFolders(batch, folders, () => {
    makeNode(batch, name, entry);
    for (const file of files) {
      const flags = openedAgain(file, true) | openFlag.noTerminal;
      batch.call(syscalls.openat, [current, path(batch, name), flags]);
      setOwner(batch, 0, file.fown);
      settle(context, batch, 0, fileKey(file.id));
    }
    batch.call(unlinkat, [current, path(batch, name), 0]);
  });
}

function makeNode(batch: Batch, name: string, entry: GhostFileEntry): void {
  const mode = entry.mode & modeMask;
  const purpose = `making the deleted ${name}`;
  if ((entry.mode & typeMask) === linkType) {
    const target = path(batch, entry.symlnk_target ?? "");
    batch.call(symlinkat, [target, current, path(batch, name)], { purpose });
  } else {
    batch.call(mknodat, [current, path(batch, name), entry.mode, entry.rdev ?? 0], { purpose });
    batch.call(fchmodat, [current, path(batch, name), mode]);
  }
  if (entry.uid !== 0 || entry.gid !== 0) {
    batch.call(fchownat, [current, path(batch, name), entry.uid, entry.gid, linkItself]);
  }
}
