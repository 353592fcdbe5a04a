// Deleted files: made anew, without a name, in the directory where they were, filled from their image, and opened once
// for each description. The name is taken for the moment of opening, if nobody has it, so that /proc shows it as before.
import { dirname } from "node:path";
import type { GhostFileEntry, RegFileEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import type { Batch } from "../../batch";
import { syscalls } from "../../constants";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";

const temporaryFile = 0o20200000; // O_TMPFILE with its O_DIRECTORY
const current = -100;
const followLink = 0x400;
const typeMask = 0o170000;
const regularType = 0o100000;
const directoryType = 0o040000;
const modeMask = 0o7777;
const removeDirectory = 0x200;
const linkat = 265;
const unlinkat = 263;
const mkdirat = 258;
const fchmod = 91;
const fchown = 93;

export function ghostKey(id: number): string {
  return `ghost ${id}`;
}

export function ghostObstacle(entry: GhostFileEntry | undefined, name: string): string | undefined {
  if (entry === undefined) return `the content of the deleted file ${name} is not in the image`;
  const type = entry.mode & typeMask;
  if (type !== regularType && type !== directoryType) return `the deleted ${name} is no regular file or directory`;
  return undefined;
}

export function isGhostDirectory(entry: GhostFileEntry): boolean {
  return (entry.mode & typeMask) === directoryType;
}

function path(batch: Batch, name: string): ReturnType<Batch["place"]> {
  return batch.place(Buffer.concat([encodeText(name), Buffer.from([0])]));
}

/** The nameless file, for the tracer to fill. */
export function makeGhost(context: FileContext, id: number, entry: GhostFileEntry, name: string): void {
  const batch = context.script.room(6, name.length * 4 + 128);
  const flags = temporaryFile | openFlag.readWrite | openFlag.closeOnExec;
  batch.call(syscalls.openat, [current, path(batch, dirname(name)), flags, entry.mode & modeMask], {
    purpose: `making the deleted file ${name}`,
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
  const batch = context.script.room(
    2 + files.length * 7,
    (files.length + 3) * (name.length * 4 + from.length * 4 + 96),
  );
  if (named) {
    batch.call(linkat, [current, path(batch, from), current, path(batch, name), followLink], {
      purpose: `naming ${name} for a moment`,
    });
  }
  for (const file of files) {
    const flags = (file.flags & ~(openFlag.create | openFlag.exclusive | openFlag.truncate)) | openFlag.closeOnExec;
    batch.call(syscalls.openat, [current, path(batch, named ? name : from), flags], { tolerate: true });
    if (file.pos > 0n) batch.call(syscalls.lseek, [0, file.pos, 0], { tolerate: true });
    setOwner(batch, 0, file.fown);
    const master = context.masters.of(fileKey(file.id));
    batch.call(syscalls.dup3, [0, master, openFlag.closeOnExec], { tolerate: true });
    batch.call(syscalls.close, [0], { tolerate: true });
  }
  if (named) batch.call(unlinkat, [current, path(batch, name), 0]);
}

/** The descriptions of a deleted file made by makeGhost, and filled since. */
export function openGhost(context: FileContext, id: number, files: readonly RegFileEntry[]): void {
  openNameless(context, `/proc/self/fd/${context.masters.of(ghostKey(id))}`, files);
}

/** A deleted directory: made where nothing is, opened, and removed again. */
export function makeGhostDirectory(context: FileContext, files: readonly RegFileEntry[], entry: GhostFileEntry): void {
  const name = files[0]?.name ?? "";
  const batch = context.script.room(4 + files.length * 6, (files.length + 3) * (name.length * 4 + 64));
  batch.call(mkdirat, [current, path(batch, name), entry.mode & modeMask], { purpose: `making the directory ${name}` });
  for (const file of files) {
    batch.call(syscalls.openat, [current, path(batch, name), openFlag.directory | openFlag.closeOnExec]);
    setOwner(batch, 0, file.fown);
    settle(context, batch, 0, fileKey(file.id));
  }
  batch.call(unlinkat, [current, path(batch, name), removeDirectory]);
}
