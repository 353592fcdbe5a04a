// The descriptor tables of the tree: which descriptors share one open file (kcmp(2)), and the record of each. Every kind
// of file has its own module; this one only tells them apart. Also the one place that knows which kinds are refused.
import { FaultlineError } from "../../errors";
import { FdTypes } from "../../images/messages";
import { native } from "../../native";
import { kcmpType } from "../constants";
import { deviceNumbers, isPlainDevice } from "../devices";
import { listProc, readProcLink } from "../proc";
import { solSocket } from "../socketOptions";
import { addFanotify } from "./descriptors/fanotify";
import { addInetSocket, unreadBytes } from "./descriptors/inetSocket";
import { inotifyPath } from "./descriptors/inotifyPath";
import { type MemoryFiles, namelessMemory } from "./descriptors/memoryFiles";
import { addNetlinkSocket } from "./descriptors/netlinkSocket";
import { addPacketSocket } from "./descriptors/packetSocket";
import { isFifo, Pipes } from "./descriptors/pipes";
import {
  addEpoll,
  addEventfd,
  addInotify,
  addPidfd,
  addSignalfd,
  addTimerfd,
  type EpollTarget,
  parseEpollTargets,
} from "./descriptors/simple";
import { TcpConnections } from "./descriptors/tcpConnections";
import { Terminals } from "./descriptors/terminals";
import { UnixSockets } from "./descriptors/unixSockets";
import { hasLease } from "./fileLocks";
import type { FileTypeName, ImageSet } from "./imageSet";
import { modeType, OpenFile, openFlag } from "./openFile";
import { heldFile, type RegularFiles } from "./regularFiles";

/** What a descriptor is, or undefined for a kind that cannot be dumped. */
export function typeOf(file: OpenFile): FileTypeName | undefined {
  const { link, type } = file;
  if ((file.flags & openFlag.path) !== 0) return type === modeType.socket ? undefined : "REG";
  if (link.startsWith("pipe:")) return "PIPE";
  if (link.startsWith("/memfd:")) return "MEMFD";
  if (namelessMemory.includes(link) && type === modeType.regular) return "MEMFD";
  if (link === "anon_inode:[eventfd]") return "EVENTFD";
  if (link === "anon_inode:[eventpoll]") return "EVENTPOLL";
  if (link === "anon_inode:[timerfd]") return "TIMERFD";
  if (link === "anon_inode:[signalfd]") return "SIGNALFD";
  if (link === "anon_inode:inotify") return "INOTIFY";
  if (link === "anon_inode:[fanotify]") return "FANOTIFY";
  if (link === "anon_inode:[pidfd]" || link.startsWith("pidfd:")) return "PIDFD";
  if (link.startsWith("anon_inode:") || /^(net|mnt|pid|user|uts|ipc|cgroup|time):\[/.test(link)) return undefined;
  if (type === modeType.socket) return socketType(file);
  if (isFifo(file)) return "FIFO";
  if (type === modeType.regular || type === modeType.directory) return "REG";
  if (type !== modeType.character) return undefined;
  const { major } = deviceNumbers(file.stat.rdev);
  if (isPlainDevice(file.stat.rdev)) return "REG";
  const isTerminal = major === 4 || major === 5 || (major >= 136 && major <= 143);
  return isTerminal ? "TTY" : undefined;
}

const familyUnix = 1;
const familyInet = 2;
const familyInet6 = 10;
const familyNetlink = 16;
const familyPacket = 17;
const soDomain = 39;

function socketType(file: OpenFile): FileTypeName | undefined {
  const family = file.withCopy((fd) => {
    const value = new Int32Array(1);
    native.getSocketOption(fd, solSocket, soDomain, value);
    return value[0];
  });
  if (family === familyUnix) return "UNIXSK";
  if (family === familyNetlink) return "NETLINKSK";
  if (family === familyPacket) return "PACKETSK";
  return family === familyInet || family === familyInet6 ? "INETSK" : undefined;
}

/**
 * The task's descriptors for the targets of an epoll set: under the number of registration time, or another that holds the file.
 * Targets of one number come in the order in which the kernel counts them, and no two get one descriptor.
 */
function heldTargets(pid: number, file: OpenFile, targets: readonly EpollTarget[]): (number | undefined)[] {
  const fds = listProc(pid, "fd").map(Number);
  const counts = new Map<number, number>();
  const taken = new Set<number>();
  return targets.map((target) => {
    const offset = counts.get(target.fd) ?? 0;
    counts.set(target.fd, offset + 1);
    const holds = (fd: number): boolean =>
      !taken.has(fd) && native.epollTarget(pid, fd, file.pid, file.fd, target.fd, offset) === 0;
    const fd = fds.includes(target.fd) && holds(target.fd) ? target.fd : fds.find(holds);
    if (fd !== undefined) taken.add(fd);
    return fd;
  });
}

/** A descriptor of the task for the socket with that inode. */
export function socketDescriptor(pid: number, inode: number): number | undefined {
  const fds = listProc(pid, "fd").map(Number);
  return fds.find((fd) => readProcLink(pid, `fd/${fd}`) === `socket:[${inode}]`);
}

export interface FilesTableOptions {
  readonly shellJob: boolean;
  readonly tcpEstablished: boolean;
  readonly tcpClose: boolean;
  /** When the tree stood (FrozenTree). */
  readonly frozenNs: bigint;
}

interface KnownFile {
  readonly file: OpenFile;
  readonly id: number;
  readonly type: FileTypeName;
}

/** Gathers the descriptor tables of all tasks. */
export class FilesTables {
  readonly pipes: Pipes;
  readonly memory: MemoryFiles;
  readonly terminals: Terminals;
  readonly unix: UnixSockets;
  readonly connections = new TcpConnections();
  readonly #images: ImageSet;
  readonly #regular: RegularFiles;
  readonly #options: FilesTableOptions;
  readonly #known = new Map<string, KnownFile[]>();
  readonly #lost: string[] = [];
  readonly #tasks: number[] = [];

  constructor(images: ImageSet, regular: RegularFiles, memory: MemoryFiles, options: FilesTableOptions) {
    this.#images = images;
    this.#regular = regular;
    this.#options = options;
    this.memory = memory;
    this.pipes = new Pipes(images);
    this.terminals = new Terminals(images, regular);
    this.unix = new UnixSockets(images);
  }

  /** What a restored tree finds different. */
  warnings(): string[] {
    return [...this.pipes.warnings(), ...this.#lost];
  }

  /** Nobody can put events back into the queues of inotify and fanotify. */
  #noteLost({ file, type }: KnownFile): void {
    if ((type !== "INOTIFY" && type !== "FANOTIFY") || file.withCopy(unreadBytes) === 0) return;
    this.#lost.push(`pid ${file.pid} fd ${file.fd}: unread events of ${type.toLowerCase()} are lost`);
  }

  /** Writes fdinfo-ID.img and the files it speaks of. */
  addTable(pid: number, filesId: number): void {
    this.#tasks.push(pid);
    const name = `fdinfo-${filesId}.img`;
    this.#images.create(name, "FDINFO");
    const fds = listProc(pid, "fd")
      .map(Number)
      .sort((a, b) => a - b);
    for (const fd of fds) {
      const { id, type, file } = this.#identify(new OpenFile(pid, fd));
      this.#images.add(name, "FDINFO", { id, flags: file.closeOnExec ? 1 : 0, type: FdTypes[type], fd });
    }
    // What is queued in sockets may hold descriptors of its own.
    this.unix.addQueues((copy) => this.#identify(new OpenFile(process.pid, copy)).id);
  }

  /** The id under which an open file is (or will be) in files.img. */
  idOf(file: OpenFile): number {
    return this.#identify(file).id;
  }

  /** The id of a socket that a task has mapped (the ring of a packet socket), by one of its descriptors. */
  idOfSocket(pid: number, inode: number): number {
    const fd = socketDescriptor(pid, inode);
    if (fd !== undefined) return this.idOf(new OpenFile(pid, fd));
    throw new FaultlineError("UNSUPPORTED", "a socket was closed and is mapped still", { pid, advice: "try again" });
  }

  /** The id of an open file, the same for every descriptor that shares it. */
  #identify(file: OpenFile): KnownFile {
    const key = `${file.stat.dev}:${file.stat.ino}:${file.flags}`;
    const candidates = this.#known.get(key) ?? [];
    for (const candidate of candidates) {
      const { pid, fd } = candidate.file;
      if (native.kcmp(pid, file.pid, kcmpType.file, fd, file.fd) === 0) return { ...candidate, file };
    }
    const type = typeOf(file);
    if (type === undefined) throw new Error(`descriptor ${file.fd} of ${file.pid} escaped the search for obstacles`);
    const found = { file, id: this.#images.newFileId(), type };
    this.#known.set(key, [...candidates, found]);
    this.#add(found);
    this.#noteLost(found);
    return found;
  }

  #add({ file, id, type }: KnownFile): void {
    const { pid, fd } = file;
    const images = this.#images;
    const held = () => heldFile(pid, `fd/${fd}`);
    const leased = hasLease(file.info);
    const options = () => ({ flags: file.flags, position: file.position, owner: file.owner(), leased });
    const writers: Partial<Record<FileTypeName, () => void>> = {
      REG: () => this.#regular.addAs(id, held(), options()),
      PIPE: () => this.pipes.addPipe(id, file),
      FIFO: () => this.pipes.addFifo(id, file, this.#regular.add(held(), options())),
      EVENTFD: () => addEventfd(images, id, file),
      EVENTPOLL: () => addEpoll(images, id, file, this.#epollTargets(file)),
      TIMERFD: () => addTimerfd(images, id, file, this.#options.frozenNs),
      SIGNALFD: () => addSignalfd(images, id, file),
      INOTIFY: () => addInotify(images, id, file, inotifyPath),
      FANOTIFY: () => addFanotify(images, id, file),
      PIDFD: () => addPidfd(images, id, file),
      MEMFD: () => this.memory.addDescriptor(id, file),
      INETSK: () => addInetSocket(images, id, file, this.#options, this.connections),
      PACKETSK: () => addPacketSocket(images, id, file),
      NETLINKSK: () => addNetlinkSocket(images, id, file),
      UNIXSK: () => this.unix.add(id, file),
      TTY: () => this.terminals.add(id, file),
    };
    const write = writers[type];
    if (write === undefined) throw new Error(`no writer for ${type}`);
    write();
  }

  /**
   * An epoll set names its targets by the descriptor numbers of registration time, which may be closed or stand for
   * another file by now: KCMP_EPOLL_TFD of kcmp(2) finds who holds the target today.
   */
  #epollTargets(file: OpenFile): EpollTarget[] {
    const targets = parseEpollTargets(file.info);
    // A set in flight is a descriptor of ours; it belongs to a task that has what it watches.
    const pids = file.pid === process.pid ? this.#tasks : [file.pid];
    const found = pids.map((pid) => heldTargets(pid, file, targets));
    const best = found.find((held) => held.every((fd) => fd !== undefined)) ?? found[0] ?? [];
    return targets.map((target, index) => ({ ...target, fd: best[index] ?? target.fd }));
  }
}
