// All open files of a tree as calls in the root's stub, and what each task does with them afterwards: copy them to its
// numbers, fill its epoll sets, close the masters. Pure. The kinds are in files/.
import type { EventpollFileEntry, FileEntry, VmaEntry } from "../../images/messages";
import { FdTypes } from "../../images/messages";
import { vmaStatus } from "../../images/vmaStatus";
import { syscalls } from "../constants";
import { Masters } from "./descriptors";
import { type FileContext, fileKey, openFlag, setAsync, settle, sharedKey } from "./files/context";
import { sendDatagrams } from "./files/datagrams";
import { makeEpoll, makeEventfd, makeSignalfd, makeTimerfd, watchFiles } from "./files/event";
import { fanotifyObstacle, makeFanotify } from "./files/fanotify";
import { makeFifo } from "./files/fifo";
import {
  ghostKey,
  ghostObstacle,
  isGhostDirectory,
  isGhostFifo,
  isGhostNode,
  makeGhost,
  makeGhostDirectory,
  makeGhostNode,
  openGhost,
  openNameless,
} from "./files/ghost";
import { inetObstacle, isConnection, listenAll, makeClosed, makeInet, socketType, wasConnected } from "./files/inet";
import { inotifyObstacle, makeInotify } from "./files/inotify";
import { lockObstacle, takeLock } from "./files/lock";
import { makeMemfd, makeMemfdInode, memfdKey, memfdObstacle, sealMemfd } from "./files/memfd";
import { joinGroups } from "./files/multicast";
import { makeNetlink } from "./files/netlink";
import { makePacket, packetObstacle } from "./files/packet";
import { isDead, openPidfds, pidfdObstacle } from "./files/pidfd";
import { makePipe } from "./files/pipe";
import { deadFile, deadPid, deadPidfds, type HandedFile, handedFile, isOfLaterTask } from "./files/process";
import { makeRegular, regularObstacle } from "./files/regular";
import { type Connection, connectionObstacle, makeConnections } from "./files/tcp";
import { type ForeignFile, makeTerminals } from "./files/tty";
import { isExternal, makeUnixSockets } from "./files/unix";
import { Script } from "./script";
import { makeShared, type SharedObject } from "./sharedMemory";
import type { GhostFile, TaskImage, TreeImage } from "./treeImage";

/** Contents that the tracer writes through an object's master. */
export type Fill =
  | {
      readonly key: string;
      readonly kind: "memory";
      readonly shmid: number;
      readonly bytes: number;
      /** Of huge pages: it cannot be written through a descriptor. */
      readonly huge?: boolean;
    }
  | { readonly key: string; readonly kind: "ghost"; readonly ghost: GhostFile };

export interface FilePlan {
  /** Makes what has contents: memory files, deleted files, shared memory. Run in the root's stub before it forks. */
  readonly objects: Script;
  readonly fills: readonly Fill[];
  /** Files that we open and the root's stub takes over, before `make`. */
  readonly foreign: readonly ForeignFile[];
  /** Files that we open when all tasks exist, and hand to those that have them. */
  readonly handed: readonly HandedFile[];
  /** Names that the dump gave to files for the time until they are restored, to be taken away then. */
  readonly givenNames: readonly string[];
  /** Makes every open file at its master; after the fills. */
  readonly make: Script;
  /** What must wait until all mappings are made; run in the root. */
  readonly late: Script;
  readonly masters: Masters;
  /** The master of a file by its id in the image. */
  file(id: number): number;
  /** The same for a mapping, which may need another access mode than descriptors of the file have. */
  mapped(vma: VmaEntry): number;
  /** The master of a shared memory object. */
  shared(id: number): number;
}

/** What the plan must know of the machine and of the caller's wishes. */
export interface FileMachine {
  readonly shellJob: boolean;
  /** Connections are kept, or closed. */
  readonly tcpEstablished: boolean;
  readonly tcpClose: boolean;
  /** Sockets outside of the image are connected to. */
  readonly externalUnix: boolean;
  /** A path on the mounted file system with that device number, as the kernel counts devices (20 bits of minor). */
  mountOf(device: number): string | undefined;
  /** Whether nothing has that path now. */
  isFree(path: string): boolean;
  /** Whether the path leads to a character device without state of its own; also where nothing is there, which is told elsewhere. */
  isPlainDevice(path: string): boolean;
}

/** The ids of all files that tasks, mappings and descriptors in flight refer to. */
export function usedFiles(tree: TreeImage): Set<number> {
  const used = new Set<number>();
  for (const task of tree.tasks) {
    for (const descriptor of task.descriptors) used.add(descriptor.id);
    if (task.mm !== undefined) used.add(task.mm.exe_file_id);
    if (task.fs !== undefined) {
      used.add(task.fs.cwd_id);
      used.add(task.fs.root_id);
    }
    for (const vma of task.mm?.vmas ?? []) {
      if ((vma.status & (vmaStatus.filePrivate | vmaStatus.fileShared | vmaStatus.socket)) !== 0)
        used.add(Number(vma.shmid));
    }
  }
  for (const packets of tree.packets.values()) {
    for (const packet of packets) for (const scm of packet.entry.scm) for (const id of scm.rights) used.add(id);
  }
  return used;
}

export function planFiles(
  tree: TreeImage,
  sharedObjects: readonly SharedObject[],
  problems: string[],
  machine: FileMachine,
): FilePlan {
  const numbers = tree.tasks.flatMap((task) => task.descriptors.map((descriptor) => descriptor.fd));
  const masters = new Masters(numbers);
  const objects = new Script();
  const make = new Script();
  const late = new Script();
  const fills: Fill[] = [];
  const context: FileContext = { tree, script: make, masters, problems, isFree: machine.isFree };
  const objectContext: FileContext = { ...context, script: objects };
  const files = [...usedFiles(tree)].flatMap((id) => {
    const file = tree.files.get(id);
    if (file === undefined) problems.push(`file ${id} is not in files.img`);
    return file === undefined ? [] : [file];
  });
  for (const lock of tree.locks) {
    const obstacle = lockObstacle(lock);
    if (obstacle !== undefined) problems.push(`pid ${lock.pid}: ${obstacle}`);
  }
  planMemoryFiles(objectContext, files, fills, late);
  planNameless(objectContext, context, files, fills);
  for (const file of files) makeFile(context, file, machine);
  const own = files.flatMap(({ isk }) => (isk === undefined || isConnection(isk) || inetObstacle(isk) ? [] : [isk]));
  listenAll(context, own);
  for (const socket of own) joinGroups(context, socket);
  for (const socket of own) if (socket.type === socketType.datagram) sendDatagrams(context, socket);
  planMappingVariants(context, tree);
  planPipes(context, files);
  planConnections(context, files, machine);
  const sockets = files.flatMap((file) => (file.usk === undefined ? [] : [file.usk]));
  const outside = [...tree.files.values()].flatMap(({ usk }) => (usk !== undefined && isExternal(usk) ? [usk] : []));
  makeUnixSockets(context, sockets, machine.externalUnix ? outside : []);
  const ttys = files.flatMap((file) => (file.tty === undefined ? [] : [file.tty]));
  const foreign = [...makeTerminals(context, ttys, tree.ttyData, machine.shellJob), ...planDead(context, files)];
  const handed = planHanded(context, files);
  for (const file of files) makeWatching(context, file, machine);
  for (const object of sharedObjects) {
    makeShared(objectContext, object);
    if (object.eager) fills.push({ key: sharedKey(object.id), kind: "memory", shmid: object.id, bytes: object.bytes });
  }
  return {
    objects,
    fills,
    foreign,
    handed,
    givenNames: [...new Set(tree.links.values())].flatMap((id) => givenName(tree.files.get(id)?.reg?.name)),
    make,
    late,
    masters,
    file: (id) => masters.of(fileKey(id)),
    mapped: (vma) => masters.of(mappingKey(vma, tree)),
    shared: (id) => masters.of(sharedKey(id)),
  };
}

function planMemoryFiles(context: FileContext, files: readonly FileEntry[], fills: Fill[], late: Script): void {
  const inodes = new Set<number>();
  for (const { memfd } of files) {
    if (memfd === undefined) continue;
    const inode = context.tree.memfds.get(memfd.inode_id);
    const obstacle = memfdObstacle(inode, memfd);
    if (obstacle !== undefined || inode === undefined) context.problems.push(`file ${memfd.id}: ${obstacle}`);
    else if (!inodes.has(memfd.inode_id)) {
      inodes.add(memfd.inode_id);
      makeMemfdInode(context, inode);
      const key = memfdKey(memfd.inode_id);
      const huge = (inode.hugetlb_flag ?? 0) !== 0;
      fills.push({ key, kind: "memory", shmid: inode.shmid, bytes: Number(inode.size), huge });
      sealMemfd(late, context.masters.of(key), inode);
    }
  }
}

/** Files that have lost the name they were opened by: deleted ones, and ones that remain under another name. */
function planNameless(objects: FileContext, context: FileContext, files: readonly FileEntry[], fills: Fill[]): void {
  const { tree } = context;
  const regular = files.flatMap((file) => (file.reg === undefined ? [] : [file.reg]));
  const byGhost = groupBy(regular, (file) => tree.ghosts.get(file.id));
  for (const [id, group] of byGhost) {
    const ghost = tree.ghost(id);
    const name = group[0]?.name ?? "";
    const obstacle = ghostObstacle(ghost?.entry, name);
    if (obstacle !== undefined || ghost === undefined) context.problems.push(obstacle ?? name);
    else if (isGhostNode(ghost.entry, group)) makeGhostNode(context, group, ghost.entry);
    else if (isGhostFifo(ghost.entry))
      if (group.some((file) => (file.flags & openFlag.path) !== 0)) {
        context.problems.push(`the deleted fifo ${name}, open and held by O_PATH too`);
      } else continue; // made with its ends
    else if (isGhostDirectory(ghost.entry)) makeGhostDirectory(context, group, ghost.entry);
    else {
      makeGhost(objects, id, ghost.entry, name);
      fills.push({ key: ghostKey(id), kind: "ghost", ghost });
      openGhost(context, id, group);
    }
  }
  for (const [id, group] of groupBy(regular, (file) => tree.links.get(file.id))) {
    const other = tree.files.get(id)?.reg;
    if (other === undefined) context.problems.push(`file ${id} is not in files.img`);
    else openNameless(context, other.name, group);
  }
}

/** Other links than those that dumps make, CRIU's and ours, are the program's own. */
function givenName(name: string | undefined): string[] {
  return name !== undefined && /\/link_remap\.\d+$/.test(name) ? [name] : [];
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => number | undefined): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    if (key === undefined) continue;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

function planConnections(context: FileContext, files: readonly FileEntry[], machine: FileMachine): void {
  const connections: Connection[] = [];
  for (const { isk: socket } of files) {
    if (socket === undefined || !isConnection(socket) || inetObstacle(socket) !== undefined) continue;
    if (machine.tcpClose) {
      makeClosed(context, socket);
      continue;
    }
    const stream = context.tree.tcpStream(socket.ino);
    if (!machine.tcpEstablished) {
      context.problems.push(`file ${socket.id}: an established TCP connection; say --tcp-established or --tcp-close`);
      continue;
    }
    const obstacle = connectionObstacle(socket);
    if (obstacle !== undefined) context.problems.push(`file ${socket.id}: ${obstacle}`);
    else if (stream === undefined) context.problems.push(`file ${socket.id}: its tcp-stream image is missing`);
    else connections.push({ socket, stream });
  }
  makeConnections(context, connections);
}

/** What speaks of processes that had ended before the dump. */
function planDead(context: FileContext, files: readonly FileEntry[]): ForeignFile[] {
  const ofProc = files.flatMap(({ id, reg }) => {
    const pid = reg === undefined ? undefined : deadPid(reg, context.tree);
    return reg === undefined || pid === undefined ? [] : [deadFile(reg, pid, fileKey(id))];
  });
  const pidfds = files.flatMap(({ pidfd }) => (pidfd !== undefined && isDead(pidfd) ? [pidfd] : []));
  const groups = groupBy(pidfds, (file) => file.ino);
  const ofPidfd = [...groups.values()].flatMap((group) => deadPidfds(group, fileKey));
  // The master is chosen now, as all are before any is used.
  for (const { key } of [...ofProc, ...ofPidfd]) context.masters.of(key);
  return [...ofProc, ...ofPidfd];
}

function planHanded(context: FileContext, files: readonly FileEntry[]): HandedFile[] {
  const { tree } = context;
  const folders = new Set(tree.tasks.flatMap(({ fs }) => (fs === undefined ? [] : [fs.cwd_id, fs.root_id])));
  return files.flatMap(({ id, reg }) => {
    if (reg === undefined || !isOfLaterTask(reg, tree)) return [];
    if (folders.has(id)) context.problems.push(`file ${id}: the working directory ${reg.name} of another task`);
    return [handedFile(reg)];
  });
}

function planPipes(context: FileContext, files: readonly FileEntry[]): void {
  const { tree } = context;
  const pipes = files.flatMap((file) => (file.pipe === undefined ? [] : [file.pipe]));
  for (const [id, ends] of groupBy(pipes, (pipe) => pipe.pipe_id)) makePipe(context, ends, tree.pipeContents.get(id));
  const fifos = files.flatMap((file) => (file.fifo === undefined ? [] : [file.fifo]));
  for (const [id, group] of groupBy(fifos, (fifo) => fifo.pipe_id)) {
    const ends = group.flatMap((fifo) => {
      const file = tree.files.get(fifo.regf_id ?? fifo.id)?.reg;
      return file === undefined ? [] : [{ id: fifo.id, file }];
    });
    const ghost = ends.map((end) => tree.ghosts.get(end.file.id)).find((found) => found !== undefined);
    const deleted = ghost === undefined ? undefined : tree.ghost(ghost)?.entry;
    if (ends.length < group.length) context.problems.push(`fifo ${id}: its path is not in the image`);
    else if (ghost !== undefined && deleted === undefined) context.problems.push(`fifo ${id}: its ghost is missing`);
    else makeFifo(context, ends, tree.pipeContents.get(id), deleted);
  }
}

/** A mapping's master: the file's own, or one opened with the access that the mapping had (vma_entry.fdflags). */
function mappingKey(vma: VmaEntry, tree: TreeImage): string {
  const id = Number(vma.shmid);
  const file = tree.files.get(id);
  const flags = file?.reg?.flags ?? file?.memfd?.flags ?? file?.psk?.flags ?? 0;
  const wanted = (vma.fdflags ?? flags) & openFlag.accessMode;
  return wanted === (flags & openFlag.accessMode) ? fileKey(id) : `${fileKey(id)} as ${wanted}`;
}

function planMappingVariants(context: FileContext, tree: TreeImage): void {
  const done = new Set<string>();
  for (const vma of tree.tasks.flatMap((task) => task.mm?.vmas ?? [])) {
    if ((vma.status & (vmaStatus.filePrivate | vmaStatus.fileShared)) === 0) continue;
    const key = mappingKey(vma, tree);
    const id = Number(vma.shmid);
    if (key === fileKey(id) || done.has(key)) continue;
    done.add(key);
    const wanted = (vma.fdflags ?? 0) & openFlag.accessMode;
    const batch = context.script.room(3, 64);
    const master = context.masters.of(fileKey(id));
    batch.call(syscalls.openat, [-100, batch.text(`/proc/self/fd/${master}`), wanted | openFlag.closeOnExec], {
      purpose: `opening file ${id} as it was mapped`,
    });
    settle(context, batch, 0, key);
  }
}

function makeFile(context: FileContext, file: FileEntry, { isPlainDevice }: FileMachine): void {
  const refuse = (why: string): void => {
    context.problems.push(`file ${file.id}: ${why}`);
  };
  if (file.reg !== undefined) {
    if (context.tree.ghosts.has(file.id) || context.tree.links.has(file.id)) return;
    if (deadPid(file.reg, context.tree) !== undefined || isOfLaterTask(file.reg, context.tree)) return;
    const obstacle = regularObstacle(file.reg, isPlainDevice);
    if (obstacle !== undefined) refuse(obstacle);
    else makeRegular(context, file.reg);
  } else if (file.efd !== undefined) makeEventfd(context, file.efd);
  else if (file.tfd !== undefined) makeTimerfd(context, file.tfd);
  else if (file.sgfd !== undefined) makeSignalfd(context, file.sgfd);
  else if (file.epfd !== undefined) makeEpoll(context, file.epfd);
  else if (file.memfd !== undefined) makeMemfd(context, file.memfd);
  else if (file.nlsk !== undefined) makeNetlink(context, file.nlsk);
  else if (file.isk !== undefined) {
    const obstacle = inetObstacle(file.isk);
    if (obstacle !== undefined) refuse(obstacle);
    else if (wasConnected(file.isk)) makeClosed(context, file.isk);
    else if (!isConnection(file.isk)) makeInet(context, file.isk);
  } else if (file.psk !== undefined) {
    const obstacle = packetObstacle(file.psk);
    if (obstacle !== undefined) refuse(obstacle);
    else makePacket(context, file.psk);
  } else if (file.pidfd !== undefined) {
    const obstacle = pidfdObstacle(file.pidfd, context.tree);
    if (obstacle !== undefined) refuse(obstacle);
  } else if (![file.pipe, file.fifo, file.usk, file.tty, file.ify, file.ffy].some((known) => known !== undefined)) {
    refuse(`descriptors of type ${typeName(file.type)}`);
  }
}

/** After all other files, so that none of what is done for those is reported. */
function makeWatching(context: FileContext, file: FileEntry, { mountOf }: FileMachine): void {
  const { ify, ffy } = file;
  const obstacle =
    ify !== undefined
      ? inotifyObstacle(ify, context.tree, mountOf)
      : ffy !== undefined
        ? fanotifyObstacle(ffy, context.tree, mountOf)
        : undefined;
  if (obstacle !== undefined) context.problems.push(`file ${file.id}: ${obstacle}`);
  else if (ify !== undefined) makeInotify(context, ify, mountOf);
  else if (ffy !== undefined) makeFanotify(context, ffy, mountOf);
}

function typeName(type: number): string {
  const found = Object.entries(FdTypes).find(([, value]) => value === type);
  return found === undefined ? String(type) : found[0];
}

/** Gives the task its descriptors: copies of the masters under the image's numbers; then its masters are closed. */
export function placeDescriptors(script: Script, plan: FilePlan, task: TaskImage, tree: TreeImage): void {
  openPidfds(script, plan.masters, task, tree);
  const handed = new Set(plan.handed.map((file) => file.id));
  for (const descriptor of task.descriptors) {
    if (handed.has(descriptor.id)) continue;
    const flags = (descriptor.flags & 1) !== 0 ? openFlag.closeOnExec : 0;
    script.room(1).call(syscalls.dup3, [plan.file(descriptor.id), descriptor.fd, flags], {
      purpose: `placing descriptor ${descriptor.fd}`,
    });
  }
  placeAsync(script, task, tree);
  const watched = new Set<number>();
  for (const descriptor of task.descriptors) {
    const epoll = tree.files.get(descriptor.id)?.epfd;
    if (epoll === undefined || watched.has(epoll.id)) continue;
    watched.add(epoll.id);
    watchFiles(script, descriptor.fd, epoll);
  }
  for (const epoll of inFlight(tree)) {
    if (watcher(epoll, tree) === task) watchFiles(script, plan.file(epoll.id), epoll);
  }
}

/** Epoll sets that no task holds, as they are in the queue of a socket. */
function inFlight(tree: TreeImage): EventpollFileEntry[] {
  if (tree.packets.size === 0) return [];
  const held = new Set(tree.tasks.flatMap((task) => task.descriptors.map((descriptor) => descriptor.id)));
  return [...usedFiles(tree)].flatMap((id) => {
    const epoll = tree.files.get(id)?.epfd;
    return epoll === undefined || held.has(id) ? [] : [epoll];
  });
}

/** The task that adds what such a set watches: the first that has all of it. */
function watcher({ tfd: targets }: EventpollFileEntry, tree: TreeImage): TaskImage | undefined {
  return tree.tasks.find((task) => {
    const numbers = new Set(task.descriptors.map((descriptor) => descriptor.fd));
    return !task.sharing.files && targets.every((target) => numbers.has(target.tfd));
  });
}

/** The kinds that can tell of input by a signal. */
function asyncFlags(file: FileEntry | undefined, tree: TreeImage): number {
  const fifo = file?.fifo === undefined ? undefined : tree.files.get(file.fifo.regf_id ?? file.fifo.id)?.reg;
  return file?.pipe?.flags ?? file?.usk?.flags ?? file?.isk?.flags ?? file?.tty?.flags ?? fifo?.flags ?? 0;
}

function placeAsync(script: Script, task: TaskImage, tree: TreeImage): void {
  const done = new Set<number>();
  for (const { id, fd } of task.descriptors) {
    if (done.has(id)) continue;
    done.add(id);
    const flags = asyncFlags(tree.files.get(id), tree);
    if ((flags & openFlag.async) !== 0) setAsync(script.room(1), fd, flags);
  }
}

/** After closeMasters: closing any descriptor of a file gives up the process's record locks on it (fcntl(2)). */
export function takeLocks(script: Script, task: TaskImage, tree: TreeImage): void {
  for (const lock of tree.locks) if (lock.pid === task.pid) takeLock(script, lock);
}

export function closeMasters(script: Script, plan: FilePlan): void {
  for (const { first, last } of plan.masters.runs()) script.room(1).call(syscalls.close_range, [first, last, 0]);
}
