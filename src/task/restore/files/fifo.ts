// Named pipes: opened by their path, all descriptions of one while a helper holds both ends, so that no open waits and
// what was unread can be put back.

import type { RegFileEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import { syscalls } from "../../constants";
import type { PipeContent } from "../treeImage";
import { type FileContext, fcntlCommand, fileKey, openFlag, setOwner, setStatus, settle } from "./context";

export interface FifoEnd {
  /** The descriptor's id. */
  readonly id: number;
  /** Its path, flags and owner. */
  readonly file: RegFileEntry;
}

const pieceBytes = 256 * 1024;

export function makeFifo(context: FileContext, ends: readonly FifoEnd[], content: PipeContent | undefined): void {
  const name = ends[0]?.file.name ?? "";
  const path = Buffer.concat([encodeText(name), Buffer.from([0])]);
  const first = context.script.room(2, path.length + 32);
  const helperFlags = openFlag.readWrite | openFlag.nonBlock | openFlag.closeOnExec;
  first.call(syscalls.openat, [-100, first.place(path), helperFlags], { purpose: `opening ${name}` });
  if (content?.size !== undefined) first.call(syscalls.fcntl, [0, fcntlCommand.setPipeSize, content.size]);
  const bytes = content?.bytes ?? new Uint8Array();
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
}
