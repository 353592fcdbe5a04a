// Reads what an image directory says about its tasks into one TreeImage, and checks the ids that tie the images
// together. Whether a kind can be restored is decided by the plans; the pages of memory are not read here.
import { statSync } from "node:fs";
import { join } from "node:path";
import { FaultlineError } from "../../errors";
import { type ImageDirectory, type TaskNode, TaskState } from "../../images/directory";
import type { IpcShmEntry, RemapFilePathEntry, TaskKobjIdsEntry } from "../../images/messages";
import { RemapType } from "../../images/messages";
import type {
  GhostFile,
  PipeContent,
  Sharing,
  SocketPacket,
  TaskImage,
  TcpStream,
  ThreadImage,
  TreeImage,
} from "./treeImage";

/** pid_max cannot be larger on 64 bits (PID_MAX_LIMIT). */
const pidMax = 4 * 1024 * 1024;

/** Reads the whole directory but its pages. Throws FaultlineErrors that name the file. */
export function loadTree(images: ImageDirectory): TreeImage {
  const tasks = loadTasks(images);
  const remaps = images.messages("REMAP_FPATH", "remap-fpath.img");
  const tree: TreeImage = {
    inventory: images.inventory,
    tasks,
    files: new Map(images.files.entries.map((file) => [file.id, file])),
    pipeContents: loadPipes(images),
    segments: loadSegments(images, tasks[0]?.ids?.ipc_ns_id),
    memfds: new Map(images.memoryFiles.map((message) => [Number(message.inode_id), message])),
    ttys: new Map(images.messages("TTY_INFO", "tty-info.img").map((message) => [message.id, message])),
    ttyData: new Map(
      images
        .messages("TTY_DATA", "tty-data.img")
        .map((message) => [message.tty_id, { bytes: message.data, marks: message.eof_marks }]),
    ),
    packets: loadPackets(images),
    tcpStream: (inode) => loadStream(images, inode),
    seccompFilters: images.messages("SECCOMP", "seccomp.img")[0]?.seccomp_filters ?? [],
    locks: images.messages("FILE_LOCKS", "filelocks.img"),
    ghosts: new Map(remaps.filter(isGhost).map((remap) => [remap.orig_id, remap.remap_id & 0x7fffffff])),
    links: new Map(remaps.filter(isLink).map((remap) => [remap.orig_id, remap.remap_id])),
    deadProcesses: new Map(remaps.filter(isDeadProcess).map((remap) => [remap.orig_id, remap.remap_id])),
    ghost: (id) => loadGhost(images, id),
    dumpedAtMs: statSync(join(images.path, "inventory.img")).mtimeMs,
  };
  return tree;
}

function corrupt(images: ImageDirectory, message: string, name: string): FaultlineError {
  return new FaultlineError("IMAGE_CORRUPT", message, { file: join(images.path, name) });
}

/** Segments whose content lies beside their entries come from other IPC namespaces, which are refused. */
function loadSegments(images: ImageDirectory, namespaceId: number | undefined): Map<number, IpcShmEntry> {
  if (namespaceId === undefined) return new Map();
  const entries = images.messages("IPCNS_SHM", `ipcns-shm-${namespaceId}.img`);
  return new Map(entries.filter((entry) => entry.in_pagemaps === true).map((entry) => [entry.desc.id, entry]));
}

/** Very old images had no type and marked ghosts by bit 31 of the id. */
function isGhost(remap: RemapFilePathEntry): boolean {
  if (remap.remap_type === undefined) return remap.remap_id >= 0x80000000;
  return remap.remap_type === RemapType.GHOST;
}

function isDeadProcess(remap: RemapFilePathEntry): boolean {
  return remap.remap_type === RemapType.PROCFS;
}

function isLink(remap: RemapFilePathEntry): boolean {
  return remap.remap_type === RemapType.LINKED || (remap.remap_type === undefined && !isGhost(remap));
}

function loadStream(images: ImageDirectory, inode: number): TcpStream | undefined {
  const record = images.optionalImage("TCP_STREAM", `tcp-stream-${inode.toString(16)}.img`)?.records[0];
  if (record?.payload?.kind !== "queues") return undefined;
  return { entry: record.message, received: record.payload.received, unsent: record.payload.sent };
}

function loadGhost(images: ImageDirectory, id: number): GhostFile | undefined {
  const record = images.optionalImage("GHOST_FILE", `ghost-file-${id.toString(16)}.img`)?.records[0];
  if (record === undefined) return undefined;
  const { message: entry, payload } = record;
  if (payload?.kind === "bytes") return { entry, pieces: [{ offset: 0, bytes: payload.bytes }] };
  if (payload?.kind !== "chunks") return { entry, pieces: [] };
  return { entry, pieces: payload.chunks.map(({ message, bytes }) => ({ offset: Number(message.off), bytes })) };
}

function loadTasks(images: ImageDirectory): TaskImage[] {
  const pids = new Set<number>();
  for (const task of images.tasks) {
    for (const tid of new Set([task.pid, ...task.threads])) {
      if (tid < 1 || tid > pidMax) throw corrupt(images, `pid ${tid} is no pid`, "pstree.img");
      if (pids.has(tid)) throw corrupt(images, `pid ${tid} is there twice`, "pstree.img");
      pids.add(tid);
    }
  }
  const { roots } = images;
  if (roots.length !== 1) throw corrupt(images, `${roots.length} roots of the task tree`, "pstree.img");
  const ordered = [...roots];
  for (const parent of ordered) ordered.push(...parent.children);
  if (ordered.length !== images.tasks.length) throw corrupt(images, "tasks that hang on no root", "pstree.img");
  const loaded = new Map<number, TaskImage>();
  for (const node of ordered) loaded.set(node.pid, loadTask(images, node, loaded));
  return [...loaded.values()];
}

const nothingShared: Sharing = { memory: false, files: false, directories: false, signalHandlers: false };

function loadTask(images: ImageDirectory, node: TaskNode, loaded: ReadonlyMap<number, TaskImage>): TaskImage {
  const { pid, dead } = node;
  const core = images.core(pid);
  if (core.tc === undefined) throw corrupt(images, "a process without its common part", `core-${pid}.img`);
  const base = { pid, parent: node.ppid, group: node.pgid, session: node.sid, core, dead };
  if (dead) {
    const empty = { threads: [], ids: undefined, mm: undefined, fs: undefined, descriptors: [] };
    return { ...base, ...empty, sharing: nothingShared };
  }
  if (core.tc.task_state !== TaskState.Alive && core.tc.task_state !== TaskState.Stopped) {
    throw corrupt(images, `task state ${core.tc.task_state}`, `core-${pid}.img`);
  }
  const others = node.threads.filter((tid) => tid !== pid);
  const threads: ThreadImage[] = [{ tid: pid, core }, ...others.map((tid) => ({ tid, core: images.core(tid) }))];
  for (const thread of threads) checkThread(thread, images);
  const ids = images.ids(pid);
  const sharing = findSharing(ids, loaded, node, images);
  return {
    ...base,
    threads,
    ids,
    mm: sharing.memory ? undefined : images.mm(pid),
    fs: images.fs(pid),
    descriptors: images.descriptors(pid).map((descriptor) => descriptor.entry),
    sharing,
  };
}

/** Kernel objects with the id that the parent's have. Only a parent can hand them on. */
function findSharing(
  ids: TaskKobjIdsEntry | undefined,
  loaded: ReadonlyMap<number, TaskImage>,
  node: TaskNode,
  images: ImageDirectory,
): Sharing {
  const parent = loaded.get(node.ppid)?.ids;
  const same = (name: "vm_id" | "files_id" | "fs_id" | "sighand_id"): boolean => {
    const value = ids?.[name];
    if (value === undefined || value === 0) return false;
    if (parent?.[name] === value) return true;
    const other = [...loaded.values()].find((task) => task.ids?.[name] === value);
    if (other === undefined) return false;
    throw new FaultlineError("IMAGE_UNSUPPORTED", `tasks ${node.pid} and ${other.pid} share a ${name.slice(0, -3)}`, {
      file: join(images.path, `ids-${node.pid}.img`),
    });
  };
  return {
    memory: same("vm_id"),
    files: same("files_id"),
    directories: same("fs_id"),
    signalHandlers: same("sighand_id"),
  };
}

function checkThread({ tid, core }: ThreadImage, images: ImageDirectory): void {
  const file = join(images.path, `core-${tid}.img`);
  if (core.mtype !== 1) throw new FaultlineError("IMAGE_UNSUPPORTED", "not an x86-64 image", { file });
  if (core.thread_info === undefined || core.thread_core === undefined) {
    throw new FaultlineError("IMAGE_CORRUPT", "a thread without registers", { file });
  }
  if (core.thread_info.gpregs.mode === 2) throw new FaultlineError("IMAGE_UNSUPPORTED", "a 32-bit program", { file });
}

function loadPipes(images: ImageDirectory): Map<number, PipeContent> {
  const contents = new Map<number, PipeContent>();
  const records = [
    ...(images.optionalImage("PIPES_DATA", "pipes-data.img")?.records ?? []),
    ...(images.optionalImage("FIFO_DATA", "fifo-data.img")?.records ?? []),
  ];
  for (const { message, payload } of records) {
    const bytes = payload?.kind === "bytes" ? payload.bytes : new Uint8Array();
    const packets = [...(contents.get(message.pipe_id)?.packets ?? []), bytes];
    contents.set(message.pipe_id, { packets, size: message.size });
  }
  return contents;
}

function loadPackets(images: ImageDirectory): Map<number, SocketPacket[]> {
  const packets = new Map<number, SocketPacket[]>();
  for (const { message, payload } of images.optionalImage("SK_QUEUES", "sk-queues.img")?.records ?? []) {
    const list = packets.get(message.id_for) ?? [];
    list.push({ entry: message, bytes: payload?.kind === "bytes" ? payload.bytes : new Uint8Array() });
    packets.set(message.id_for, list);
  }
  return packets;
}
