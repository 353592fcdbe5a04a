// Pipes, with what waits in them. The two ends of one pipe share a pipe_id; an end that nobody holds is closed, so that
// the other one sees end of file or EPIPE as before.
import type { PipeEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import type { PipeContent } from "../treeImage";
import { type FileContext, fcntlCommand, fileKey, openFlag, setOwner, setStatus, settle } from "./context";

/** Bytes written to a pipe by one call: what fits a batch. */
const pieceBytes = 256 * 1024;

export function makePipe(context: FileContext, ends: readonly PipeEntry[], content: PipeContent | undefined): void {
  const readers = ends.filter((end) => (end.flags & openFlag.accessMode) === openFlag.readOnly);
  const writers = ends.filter((end) => (end.flags & openFlag.accessMode) === openFlag.writeOnly);
  const both = ends.filter((end) => (end.flags & openFlag.accessMode) === openFlag.readWrite);
  const batch = context.script.room(4, 16);
  const pair = batch.reserve(8);
  batch.call(syscalls.pipe2, [pair, openFlag.closeOnExec]);
  if (content?.size !== undefined) batch.call(syscalls.fcntl, [1, fcntlCommand.setPipeSize, content.size]);
  const isPackets = writers.some((end) => (end.flags & openFlag.direct) !== 0);
  if (isPackets) setStatus(context.script.room(1), 1, openFlag.direct);
  for (const bytes of content?.packets ?? []) fill(context, bytes);
  if (isPackets) context.script.room(1).call(syscalls.fcntl, [1, fcntlCommand.setFlags, 0]);
  for (const end of [...readers.slice(1), ...writers.slice(1), ...both]) reopen(context, end);
  finishEnd(context, readers[0], 0);
  finishEnd(context, writers[0], 1);
}

function fill(context: FileContext, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    const batch = context.script.room(1, piece.length);
    batch.call(syscalls.write, [1, batch.place(piece), piece.length], { purpose: "filling a pipe" });
  }
}

/** A further description of a pipe that exists, as somebody got by opening /proc/self/fd/N. */
function reopen(context: FileContext, end: PipeEntry): void {
  const batch = context.script.room(8, 64);
  const flags = (end.flags & openFlag.accessMode) | openFlag.nonBlock | openFlag.closeOnExec;
  batch.call(syscalls.openat, [-100, batch.text("/proc/self/fd/0"), flags]);
  batch.call(syscalls.fcntl, [2, fcntlCommand.setFlags, 0]);
  setStatus(batch, 2, end.flags);
  setOwner(batch, 2, end.fown);
  settle(context, batch, 2, fileKey(end.id));
}

function finishEnd(context: FileContext, end: PipeEntry | undefined, scratch: number): void {
  const batch = context.script.room(6, 64);
  if (end === undefined) {
    batch.call(syscalls.close, [scratch]);
    return;
  }
  setStatus(batch, scratch, end.flags);
  setOwner(batch, scratch, end.fown);
  settle(context, batch, scratch, fileKey(end.id));
}
