// Named pipes: opened by their path, all descriptions of one while a helper holds both ends, so that no open waits and
// what was unread can be put back.

import type { GhostFileEntry, RegFileEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import { syscalls } from "../../constants";
import type { PipeContent } from "../treeImage";
import { type FileContext, fcntlCommand, fileKey, openFlag, setOwner, setStatus, settle } from "./context";
import { folderRoom, missingFolders } from "./ghost";

export interface FifoEnd {
  /** The descriptor's id. */
  readonly id: number;
  /** Its path, flags and owner. */
  readonly file: RegFileEntry;
}

const fifoType = 0o010000;
const mkdirat = 258;
const mknodat = 259;
const fchownat = 260;
const unlinkat = 263;
const fchmodat = 268;
const removeDirectory = 0x200;
const pieceBytes = 256 * 1024;

/** `deleted`: the name is taken for the moment, as nothing has it any more. */
export function makeFifo(
  context: FileContext,
  ends: readonly FifoEnd[],
  content: PipeContent | undefined,
  deleted: GhostFileEntry | undefined,
): void {
  const name = ends[0]?.file.name ?? "";
  const path = Buffer.concat([encodeText(name), Buffer.from([0])]);
  const folders = deleted === undefined ? [] : missingFolders(context, name);
  if (deleted !== undefined) makeName(context, path, folders, deleted);
  const first = context.script.room(2, path.length + 32);
  const helperFlags = openFlag.readWrite | openFlag.nonBlock | openFlag.closeOnExec;
  first.call(syscalls.openat, [-100, first.place(path), helperFlags], { purpose: `opening ${name}` });
  if (content?.size !== undefined) first.call(syscalls.fcntl, [0, fcntlCommand.setPipeSize, content.size]);
  const bytes = Buffer.concat(content?.packets ?? []);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    const batch = context.script.room(1, piece.length);
    batch.call(syscalls.write, [0, batch.place(piece), piece.length], { purpose: `filling ${name}` });
  }
  for (const end of ends) {
    const batch = context.script.room(8, path.length + 96);
    const flags = (end.file.flags & openFlag.accessMode) | openFlag.nonBlock | openFlag.closeOnExec;
    batch.call(syscalls.openat, [-100, batch.place(path), flags], { purpose: `opening ${name}` });
    batch.call(syscalls.fcntl, [1, fcntlCommand.setFlags, 0]);
    setStatus(batch, 1, end.file.flags);
    setOwner(batch, 1, end.file.fown);
    settle(context, batch, 1, fileKey(end.id));
  }
  context.script.room(1).call(syscalls.close, [0]);
  if (deleted === undefined) return;
  const last = context.script.room(1 + folders.length, path.length + 16 + folderRoom(folders)[1]);
  last.call(unlinkat, [-100, last.place(path), 0]);
  for (const folder of [...folders].reverse()) last.call(unlinkat, [-100, last.text(folder), removeDirectory]);
}

function makeName(context: FileContext, path: Buffer, folders: readonly string[], deleted: GhostFileEntry): void {
  const batch = context.script.room(3 + folders.length, path.length + 16 + folderRoom(folders)[1]);
  for (const folder of folders) batch.call(mkdirat, [-100, batch.text(folder), 0o700]);
  const name = batch.place(path);
  const mode = deleted.mode & 0o7777;
  batch.call(mknodat, [-100, name, fifoType | mode, 0], { purpose: "making a deleted fifo" });
  batch.call(fchmodat, [-100, name, mode]);
  batch.call(fchownat, [-100, name, deleted.uid, deleted.gid, 0]);
}
