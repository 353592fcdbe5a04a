// What an image directory says about a tree of tasks, as one value that the plans are made from. Types and small
// questions only; loadTree.ts reads it, nothing here opens a file.
import type {
  CoreEntry,
  FdinfoEntry,
  FileEntry,
  FileLockEntry,
  FsEntry,
  GhostFileEntry,
  InventoryEntry,
  IpcShmEntry,
  MemfdInodeEntry,
  MmEntry,
  SeccompFilter,
  SkPacketEntry,
  TaskKobjIdsEntry,
  TcpStreamEntry,
  TtyInfoEntry,
} from "../../images/messages";
import type { TerminalInput } from "../terminalInput";

/** Task states of task_core_entry.task_state. */
export const taskState = { alive: 1, dead: 2, stopped: 3, zombie: 6 } as const;

export interface ThreadImage {
  readonly tid: number;
  readonly core: CoreEntry;
}

/** What a task has in common with its parent (clone(2)). */
export interface Sharing {
  readonly memory: boolean;
  readonly files: boolean;
  readonly directories: boolean;
  readonly signalHandlers: boolean;
}

export interface TaskImage {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly core: CoreEntry;
  /** True for a zombie: only its pid, parent and exit code are kept. */
  readonly dead: boolean;
  /** All threads, the leader first. Empty for a dead task. */
  readonly threads: readonly ThreadImage[];
  readonly ids: TaskKobjIdsEntry | undefined;
  readonly mm: MmEntry | undefined;
  readonly fs: FsEntry | undefined;
  readonly descriptors: readonly FdinfoEntry[];
  readonly sharing: Sharing;
}

/** Bytes that wait in a pipe, and the pipe's size where the image has it. */
export interface PipeContent {
  /** In packet mode (pipe(2), O_DIRECT) the packets, otherwise one. */
  readonly packets: readonly Uint8Array[];
  readonly size: number | undefined;
}

/** A packet that waits in a socket, with the descriptors passed in it. */
export interface SocketPacket {
  readonly entry: SkPacketEntry;
  readonly bytes: Uint8Array;
}

export interface TcpStream {
  readonly entry: TcpStreamEntry;
  readonly received: Uint8Array;
  readonly unsent: Uint8Array;
}

/** A deleted file whose content is in the images: all of it, or the pieces that are not holes. */
export interface GhostFile {
  readonly entry: GhostFileEntry;
  readonly pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
}

export interface TreeImage {
  readonly inventory: InventoryEntry;
  /** Parents before children; the root first. */
  readonly tasks: readonly TaskImage[];
  readonly files: ReadonlyMap<number, FileEntry>;
  readonly pipeContents: ReadonlyMap<number, PipeContent>;
  /** System V shared memory segments, by id. */
  readonly segments: ReadonlyMap<number, IpcShmEntry>;
  readonly memfds: ReadonlyMap<number, MemfdInodeEntry>;
  readonly ttys: ReadonlyMap<number, TtyInfoEntry>;
  /** What waits unread in a terminal, by the terminal's id. */
  readonly ttyData: ReadonlyMap<number, TerminalInput>;
  readonly packets: ReadonlyMap<number, readonly SocketPacket[]>;
  /** The state of an established TCP connection, by its socket's inode; read when asked. */
  tcpStream(inode: number): TcpStream | undefined;
  readonly seccompFilters: readonly SeccompFilter[];
  readonly locks: readonly FileLockEntry[];
  /** Ghost id of a regular file that was deleted, by the file's id. */
  readonly ghosts: ReadonlyMap<number, number>;
  /** The id of the file that has another name of the same file, by the id of one whose own name is deleted. */
  readonly links: ReadonlyMap<number, number>;
  /** The pid of a file of /proc whose process has ended, by the file's id. */
  readonly deadProcesses: ReadonlyMap<number, number>;
  /** Reads a deleted file's content; undefined where the image lacks it. */
  ghost(id: number): GhostFile | undefined;
  /** When the dump was made, milliseconds since 1970; the time of inventory.img. */
  readonly dumpedAtMs: number;
}

export function rootTask(tree: TreeImage): TaskImage {
  const root = tree.tasks[0];
  if (root === undefined) throw new RangeError("a tree has a root");
  return root;
}

/** The task and all that run in its memory. */
export function memorySharers(tree: TreeImage, task: TaskImage): readonly TaskImage[] {
  return tree.tasks.filter((other) => !other.dead && other.ids?.vm_id === task.ids?.vm_id);
}

export function childrenOf(tree: TreeImage, pid: number): readonly TaskImage[] {
  return tree.tasks.filter((task) => task.parent === pid && task.pid !== pid);
}
