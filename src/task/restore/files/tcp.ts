// Established TCP connections, by the socket's repair mode (TCP_REPAIR): sequence numbers, options and queues are set
// without a packet sent. All sockets of the tree are made in repair mode first and let go together, so that the two ends of
// a connection on the loopback find each other.
import type { InetSkEntry, TcpStreamEntry } from "../../../images/messages";
import type { Batch } from "../../batch";
import { syscalls } from "../../constants";
import { socketOption, solSocket } from "../../socketOptions";
import { connectionState, endedFirst, hasReceivedEnd, hasSentEnd } from "../../tcpStates";
import type { TcpStream } from "../treeImage";
import { type FileContext, fcntlCommand, fileKey, openFlag, setOwner, setStatus, settle } from "./context";
import { binding, inetCalls, setInetOptions, socketAddress, socketType } from "./inet";
import { endSegment } from "./segment";
import { setInteger, setSocketOptions, socketOptionCalls } from "./socketOptions";

const solTcp = 6;
const reuseAddress = 2;
const tcpOption = {
  repair: 19,
  repairQueue: 20,
  queueSequence: 21,
  repairOptions: 22,
  timestamp: 24,
  repairWindow: 29,
} as const;
const queue = { receive: 1, send: 2 } as const;
/** Which options the connection negotiated: tcp_info's tcpi_options. */
const negotiated = { timestamps: 1, selectiveAck: 2, windowScale: 4 } as const;
/** Option kinds of struct tcp_repair_opt (TCP's own numbers). */
const optionKind = { segmentSize: 2, window: 3, selectiveAck: 4, timestamp: 8 } as const;
const pieceBytes = 64 * 1024;
const shutdownBit = { read: 1, write: 2 } as const;
const withHeader = 255; // IPPROTO_RAW: what is sent has its IP header

export interface Connection {
  readonly socket: InetSkEntry;
  readonly stream: TcpStream;
}

/** Why a connection cannot be made, or undefined. */
export function connectionObstacle(socket: InetSkEntry): string | undefined {
  const known: readonly number[] = Object.values(connectionState);
  return known.includes(socket.state) ? undefined : `a TCP connection in state ${socket.state}`;
}

/** Whether the other end is among the connections too: it says itself what it said before. */
function hasPeer(socket: InetSkEntry, connections: readonly Connection[]): boolean {
  return connections.some(
    ({ socket: other }) => other.src_port === socket.dst_port && other.dst_port === socket.src_port,
  );
}

export function makeConnections(context: FileContext, connections: readonly Connection[]): void {
  const opening = connections.filter(({ socket }) => socket.state === connectionState.synSent);
  const open = connections.filter((connection) => !opening.includes(connection));
  for (const connection of open) makeOne(context, connection);
  // Both ends of every connection exist: packets may flow.
  for (const { socket } of open) {
    const descriptor = context.masters.of(fileKey(socket.id));
    setInteger(context.script.room(1, 16), descriptor, solTcp, tcpOption.repair, 0);
  }
  for (const connection of open) finish(context, connection, hasPeer(connection.socket, open));
  for (const { socket } of opening) connectAgain(context, socket);
}

/** A connection that nobody has answered yet begins anew; whoever waits in connect(2) calls it again and goes on waiting. */
function connectAgain(context: FileContext, socket: InetSkEntry): void {
  const batch = context.script.room(inetCalls, 1024);
  const flags = openFlag.closeOnExec | openFlag.nonBlock;
  batch.call(syscalls.socket, [socket.family, socket.type | flags, socket.proto]);
  setSocketOptions(batch, 0, socket.opts);
  setInetOptions(batch, 0, socket);
  const own = socketAddress(socket.family, socket.src_addr, socket.src_port);
  batch.call(syscalls.bind, [0, batch.place(own), own.length], binding(socket));
  const peer = socketAddress(socket.family, socket.dst_addr, socket.dst_port);
  batch.call(syscalls.connect, [0, batch.place(peer), peer.length], { tolerate: true });
  batch.call(syscalls.fcntl, [0, fcntlCommand.setFlags, 0]);
  setStatus(batch, 0, socket.flags);
  setOwner(batch, 0, socket.fown);
  settle(context, batch, 0, fileKey(socket.id));
}

function makeOne(context: FileContext, { socket, stream }: Connection): void {
  const { entry, received, unsent } = stream;
  const descriptor = context.masters.of(fileKey(socket.id));
  const batch = context.script.room(20, 1024);
  batch.call(syscalls.socket, [socket.family, socket.type | openFlag.closeOnExec, socket.proto]);
  batch.call(syscalls.dup3, [0, descriptor, openFlag.closeOnExec]);
  batch.call(syscalls.close, [0]);
  // Repair mode also lets a port be bound that a listening socket has; SO_REUSEADDR afterwards would take that back.
  setInteger(batch, descriptor, solTcp, tcpOption.repair, 1);
  // A FIN has a sequence number too; it is sent again, by finish() of the one that sent it.
  const ended = Number(hasReceivedEnd(socket.state));
  const sentEnd = Number(hasSentEnd(socket.state));
  setSequence(batch, descriptor, queue.receive, entry.inq_seq - entry.inq_len - ended);
  setSequence(batch, descriptor, queue.send, entry.outq_seq - entry.outq_len - sentEnd);
  const own = socketAddress(socket.family, socket.src_addr, socket.src_port);
  batch.call(syscalls.bind, [descriptor, batch.place(own), own.length], binding(socket));
  const peer = socketAddress(socket.family, socket.dst_addr, socket.dst_port);
  batch.call(syscalls.connect, [descriptor, batch.place(peer), peer.length], { purpose: "repairing a connection" });
  repairOptions(batch, descriptor, entry);
  const sent = unsent.subarray(0, unsent.length - (entry.unsq_len ?? 0));
  setSendBuffer(context, descriptor, generousBytes(unsent));
  fill(context, descriptor, queue.receive, received);
  fill(context, descriptor, queue.send, sent);
  repairWindow(context, descriptor, entry, ended);
}

function setSequence(batch: Batch, descriptor: number, which: number, sequence: number): void {
  setInteger(batch, descriptor, solTcp, tcpOption.repairQueue, which);
  setInteger(batch, descriptor, solTcp, tcpOption.queueSequence, sequence | 0);
}

function repairOptions(batch: Batch, descriptor: number, entry: TcpStreamEntry): void {
  const options: [number, number][] = [];
  if ((entry.opt_mask & negotiated.selectiveAck) !== 0) options.push([optionKind.selectiveAck, 0]);
  if ((entry.opt_mask & negotiated.windowScale) !== 0) {
    options.push([optionKind.window, entry.snd_wscale | ((entry.rcv_wscale ?? 0) << 16)]);
  }
  if ((entry.opt_mask & negotiated.timestamps) !== 0) options.push([optionKind.timestamp, 0]);
  options.push([optionKind.segmentSize, entry.mss_clamp]);
  const words = new Uint32Array(options.flat());
  const slot = batch.place(new Uint8Array(words.buffer));
  batch.call(syscalls.setsockopt, [descriptor, solTcp, tcpOption.repairOptions, slot, words.byteLength], {
    purpose: "repairing the options of a connection",
  });
  if ((entry.opt_mask & negotiated.timestamps) !== 0 && entry.timestamp !== undefined) {
    setInteger(batch, descriptor, solTcp, tcpOption.timestamp, entry.timestamp | 0);
  }
}

function fill(context: FileContext, descriptor: number, which: number, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  setInteger(context.script.room(1, 16), descriptor, solTcp, tcpOption.repairQueue, which);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    const batch = context.script.room(1, piece.length);
    batch.call(syscalls.sendto, [descriptor, batch.place(piece), piece.length, 0, 0, 0], {
      purpose: "filling a connection's queue",
    });
  }
}

/** Room for all that waits to be sent, with what the kernel needs for each packet. */
function generousBytes(unsent: Uint8Array): number {
  return 1024 * 1024 + unsent.length * 2;
}

/** The kernel doubles what it is given. */
function setSendBuffer(context: FileContext, descriptor: number, bytes: number): void {
  setInteger(context.script.room(1, 16), descriptor, solSocket, socketOption.sendBufferForce, Math.floor(bytes / 2));
}

function repairWindow(context: FileContext, descriptor: number, entry: TcpStreamEntry, ended: number): void {
  const { snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup } = entry;
  if (snd_wl1 === undefined || snd_wnd === undefined || max_window === undefined) return;
  if (rcv_wnd === undefined || rcv_wup === undefined) return;
  const batch = context.script.room(1, 48);
  const window = batch.place(
    new Uint8Array(new Uint32Array([snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup - ended]).buffer),
  );
  batch.call(syscalls.setsockopt, [descriptor, solTcp, tcpOption.repairWindow, window, 20], {
    purpose: "repairing the windows of a connection",
  });
}

/** What was never sent is sent now; then the program's own options, and the ends of both directions. */
function finish(context: FileContext, { socket, stream }: Connection, withPeer: boolean): void {
  const descriptor = context.masters.of(fileKey(socket.id));
  const fresh = stream.unsent.subarray(stream.unsent.length - (stream.entry.unsq_len ?? 0));
  for (let at = 0; at < fresh.length; at += pieceBytes) {
    const piece = fresh.subarray(at, at + pieceBytes);
    const batch = context.script.room(1, piece.length);
    batch.call(syscalls.sendto, [descriptor, batch.place(piece), piece.length, 0x40, 0, 0]);
  }
  setSendBuffer(context, descriptor, socket.opts.so_sndbuf);
  const batch = context.script.room(socketOptionCalls + 24, 1024);
  setInteger(batch, descriptor, solSocket, reuseAddress, Number(socket.opts.reuseaddr === true));
  setSocketOptions(batch, descriptor, socket.opts);
  setInetOptions(batch, descriptor, socket);
  const { state } = socket;
  const hearEnd = hasReceivedEnd(state) && !withPeer ? () => sendEnd(context, socket, stream.entry) : () => {};
  if (!endedFirst(state)) hearEnd();
  const shut = (socket.shutdown ?? 0) | (hasSentEnd(state) ? shutdownBit.write : 0);
  if (shut > 0) context.script.room(1).call(syscalls.shutdown, [descriptor, shut - 1]);
  if (endedFirst(state)) hearEnd();
  const last = context.script.room(8, 256);
  setStatus(last, descriptor, socket.flags);
  setOwner(last, descriptor, socket.fown);
}

/** The FIN of a peer outside of the tree, which has sent it already: from here, in its name. */
function sendEnd(context: FileContext, socket: InetSkEntry, entry: TcpStreamEntry): void {
  const { family, target, packet } = endSegment(socket, entry);
  const batch = context.script.room(3, 256);
  batch.call(syscalls.socket, [family, socketType.raw | openFlag.closeOnExec, withHeader]);
  const address = socketAddress(family, target, 0);
  batch.call(syscalls.sendto, [0, batch.place(packet), packet.length, 0, batch.place(address), address.length], {
    purpose: "ending a half-closed connection",
  });
  batch.call(syscalls.close, [0]);
}
