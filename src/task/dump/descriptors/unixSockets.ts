// Unix sockets: pairs, listening and connected ones, datagrams, their queues and the descriptors in those
// (unix(7), sock_diag(7)).
import { closeSync, readlinkSync, statSync } from "node:fs";
import { checked, FaultlineError } from "../../../errors";
import type { Init } from "../../../images/message";
import type { UnixSkEntry } from "../../../images/messages";
import { native } from "../../../native";
import { solSocket } from "../../socketOptions";
import type { ImageSet } from "../imageSet";
import { noOwner, type OpenFile } from "../openFile";
import { integerOption, socketOptions } from "./socketOptions";

const netlinkSockDiag = 4;
const sockDiagByFamily = 20;
const requestFlags = 0x301; // NLM_F_REQUEST | NLM_F_DUMP
const show = { name: 1, vfs: 2, peer: 4, waiting: 8, queueLengths: 16 } as const;
const attribute = { name: 0, vfs: 1, peer: 2, waiting: 3, queueLengths: 4, shutdown: 6 } as const;
const messageHeader = 16;
const diagHeader = 16;
const familyUnix = 1;
const soPeekOffset = 42;
const streamType = 1;
const datagramType = 2;
const slash = 0x2f;
/** USK_EXTERN of CRIU's images: a socket that is not restored, only connected to. */
const external = 1;
const packetType = 5;
const receiveShutdown = 1;
const packetBytesMax = 1024 * 1024;
const descriptorsMax = 253;
const listenState = 10;

export interface UnixFacts {
  readonly inode: number;
  readonly type: number;
  readonly state: number;
  /** As bound: raw bytes, a NUL first for abstract names. */
  readonly name: Buffer;
  /** Inode of the other end; of a connection that is not accepted yet, of the listening socket, as in CRIU's images. */
  readonly peer: number;
  /** Of a listening socket: inodes of those that wait to be accepted, 0 for one that is closed already. */
  readonly waiting: readonly number[];
  readonly backlog: number;
  readonly shutdown: number;
}

const inputQueue = 0x541b; // SIOCINQ
const outputQueue = 0x5411; // SIOCOUTQ

function unreadBytes(fd: number): number {
  const value = new Int32Array(1);
  return native.ioctlBuffer(fd, inputQueue, value) < 0 ? 0 : (value[0] as number);
}

/** Whether a socket has sent what its peer has not read. */
export function hasSent(fd: number): boolean {
  const value = new Int32Array(1);
  return native.ioctlBuffer(fd, outputQueue, value) >= 0 && value[0] !== 0;
}

/** Every unix socket of this network namespace, by inode. */
export function unixSockets(): Map<number, UnixFacts> {
  const request = Buffer.alloc(messageHeader + 24);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(sockDiagByFamily, 4);
  request.writeUInt16LE(requestFlags, 6);
  request[messageHeader] = familyUnix;
  request.writeUInt32LE(0xffffffff, messageHeader + 4); // every state
  request.writeUInt32LE(show.name | show.vfs | show.peer | show.waiting | show.queueLengths, messageHeader + 12);
  const answer = Buffer.alloc(4 * 1024 * 1024);
  const length = checked(native.netlinkDump(netlinkSockDiag, request, answer), "netlink", "cannot list unix sockets");
  const found = new Map<number, UnixFacts>();
  for (let at = 0; at + messageHeader <= length; ) {
    const size = answer.readUInt32LE(at);
    if (size < messageHeader) break;
    if (answer.readUInt16LE(at + 4) === sockDiagByFamily) {
      const facts = parseUnix(answer.subarray(at + messageHeader, at + size));
      found.set(facts.inode, facts);
    }
    at += (size + 3) & ~3;
  }
  for (const listener of [...found.values()]) {
    for (const inode of listener.waiting) {
      const client = found.get(inode);
      if (client !== undefined) found.set(inode, { ...client, peer: listener.inode });
    }
  }
  return found;
}

function parseUnix(message: Buffer): UnixFacts {
  let name: Buffer = Buffer.alloc(0);
  let peer = 0;
  let backlog = 0;
  let shutdown = 0;
  let waiting: number[] = [];
  for (let at = diagHeader; at + 4 <= message.length; ) {
    const size = message.readUInt16LE(at);
    if (size < 4) break;
    const value = message.subarray(at + 4, at + size);
    const kind = message.readUInt16LE(at + 2) & 0x3fff;
    if (kind === attribute.name) name = Buffer.from(value);
    else if (kind === attribute.peer) peer = value.readUInt32LE(0);
    else if (kind === attribute.waiting) {
      waiting = Array.from({ length: value.length >> 2 }, (_, index) => value.readUInt32LE(index * 4));
    } else if (kind === attribute.queueLengths) backlog = value.readUInt32LE(4);
    else if (kind === attribute.shutdown) shutdown = value[0] ?? 0;
    at += (size + 3) & ~3;
  }
  const [, type, state] = message as unknown as [number, number, number];
  return { inode: message.readUInt32LE(4), type, state, name, peer, waiting, backlog, shutdown };
}

/** Whether a socket that stays where it is can be connected to again: a datagram socket with a name that leads to it. */
export function isReachable(facts: UnixFacts | undefined): boolean {
  if (facts === undefined || facts.type !== datagramType || facts.name.length === 0) return false;
  return facts.name[0] === 0 || facts.name[0] === slash;
}

const noOptions = {
  ...{ so_sndbuf: 0, so_rcvbuf: 0 },
  ...{ so_snd_tmo_sec: 0n, so_snd_tmo_usec: 0n, so_rcv_tmo_sec: 0n, so_rcv_tmo_usec: 0n },
};

interface PendingQueue {
  readonly id: number;
  readonly file: OpenFile;
  readonly facts: UnixFacts;
}

export class UnixSockets {
  readonly #images: ImageSet;
  #all: Map<number, UnixFacts> | undefined;
  #pending: PendingQueue[] = [];
  readonly #added = new Set<number>();
  readonly #heldBack: { readonly peer: number; readonly usk: Init<UnixSkEntry> }[] = [];

  constructor(images: ImageSet) {
    this.#images = images;
  }

  add(id: number, file: OpenFile): void {
    this.#all ??= unixSockets();
    const facts = this.#all.get(file.inode);
    if (facts === undefined) throw new Error(`unix socket ${file.inode} is unknown to sock_diag`);
    this.#added.add(facts.inode);
    const isListening = facts.state === listenState;
    file.withCopy((fd) => {
      if (this.#all?.get(facts.peer)?.waiting.includes(file.inode) === true && hasSent(fd)) {
        // Looked for before the tree was stopped: since then it has connected, or sent something.
        throw new FaultlineError(
          "UNSUPPORTED",
          "a unix connection that is not accepted yet has sent something meanwhile",
          {
            pid: file.pid,
            advice: "try again",
          },
        );
      }
      const opts = socketOptions(fd, true);
      const path = facts.name.length > 0 && facts.name[0] !== 0;
      const place = path ? namePlace(fd, file, facts.name) : undefined;
      const usk = {
        ...{ id, ino: file.inode, type: facts.type, state: facts.state, flags: file.flags, uflags: 0 },
        backlog: isListening ? facts.backlog : 0,
        peer: facts.peer,
        fown: file.owner(),
        opts,
        name: imageName(facts.name),
        shutdown: facts.shutdown === 0 ? undefined : facts.shutdown,
        deleted: place?.deleted === true ? true : undefined,
        name_dir: place?.folder,
        file_perms: place?.permissions,
        ns_id: 2,
      };
      if (!this.#added.has(facts.peer) && isReachable(this.#all?.get(facts.peer))) {
        this.#heldBack.push({ peer: facts.peer, usk });
      } else this.#images.addFile("UNIXSK", { id, usk });
    });
    if (!isListening) this.#pending.push({ id, file, facts });
  }

  /**
   * Writes what was held back when all sockets of the tree are known: those whose peer is outside of it come behind an entry
   * for that, as CRIU looks for peers only among those it has read.
   */
  addExternals(): void {
    for (const { peer, usk } of this.#heldBack) {
      const facts = this.#all?.get(peer);
      if (facts !== undefined && !this.#added.has(peer)) {
        this.#added.add(peer);
        const id = this.#images.newFileId();
        const base = {
          id,
          ino: peer,
          type: facts.type,
          state: listenState,
          flags: 0,
          uflags: external,
          backlog: 0,
          peer: 0,
        };
        const entry = { ...base, fown: noOwner, opts: noOptions, name: imageName(facts.name) };
        this.#images.addFile("UNIXSK", { id, usk: entry });
      }
      this.#images.addFile("UNIXSK", { id: usk.id as number, usk });
    }
  }

  /** Writes the queues of the sockets added since the last call; `idOf` gives the id of a descriptor in transit. */
  addQueues(idOf: (copy: number) => number): void {
    while (this.#pending.length > 0) {
      const batch = this.#pending;
      this.#pending = [];
      for (const pending of batch) this.#addQueue(pending, idOf);
    }
  }

  #addQueue({ id, file, facts }: PendingQueue, idOf: (copy: number) => number): void {
    file.withCopy((fd) => {
      const before = integerOption(fd, solSocket, soPeekOffset);
      const setOffset = (offset: number): number =>
        native.setSocketOption(fd, solSocket, soPeekOffset, new Int32Array([offset]));
      if (setOffset(0) < 0) return;
      // Where no more can come, a packet socket answers with an empty packet for ever.
      const ends = facts.type === packetType && (facts.shutdown & receiveShutdown) !== 0;
      const unread = ends ? unreadBytes(fd) : 0;
      const isEnd = (taken: number): boolean => facts.type === streamType || (ends && taken >= unread);
      let taken = 0;
      try {
        for (;;) {
          const packet = peek(fd);
          if (packet === undefined || (packet.bytes.length === 0 && isEnd(taken))) return;
          taken += packet.bytes.length;
          const rights = packet.descriptors.map(idOf);
          for (const copy of packet.descriptors) closeSync(copy);
          this.#images.add(
            "sk-queues.img",
            "SK_QUEUES",
            { id_for: id, length: packet.bytes.length, scm: rights.length === 0 ? [] : [{ type: 1, rights }] },
            { kind: "bytes", bytes: packet.bytes },
          );
        }
      } finally {
        setOffset(before);
      }
    });
  }
}

/** Paths end with a NUL in CRIU's images. */
function imageName(name: Buffer): Buffer {
  const isOpen = name.length > 0 && name[0] !== 0 && name.at(-1) !== 0;
  return isOpen ? Buffer.concat([name, Buffer.alloc(1)]) : name;
}

function peek(fd: number): { bytes: Buffer; descriptors: number[] } | undefined {
  const buffer = Buffer.alloc(packetBytesMax);
  const fds = new Int32Array(descriptorsMax);
  const facts = new Int32Array(3);
  const got = native.packetPeek(fd, buffer, fds, facts, Buffer.alloc(128));
  if (got < 0) return undefined;
  return { bytes: Buffer.from(buffer.subarray(0, got)), descriptors: [...fds.subarray(0, facts[0])] };
}

/** SIOCUNIXFILE (linux/un.h): a descriptor of the file that a socket is bound to, whatever became of its name. */
const boundFile = 0x89e0;
const deletedMark = " (deleted)";

interface NamePlace {
  /** Of a relative name: where it was bound. */
  readonly folder: string | undefined;
  readonly permissions: { readonly mode: number; readonly uid: number; readonly gid: number } | undefined;
  /** The name is gone, or leads to something else now. */
  readonly deleted: boolean;
}

function namePlace(fd: number, file: OpenFile, name: Buffer): NamePlace {
  const path = name.toString("utf8").replace(/\0+$/, "");
  const cwd = readlinkSync(`/proc/${file.pid}/cwd`);
  const bound = native.ioctlBuffer(fd, boundFile, new Uint8Array(0));
  if (bound < 0) return { folder: path.startsWith("/") ? undefined : cwd, permissions: undefined, deleted: true };
  try {
    const link = readlinkSync(`/proc/self/fd/${bound}`);
    const { mode, uid, gid, ino, dev } = statSync(`/proc/self/fd/${bound}`);
    const full = link.endsWith(deletedMark) ? link.slice(0, -deletedMark.length) : link;
    const now = statSync(full, { throwIfNoEntry: false });
    const folder = full.endsWith(`/${path}`) ? full.slice(0, -path.length - 1) : cwd;
    return {
      folder: path.startsWith("/") ? undefined : folder || "/",
      permissions: { mode, uid, gid },
      deleted: now?.ino !== ino || now.dev !== dev,
    };
  } finally {
    closeSync(bound);
  }
}
