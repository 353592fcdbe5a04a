// TCP and UDP sockets that have no peer state in the kernel: unbound, bound and listening ones.
// Connections are made in tcp.ts.
import type { InetSkEntry } from "../../../images/messages";
import type { Batch, CallOptions } from "../../batch";
import { syscalls } from "../../constants";
import { socketOption, solSocket } from "../../socketOptions";
import { type FileContext, fileKey, openFlag, setOwner, setStatus, settle } from "./context";
import { portAdvice } from "./portHolders";
import { setInteger, setSocketOptions, socketOptionCalls } from "./socketOptions";

export const family = { unix: 1, inet: 2, inet6: 10 } as const;
export const socketType = { stream: 1, datagram: 2, raw: 3, seqpacket: 5 } as const;
export const tcpState = { closed: 7, listening: 10 } as const;
const errnos = { addressInUse: 98, addressNotAvailable: 99 } as const;
const solIp = 0;
const solTcp = 6;
const solIpv6 = 41;
const reuseAddress = 2;
const ipv6Only = 26;
const ipOption = { tos: 1, ttl: 2, headerIncluded: 3, noDefragment: 22, pktinfo: 8, freeBind: 15 } as const;
const ipv6Option = { packetInfo: 49, freeBind: 78 } as const;
const tcpOption = { nodelay: 1, cork: 3, keepIdle: 4, keepInterval: 5, keepCount: 6 } as const;

/** struct sockaddr_in or sockaddr_in6; `words` are the address as the image holds it. */
export function socketAddress(kind: number, words: readonly number[], port: number): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(kind === family.inet ? 16 : 28));
  bytes.setUint16(0, kind, true);
  bytes.setUint16(2, port, false);
  if (kind === family.inet) bytes.setUint32(4, words[0] ?? 0, true);
  else {
    words.slice(0, 4).forEach((word, index) => {
      bytes.setUint32(8 + index * 4, word, true);
    });
  }
  return new Uint8Array(bytes.buffer);
}

/** Why the socket cannot be made here, or undefined. */
export function inetObstacle(socket: InetSkEntry): string | undefined {
  if (socket.family !== family.inet && socket.family !== family.inet6) return `socket family ${socket.family}`;
  const kinds: readonly number[] = [socketType.stream, socketType.datagram, socketType.raw];
  if (!kinds.includes(socket.type)) return `socket type ${socket.type}`;
  if (socket.src_port > 0xffff || socket.dst_port > 0xffff) return `port ${socket.src_port} or ${socket.dst_port}`;
  return undefined;
}

/** Raw sockets have addresses and, in place of ports, the protocol (raw(7)). */
const isRaw = (socket: InetSkEntry): boolean => socket.type === socketType.raw;

export function isConnection(socket: InetSkEntry): boolean {
  const { type, state } = socket;
  return type === socketType.stream && state !== tcpState.closed && state !== tcpState.listening;
}

export function setInetOptions(batch: Batch, descriptor: number, socket: InetSkEntry): void {
  const level = socket.family === family.inet ? solIp : solIpv6;
  const ip = socket.ip_opts;
  if (level === solIp) {
    if (ip?.freebind === true) setInteger(batch, descriptor, solIp, ipOption.freeBind, 1);
    if (ip?.pktinfo === true) setInteger(batch, descriptor, solIp, ipOption.pktinfo, 1);
    if (ip?.tos !== undefined && ip.tos !== 0) {
      setInteger(batch, descriptor, solIp, ipOption.tos, ip.tos);
      // which changes the priority (ip(7))
      setInteger(batch, descriptor, solSocket, socketOption.priority, socket.opts.so_priority ?? 0);
    }
    if (ip?.raw?.hdrincl === true) setInteger(batch, descriptor, solIp, ipOption.headerIncluded, 1);
    if (ip?.raw?.nodefrag === true) setInteger(batch, descriptor, solIp, ipOption.noDefragment, 1);
    if (ip?.ttl !== undefined && ip.ttl !== 64) setInteger(batch, descriptor, solIp, ipOption.ttl, ip.ttl);
  }
  // Those of IPv6, where CRIU's images have them.
  if (level === solIpv6 && ip?.freebind === true) setInteger(batch, descriptor, solIpv6, ipv6Option.freeBind, 1);
  if (level === solIpv6 && ip?.pktinfo === true) setInteger(batch, descriptor, solIpv6, ipv6Option.packetInfo, 1);
  if (socket.type !== socketType.stream) return;
  const tcp = socket.tcp_opts;
  const { opts } = socket;
  const numbers: [number, number | undefined][] = [
    [tcpOption.keepCount, tcp?.keepcnt ?? opts.tcp_keepcnt],
    [tcpOption.keepIdle, tcp?.keepidle ?? opts.tcp_keepidle],
    [tcpOption.keepInterval, tcp?.keepintvl ?? opts.tcp_keepintvl],
    [tcpOption.nodelay, tcp?.nodelay === true ? 1 : undefined],
    [tcpOption.cork, tcp?.cork === true ? 1 : undefined],
  ];
  for (const [name, value] of numbers) {
    if (value !== undefined && value !== 0) setInteger(batch, descriptor, solTcp, name, value);
  }
}

/** Calls that one socket takes at most; the room to ask a script for. */
export const inetCalls = socketOptionCalls + 24;

/** A stream socket that has a peer in the image and no connection any more: the dump has closed it. */
export function wasConnected(socket: InetSkEntry): boolean {
  return socket.type === socketType.stream && socket.state === tcpState.closed && socket.dst_port !== 0;
}

/** A connection that is not kept (--tcp-close): a socket with its options and without address or peer. */
export function makeClosed(context: FileContext, socket: InetSkEntry): void {
  const batch = context.script.room(inetCalls, 1024);
  batch.call(syscalls.socket, [socket.family, socket.type | openFlag.closeOnExec, socket.proto]);
  setSocketOptions(batch, 0, socket.opts);
  setInetOptions(batch, 0, socket);
  setStatus(batch, 0, socket.flags);
  setOwner(batch, 0, socket.fown);
  settle(context, batch, 0, fileKey(socket.id));
}

/** How bind(2) or listen(2) of a socket is called in an error, and what is to be done about its failures (ip(7)). */
export function binding(socket: InetSkEntry, purpose = "binding"): CallOptions {
  const port = socket.src_port;
  const address = socketAddress(socket.family, socket.src_addr, port).subarray(
    ...(socket.family === family.inet ? [4, 8] : [8, 24]),
  );
  return {
    purpose: `${purpose} port ${port}`,
    explain: (errno, pid) => {
      if (errno === errnos.addressNotAvailable) {
        return { code: "NOT_FOUND", advice: "this machine does not have the address: add it (`ip address add`)" };
      }
      if (errno !== errnos.addressInUse || isRaw(socket)) return undefined;
      const protocol = socket.type === socketType.stream ? "TCP" : "UDP";
      return { code: "BUSY", advice: portAdvice(pid, protocol, address, port) };
    },
  };
}

/** All but listening, which listenAll() does when every socket has its port. */
export function makeInet(context: FileContext, socket: InetSkEntry): void {
  const batch = context.script.room(inetCalls, 1024);
  batch.call(syscalls.socket, [socket.family, socket.type | openFlag.closeOnExec, socket.proto]);
  if (socket.v6only !== undefined && socket.family === family.inet6 && !isRaw(socket)) {
    setInteger(batch, 0, solIpv6, ipv6Only, Number(socket.v6only));
  }
  setSocketOptions(batch, 0, socket.opts); // before binding, which needs SO_REUSEPORT and the device
  setInetOptions(batch, 0, socket);
  if (socket.src_port !== 0 || isRaw(socket)) {
    // The port may be in TIME_WAIT from before the dump, or another socket of the tree has it. listenAll() sets what the
    // program had.
    setInteger(batch, 0, solSocket, reuseAddress, 1);
    const address = socketAddress(socket.family, socket.src_addr, socket.src_port);
    batch.call(syscalls.bind, [0, batch.place(address), address.length], binding(socket));
  }
  const hasPeer = socket.dst_port !== 0 || (isRaw(socket) && socket.dst_addr.some((word) => word !== 0));
  if (socket.type !== socketType.stream && hasPeer) {
    const peer = socketAddress(socket.family, socket.dst_addr, socket.dst_port);
    batch.call(syscalls.connect, [0, batch.place(peer), peer.length]);
  }
  const shut = socket.type === socketType.datagram ? (socket.shutdown ?? 0) : 0;
  if (shut > 0) batch.call(syscalls.shutdown, [0, shut - 1], { tolerate: true }); // ENOTCONN, and is done
  setStatus(batch, 0, socket.flags);
  setOwner(batch, 0, socket.fown);
  settle(context, batch, 0, fileKey(socket.id));
}

/**
 * Lets those listen that did. Connections that have ended keep the port of the listener that they came from: such a port can
 * be bound only while nobody listens there and all who have it say SO_REUSEADDR (socket(7)), so all are bound before.
 */
export function listenAll(context: FileContext, sockets: readonly InetSkEntry[]): void {
  for (const socket of sockets) {
    if (socket.type !== socketType.stream || socket.state !== tcpState.listening) continue;
    const master = context.masters.of(fileKey(socket.id));
    context.script.room(1).call(syscalls.listen, [master, socket.backlog], binding(socket, "listening on"));
  }
  for (const socket of sockets) {
    const isBound = socket.src_port !== 0 || isRaw(socket);
    if (!isBound || wasConnected(socket) || socket.opts.reuseaddr === true) continue;
    setInteger(context.script.room(1, 16), context.masters.of(fileKey(socket.id)), solSocket, reuseAddress, 0);
  }
}
