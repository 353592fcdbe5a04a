// Unix sockets of a tree: pairs, bound and listening sockets, connections made through them, datagram sockets with a
// peer, with what waits in their queues and the descriptors passed in it. All are made in one process, where a connect
// to a listening socket completes at once. The order: make and bind all, listen, connect, fill, then what cannot be
// undone (shutdown). Everything is at its master from the start, since the sockets refer to each other.
import { lstatSync } from "node:fs";
import type { SkPacketEntry, UnixSkEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import { solSocket } from "../../socketOptions";
import type { SocketPacket } from "../treeImage";
import { type FileContext, fileKey, openFlag, setOwner, setStatus } from "./context";
import { setSocketOptions, socketOptionCalls } from "./socketOptions";

const familyUnix = 1;
const socketType = { stream: 1, datagram: 2, seqpacket: 5 } as const;
const state = { established: 1, closed: 7, listening: 10 } as const;
const scmRights = 1;
const sendBufferForce = 32;
/** Large enough for whatever waited in a queue, until the program's own limit is set. */
const generousBufferBytes = 8 * 1024 * 1024;
const addressBytesMax = 108;
const dontWait = 0x40;
const mkdirat = 258;
const unlinkat = 263;
const removeDirectory = 0x200;
const fchmodat = 268;
const fchownat = 260;
const pieceBytes = 128 * 1024;

/** Why a set of sockets cannot be made, for each; the others of the set are `sockets`. */
export function unixObstacle(socket: UnixSkEntry, byInode: ReadonlyMap<number, UnixSkEntry>): string | undefined {
  const kinds: readonly number[] = Object.values(socketType);
  if (!kinds.includes(socket.type)) return `a unix socket of type ${socket.type}`;
  if (socket.name.length >= addressBytesMax) return "a unix socket with an overlong name";
  if (socket.peer !== 0 && !byInode.has(socket.peer))
    return "a unix socket with its peer outside of the image (--ext-unix-sk may help)";
  if (isPath(socket.name) && socket.name[0] !== 0x2f && socket.name_dir === undefined) {
    return "a unix socket bound to a relative path of unknown directory";
  }
  return undefined;
}

const isPath = (name: Uint8Array): boolean => name.length > 0 && name[0] !== 0;

/** A relative name, without its directory, as the program sees it (getsockname(2)). */
const isRelative = (name: Uint8Array): boolean => isPath(name) && name[0] !== 0x2f;

/** The path of a name, absolute. */
function fullName(socket: UnixSkEntry): Buffer {
  const { name } = socket;
  if (!isPath(name)) return name;
  const path = untilNul(name);
  if (path[0] === 0x2f || socket.name_dir === undefined) return path;
  return Buffer.concat([Buffer.from(`${socket.name_dir.replace(/\/$/, "")}/`), path]);
}

function untilNul(name: Buffer): Buffer {
  const end = name.indexOf(0);
  return end < 0 ? name : name.subarray(0, end);
}

function address(name: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(2 + name.length + (isPath(name) ? 1 : 0));
  bytes.writeUInt16LE(familyUnix, 0);
  bytes.set(name, 2);
  return bytes;
}

class UnixBuilder {
  readonly #context: FileContext;
  readonly #byInode: ReadonlyMap<number, UnixSkEntry>;
  readonly #made = new Set<number>();
  /** Inodes of those whose deleted name something else has now. */
  readonly #aside: ReadonlySet<number>;

  constructor(context: FileContext, sockets: readonly UnixSkEntry[], aside: ReadonlySet<number>) {
    this.#context = context;
    this.#aside = aside;
    this.#byInode = new Map(sockets.map((socket) => [socket.ino, socket]));
  }

  master(socket: UnixSkEntry): number {
    return this.#context.masters.of(fileKey(socket.id));
  }

  /** Sockets with deleted names first, as another may have got the name since. */
  build(sockets: readonly UnixSkEntry[]): void {
    const first = this.#around(sockets.filter((socket) => socket.deleted === true));
    this.#buildGroup(sockets.filter((socket) => first.has(socket)));
    this.#buildGroup(sockets.filter((socket) => !first.has(socket)));
  }

  /** The sockets and all that are connected with them. */
  #around(sockets: readonly UnixSkEntry[]): ReadonlySet<UnixSkEntry> {
    const found = new Set(sockets);
    const all = [...this.#byInode.values()];
    for (const socket of found) {
      const peer = this.#byInode.get(socket.peer);
      if (peer !== undefined) found.add(peer);
      for (const other of all) if (other.peer === socket.ino) found.add(other);
      // An accepted socket is made through the listening one of its name.
      if (isPath(socket.name)) for (const other of all) if (this.#sameName(other, socket)) found.add(other);
    }
    return found;
  }

  #sameName(other: UnixSkEntry, socket: UnixSkEntry): boolean {
    return (other.deleted === true) === (socket.deleted === true) && fullName(other).equals(fullName(socket));
  }

  #buildGroup(sockets: readonly UnixSkEntry[]): void {
    const connected = sockets.filter((socket) => this.#isConnected(socket));
    const alone = sockets.filter((socket) => !connected.includes(socket));
    for (const socket of alone) this.#make(socket);
    for (const socket of alone.filter((candidate) => candidate.name.length > 0)) this.#bind(socket);
    for (const socket of alone.filter((candidate) => candidate.state === state.listening)) this.#listen(socket);
    for (const socket of connected) if (!this.#made.has(socket.ino)) this.#connectPair(socket);
    // After the pairs, for which the listening socket accepts what waits longest.
    for (const socket of alone) if (this.#isWaiting(socket)) this.#connectByName(socket);
    for (const socket of alone)
      if (socket.type === socketType.datagram && socket.peer !== 0) this.#connectDatagram(socket);
    for (const socket of sockets) this.#fill(socket);
    for (const socket of sockets) this.#finish(socket);
  }

  /** A stream or packet connection, or two datagram sockets without names that point at each other. */
  #isConnected(socket: UnixSkEntry): boolean {
    const peer = this.#byInode.get(socket.peer);
    if (peer === undefined || this.#isWaiting(socket)) return false;
    if (socket.type !== socketType.datagram) return socket.state === state.established;
    return peer.peer === socket.ino && peer.name.length === 0 && socket.name.length === 0;
  }

  /** Connected, and not accepted yet: its peer is the listening socket. */
  #isWaiting(socket: UnixSkEntry): boolean {
    const isStream = socket.type !== socketType.datagram && socket.state === state.established;
    return isStream && this.#byInode.get(socket.peer)?.state === state.listening;
  }

  #make(socket: UnixSkEntry): void {
    const batch = this.#context.script.room(3);
    batch.call(syscalls.socket, [familyUnix, socket.type | openFlag.closeOnExec, 0]);
    batch.call(syscalls.dup3, [0, this.master(socket), openFlag.closeOnExec]);
    batch.call(syscalls.close, [0]);
    this.#made.add(socket.ino);
  }

  /** Replaces a socket that a dead process left under the name; anything else there has stopped the plan before. */
  #bind(socket: UnixSkEntry, descriptor = this.master(socket)): void {
    const name = fullName(socket);
    if (this.#aside.has(socket.ino)) {
      this.#bindAside(socket, descriptor);
      return;
    }
    const batch = this.#context.script.room(8, name.length * 4 + 512);
    const path = isPath(name) ? batch.place(Buffer.concat([name, Buffer.from([0])])) : undefined;
    if (path !== undefined) batch.call(unlinkat, [-100, path, 0], { tolerate: true });
    const where = address(isRelative(socket.name) ? untilNul(socket.name) : name);
    if (isRelative(socket.name)) batch.call(syscalls.chdir, [batch.text(socket.name_dir ?? "/")]);
    batch.call(syscalls.bind, [descriptor, batch.place(where), where.length], {
      purpose: `binding ${printable(name)}`,
    });
    if (isRelative(socket.name)) batch.call(syscalls.chdir, [batch.text("/")]);
    const permissions = socket.file_perms;
    if (path === undefined) return;
    if (permissions !== undefined) {
      batch.call(fchmodat, [-100, path, permissions.mode & 0o7777]);
      batch.call(fchownat, [-100, path, permissions.uid, permissions.gid, 0]);
    }
  }

  /**
   * Binds a socket to its deleted name where that is another's now: below a root of its own for the moment, which is taken
   * away again. The way back to the real root is the working directory.
   */
  #bindAside(socket: UnixSkEntry, descriptor: number): void {
    const name = fullName(socket);
    const below = untilNul(isRelative(socket.name) ? Buffer.concat([Buffer.from("/"), socket.name]) : socket.name);
    const root = Buffer.concat([name, Buffer.from(`.faultline-${socket.id}`)]);
    const folders = [root, ...foldersOf(below).map((folder) => Buffer.concat([root, folder]))];
    const bytes = folders.reduce((sum, folder) => sum + folder.length * 2 + 64, 1024) + root.length * 2;
    const batch = this.#context.script.room(8 + folders.length * 2, bytes);
    const place = (path: Uint8Array) => batch.place(Buffer.concat([path, Buffer.from([0])]));
    for (const folder of folders) batch.call(mkdirat, [-100, place(folder), 0o700], { purpose: "binding aside" });
    const where = address(untilNul(socket.name));
    const bind = { purpose: `binding ${printable(name)}` };
    if (isRelative(socket.name)) {
      batch.call(syscalls.chdir, [place(root)]);
      batch.call(syscalls.bind, [descriptor, batch.place(where), where.length], bind);
      batch.call(syscalls.chdir, [batch.text("/")]);
    } else {
      batch.call(syscalls.chdir, [batch.text("/")]);
      batch.call(syscalls.chroot, [place(root)]);
      batch.call(syscalls.bind, [descriptor, batch.place(where), where.length], bind);
      batch.call(syscalls.chroot, [batch.text(".")]);
    }
    batch.call(unlinkat, [-100, place(Buffer.concat([root, below])), 0]);
    for (const folder of folders.reverse()) batch.call(unlinkat, [-100, place(folder), removeDirectory]);
  }

  #listen(socket: UnixSkEntry): void {
    this.#context.script.room(1).call(syscalls.listen, [this.master(socket), socket.backlog]);
  }

  #connectPair(socket: UnixSkEntry): void {
    const peer = this.#byInode.get(socket.peer) as UnixSkEntry;
    const named = [socket, peer].filter((end) => end.name.length > 0);
    // Both have names where the client was bound as well: the accepted one has the listening one's.
    const server =
      named.find((end) => this.#listenerOf(end) !== undefined) ?? named.find((end) => end.deleted) ?? named[0];
    if (server === undefined) this.#socketPair(socket, peer);
    else this.#throughListener(server, server === socket ? peer : socket);
    this.#made.add(socket.ino).add(peer.ino);
  }

  #socketPair(socket: UnixSkEntry, peer: UnixSkEntry): void {
    const batch = this.#context.script.room(6, 16);
    batch.call(syscalls.socketpair, [familyUnix, socket.type | openFlag.closeOnExec, 0, batch.reserve(8)]);
    batch.call(syscalls.dup3, [0, this.master(socket), openFlag.closeOnExec]);
    batch.call(syscalls.dup3, [1, this.master(peer), openFlag.closeOnExec]);
    batch.call(syscalls.close, [0]);
    batch.call(syscalls.close, [1]);
  }

  #listenerOf(accepted: UnixSkEntry): UnixSkEntry | undefined {
    const isListener = (other: UnixSkEntry): boolean =>
      other.state === state.listening && this.#sameName(other, accepted);
    return [...this.#byInode.values()].find(isListener);
  }

  /** An accepted socket has the name of the listening one; if that is gone, another takes its place for the moment. */
  #throughListener(server: UnixSkEntry, client: UnixSkEntry): void {
    const listener = this.#listenerOf(server);
    const { script } = this.#context;
    const type = server.type | openFlag.closeOnExec;
    const name = address(fullName(server));
    if (listener === undefined) {
      script.room(1).call(syscalls.socket, [familyUnix, type, 0]);
      this.#bind(server, 0);
      script.room(1).call(syscalls.listen, [0, 1]);
    } else script.room(1).call(syscalls.dup3, [this.master(listener), 0, openFlag.closeOnExec]);
    script.room(1).call(syscalls.socket, [familyUnix, type, 0]);
    if (client.name.length > 0) this.#bind(client, 1);
    const batch = script.room(7, name.length + 64);
    batch.call(syscalls.connect, [1, batch.place(name), name.length], { purpose: "connecting a unix socket" });
    batch.call(syscalls.accept4, [0, 0, 0, openFlag.closeOnExec]);
    batch.call(syscalls.dup3, [2, this.master(server), openFlag.closeOnExec]);
    batch.call(syscalls.dup3, [1, this.master(client), openFlag.closeOnExec]);
    for (const scratch of [0, 1, 2]) batch.call(syscalls.close, [scratch]);
    if (listener === undefined) this.#forgetName(server);
  }

  /** A name that no socket of the tree has any more was only needed for the connection. */
  #forgetName(server: UnixSkEntry): void {
    const name = fullName(server);
    if (!isPath(name)) return;
    const batch = this.#context.script.room(1, name.length + 32);
    batch.call(unlinkat, [-100, batch.place(Buffer.concat([name, Buffer.from([0])])), 0]);
  }

  #connectDatagram(socket: UnixSkEntry): void {
    const peer = this.#byInode.get(socket.peer) as UnixSkEntry;
    if (peer.name.length === 0) {
      this.#context.problems.push(`file ${socket.id}: a datagram socket connected to one without a name`);
      return;
    }
    this.#connectByName(socket);
  }

  #connectByName(socket: UnixSkEntry): void {
    const where = address(fullName(this.#byInode.get(socket.peer) as UnixSkEntry));
    const batch = this.#context.script.room(1, where.length + 16);
    const purpose = "connecting a unix socket";
    batch.call(syscalls.connect, [this.master(socket), batch.place(where), where.length], { purpose });
  }

  /** What waits in a socket's queue is sent to it: by its peer, or for a datagram socket without one by a passer-by. */
  #fill(socket: UnixSkEntry): void {
    const packets = this.#context.tree.packets.get(socket.id) ?? [];
    if (packets.length === 0) return;
    const peer = this.#byInode.get(socket.peer);
    const { script } = this.#context;
    const viaPeer = peer !== undefined && (socket.type !== socketType.datagram || peer.peer === socket.ino);
    if (!viaPeer) {
      const where = address(fullName(socket));
      const batch = script.room(2, where.length + 64);
      batch.call(syscalls.socket, [familyUnix, socket.type | openFlag.closeOnExec, 0]);
      batch.call(syscalls.connect, [0, batch.place(where), where.length]);
    }
    const sender = viaPeer ? this.master(peer) : 0;
    const first = script.room(1, 16);
    const size = first.place(new Uint8Array(new Int32Array([generousBufferBytes]).buffer));
    first.call(syscalls.setsockopt, [sender, solSocket, sendBufferForce, size, 4], { tolerate: true });
    for (const packet of packets) this.#send(sender, packet, socket.type);
    if (!viaPeer) script.room(1).call(syscalls.close, [0]);
  }

  #send(sender: number, packet: SocketPacket, type: number): void {
    const { bytes } = packet;
    const step = type === socketType.stream ? pieceBytes : Math.max(bytes.length, 1);
    for (let at = 0; at === 0 || at < bytes.length; at += step) {
      const piece = bytes.subarray(at, at + step);
      const rights = at === 0 ? rightsOf(packet.entry) : [];
      const batch = this.#context.script.room(1, piece.length + 256 + rights.length * 4);
      const data = batch.place(piece);
      const vector = batch.place(new Uint8Array(new BigUint64Array([0n, BigInt(piece.length)]).buffer));
      batch.point(vector, 0, data);
      const lengths = new BigUint64Array(7);
      lengths[3] = 1n;
      const control = rights.length > 0 ? this.#control(rights) : undefined;
      if (control !== undefined) lengths[5] = BigInt(control.length);
      const filled = batch.place(new Uint8Array(lengths.buffer));
      batch.point(filled, 16, vector);
      if (control !== undefined) batch.point(filled, 32, batch.place(control));
      batch.call(syscalls.sendmsg, [sender, filled, dontWait], { purpose: "filling a unix socket's queue" });
    }
  }

  #control(rights: readonly number[]): Uint8Array {
    const length = 16 + rights.length * 4;
    const view = new DataView(new ArrayBuffer(Math.ceil(length / 8) * 8));
    view.setBigUint64(0, BigInt(length), true);
    view.setInt32(8, solSocket, true);
    view.setInt32(12, scmRights, true);
    rights.forEach((id, index) => {
      view.setInt32(16 + index * 4, this.#context.masters.of(fileKey(id)), true);
    });
    return new Uint8Array(view.buffer);
  }

  #finish(socket: UnixSkEntry): void {
    const descriptor = this.master(socket);
    const name = fullName(socket);
    const batch = this.#context.script.room(socketOptionCalls + 8, 1024 + name.length);
    setSocketOptions(batch, descriptor, socket.opts, true);
    setStatus(batch, descriptor, socket.flags);
    setOwner(batch, descriptor, socket.fown);
    if ((socket.shutdown ?? 0) > 0) {
      batch.call(syscalls.shutdown, [descriptor, (socket.shutdown as number) - 1], { tolerate: true });
    }
    if (socket.deleted === true && isPath(name) && !this.#aside.has(socket.ino)) {
      batch.call(unlinkat, [-100, batch.place(Buffer.concat([name, Buffer.from([0])])), 0], { tolerate: true });
    }
  }
}

function rightsOf(entry: SkPacketEntry): number[] {
  return entry.scm.filter((scm) => scm.type === scmRights).flatMap((scm) => scm.rights);
}

function printable(name: Uint8Array): string {
  return JSON.stringify(Buffer.from(name).toString("latin1"));
}

/** The folders above a path, the topmost first. */
function foldersOf(path: Buffer): Buffer[] {
  const ends = [...path.keys()].filter((at) => at > 0 && path[at] === 0x2f && path[at - 1] !== 0x2f);
  return ends.map((end) => path.subarray(0, end));
}

type NameState = "free" | "kept" | "aside" | "taken";

/** What becomes of a socket's name: something other than a socket that has it is not ours to remove. */
function nameState(
  socket: UnixSkEntry,
  isOurs: (socket: UnixSkEntry) => boolean,
  isAlone: (socket: UnixSkEntry) => boolean,
): NameState {
  const name = fullName(socket);
  const found = isPath(name) ? lstatSync(name, { throwIfNoEntry: false }) : undefined;
  if (found === undefined) return "free";
  const mayGo = found.isSocket() && (socket.deleted !== true || isOurs(socket));
  if (mayGo) return "kept";
  return socket.deleted === true && isAlone(socket) ? "aside" : "taken";
}

/**
 * The other ends of connections that are closed there: made and filled from as any, and gone when no task holds its master
 * any more. Numbers below zero are no inode's and no file's.
 */
function closedEnds(sockets: readonly UnixSkEntry[]): UnixSkEntry[] {
  const hasLostPeer = ({ type, state: now, peer, name }: UnixSkEntry): boolean =>
    peer === 0 && now === state.established && (type !== socketType.datagram || name.length === 0);
  return sockets
    .filter(hasLostPeer)
    .map((socket) => ({ ...socket, id: -socket.id, ino: -socket.ino, peer: socket.ino, name: Buffer.alloc(0) }));
}

/** USK_EXTERN of CRIU's images. */
const external = 1;

/** A socket that was outside of the tree, and is only connected to. */
export function isExternal(socket: UnixSkEntry): boolean {
  return (socket.uflags & external) !== 0;
}

/** `outside`: those sockets of others that may be connected to. */
export function makeUnixSockets(
  context: FileContext,
  all: readonly UnixSkEntry[],
  outside: readonly UnixSkEntry[],
): void {
  const closed = closedEnds(all);
  const sockets = all.map((socket) => {
    const end = closed.find(({ peer }) => peer === socket.ino);
    return end === undefined ? socket : { ...socket, peer: end.ino };
  });
  const byInode = new Map([...sockets, ...closed, ...outside].map((socket) => [socket.ino, socket]));
  // A deleted name that another socket of the image has got since.
  const isOurs = ({ name }: UnixSkEntry): boolean =>
    sockets.some((other) => other.deleted !== true && name.length > 0 && other.name.equals(name));
  // Nobody has to come to it by its name.
  const isAlone = ({ ino, id, peer }: UnixSkEntry): boolean =>
    peer === 0 && !context.tree.packets.has(id) && !sockets.some((other) => other.peer === ino);
  const names = new Map(sockets.map((socket) => [socket.ino, nameState(socket, isOurs, isAlone)]));
  const aside = new Set(sockets.flatMap(({ ino }) => (names.get(ino) === "aside" ? [ino] : [])));
  const refused = sockets.flatMap((socket) => {
    const taken = names.get(socket.ino) === "taken" ? `${printable(fullName(socket))} is another's now` : undefined;
    const obstacle = unixObstacle(socket, byInode) ?? taken;
    return obstacle === undefined ? [] : [`file ${socket.id}: ${obstacle}`];
  });
  context.problems.push(...refused);
  if (refused.length === 0) new UnixBuilder(context, [...sockets, ...closed, ...outside], aside).build(sockets);
}
