// Every task's open descriptors: what each is, who else holds the same open file, and who holds its other end.
// Not for the words of one kind: describeFile.ts.
import type { FileEntry } from "../images/messages";
import type { Checkpoint } from "./checkpoint";
import { describeFile, type OpenFile, type OpenFileTables } from "./describeFile";

/** A descriptor of a task, by number. */
export interface DescriptorPlace {
  readonly pid: number;
  readonly fd: number;
}

export interface Descriptor extends OpenFile {
  readonly fd: number;
  readonly closeOnExec: boolean;
  /** The id of the open file description in the image. */
  readonly fileId: number;
  /** Other descriptors of the same open file: they share position and flags (dup(2), fork(2)). */
  readonly sharedWith: readonly DescriptorPlace[];
  /** Who holds the other end of a pipe, FIFO or connected socket; empty where nobody in the image does. */
  readonly peers: readonly DescriptorPlace[];
  /** Bytes waiting to be read in a pipe or FIFO, or queued at a socket. */
  readonly queuedBytes: number;
}

export interface TaskDescriptors {
  readonly pid: number;
  readonly command: string;
  readonly descriptors: readonly Descriptor[];
}

/** One entry of a task's descriptor table as the image has it. */
export interface DescriptorSlot {
  readonly fd: number;
  readonly closeOnExec: boolean;
  readonly fileId: number;
  readonly file: FileEntry | undefined;
}

interface DescriptorTables extends OpenFileTables {
  readonly tasks: readonly {
    readonly pid: number;
    readonly command: string;
    readonly slots: readonly DescriptorSlot[];
  }[];
  /** Bytes waiting in the pipe with that id. */
  pipeBytes(pipeId: number): number;
  /** Bytes queued for the socket with that file id. */
  socketBytes(fileId: number): number;
}

/** The descriptors of every task of a checkpoint. */
export function taskDescriptors(checkpoint: Checkpoint): TaskDescriptors[] {
  return describeDescriptors({
    tasks: checkpoint.tasks.map(({ pid }) => ({
      pid,
      command: checkpoint.core(pid).tc?.comm ?? "?",
      slots: checkpoint.descriptors(pid),
    })),
    path: (id) => checkpoint.filePath(id),
    terminal: (id) => checkpoint.terminal(id),
    memfd: (inodeId) => checkpoint.memfd(inodeId),
    deleted: checkpoint.deletedFiles,
    pipeBytes: (pipeId) => checkpoint.pipeBytes(pipeId),
    socketBytes: (fileId) => checkpoint.socketBytes(fileId),
  });
}

function describeDescriptors(tables: DescriptorTables): TaskDescriptors[] {
  const holders = new Map<number, DescriptorPlace[]>();
  const ends = new Map<string, Set<number>>();
  for (const task of tables.tasks) {
    for (const slot of task.slots) {
      push(holders, slot.fileId, { pid: task.pid, fd: slot.fd });
      const name = slot.file === undefined ? undefined : ownEnd(slot.file);
      if (name !== undefined) {
        const files = ends.get(name) ?? new Set();
        ends.set(name, files.add(slot.fileId));
      }
    }
  }
  return tables.tasks.map(({ pid, command, slots }) => ({
    pid,
    command,
    descriptors: slots.map((slot) => ({
      ...openFileOf(slot, tables),
      fd: slot.fd,
      closeOnExec: slot.closeOnExec,
      fileId: slot.fileId,
      sharedWith: (holders.get(slot.fileId) ?? []).filter((place) => place.pid !== pid || place.fd !== slot.fd),
      peers: peersOf(slot, ends, holders),
      queuedBytes: queuedBytes(slot, tables),
    })),
  }));
}

function openFileOf(slot: DescriptorSlot, tables: DescriptorTables): OpenFile {
  if (slot.file !== undefined) return describeFile(slot.file, tables);
  return { kind: "unknown", access: "", position: undefined, target: `file ${slot.fileId} is not in the image` };
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** A name for this end of a connection; the other end's `otherEnd` is the same string. Undefined: has no other end. */
function ownEnd(file: FileEntry): string | undefined {
  if (file.pipe !== undefined) return `pipe ${file.pipe.pipe_id} ${(file.pipe.flags & 3) === 0 ? "read" : "write"}`;
  if (file.fifo !== undefined) return `fifo ${file.fifo.pipe_id}`;
  if (file.usk !== undefined) return `unix ${file.usk.ino}`;
  if (file.isk !== undefined && file.isk.dst_port !== 0) {
    const { proto, src_addr, src_port, dst_addr, dst_port } = file.isk;
    return `inet ${proto} ${src_addr}:${src_port} ${dst_addr}:${dst_port}`;
  }
  return undefined;
}

function otherEnd(file: FileEntry): string | undefined {
  if (file.pipe !== undefined) return `pipe ${file.pipe.pipe_id} ${(file.pipe.flags & 3) === 0 ? "write" : "read"}`;
  if (file.fifo !== undefined) return `fifo ${file.fifo.pipe_id}`;
  if (file.usk !== undefined && file.usk.peer !== 0) return `unix ${file.usk.peer}`;
  if (file.isk !== undefined && file.isk.dst_port !== 0) {
    const { proto, src_addr, src_port, dst_addr, dst_port } = file.isk;
    return `inet ${proto} ${dst_addr}:${dst_port} ${src_addr}:${src_port}`;
  }
  return undefined;
}

function peersOf(
  slot: DescriptorSlot,
  ends: ReadonlyMap<string, ReadonlySet<number>>,
  holders: ReadonlyMap<number, readonly DescriptorPlace[]>,
): DescriptorPlace[] {
  const name = slot.file === undefined ? undefined : otherEnd(slot.file);
  const files = name === undefined ? [] : [...(ends.get(name) ?? [])].filter((id) => id !== slot.fileId);
  return files.flatMap((id) => holders.get(id) ?? []);
}

function queuedBytes(slot: DescriptorSlot, tables: DescriptorTables): number {
  const pipeId = slot.file?.pipe?.pipe_id ?? slot.file?.fifo?.pipe_id;
  if (pipeId !== undefined) return tables.pipeBytes(pipeId);
  return slot.file?.usk === undefined ? 0 : tables.socketBytes(slot.fileId);
}
