// Datagrams of UDP that waited in a socket: sent to it again, in the name of those who sent them.
import type { InetSkEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import type { SocketPacket } from "../treeImage";
import { type FileContext, openFlag } from "./context";
import { family, socketAddress, socketType } from "./inet";
import { datagram, type Segment } from "./segment";

const withHeader = 255; // IPPROTO_RAW: what is sent has its IP header
const mappedWord = 0xffff0000; // ::ffff:0:0/96, as the image holds addresses
const loopback = { inet: [0x0100007f], inet6: [0, 0, 0, 0x01000000] } as const;

/** After all sockets are bound, and connected to what they were. */
export function sendDatagrams(context: FileContext, socket: InetSkEntry): void {
  for (const packet of context.tree.packets.get(socket.id) ?? []) {
    const sent = datagramOf(socket, packet);
    if (sent !== undefined) send(context, sent);
  }
}

function send(context: FileContext, { family: kind, target, packet }: Segment): void {
  const batch = context.script.room(3, packet.length + 64);
  batch.call(syscalls.socket, [kind, socketType.raw | openFlag.closeOnExec, withHeader]);
  const address = socketAddress(kind, target, 0);
  batch.call(syscalls.sendto, [0, batch.place(packet), packet.length, 0, batch.place(address), address.length], {
    purpose: "sending a datagram again that nobody had read",
  });
  batch.call(syscalls.close, [0]);
}

function datagramOf(socket: InetSkEntry, { entry, bytes }: SocketPacket): Segment | undefined {
  const from = entry.source === undefined ? undefined : parseAddress(entry.source);
  if (from === undefined) return undefined;
  const own = isMapped(socket.src_addr) ? socket.src_addr.slice(3, 4) : socket.src_addr;
  const isAny = own.every((word) => word === 0);
  const usual = from.words.length === 1 ? loopback.inet : loopback.inet6;
  return datagram(from, { words: isAny ? usual : own, port: socket.src_port }, bytes);
}

function isMapped(words: readonly number[]): boolean {
  return words.length === 4 && words[0] === 0 && words[1] === 0 && words[2] === mappedWord;
}

/** struct sockaddr_in or sockaddr_in6; undefined for any other bytes. */
function parseAddress(bytes: Buffer): { words: readonly number[]; port: number } | undefined {
  const kind = bytes.length >= 8 ? bytes.readUInt16LE(0) : 0;
  if (kind === family.inet) return { words: [bytes.readUInt32LE(4)], port: bytes.readUInt16BE(2) };
  if (kind !== family.inet6 || bytes.length < 24) return undefined;
  const words = [8, 12, 16, 20].map((at) => bytes.readUInt32LE(at));
  return { words: isMapped(words) ? words.slice(3) : words, port: bytes.readUInt16BE(2) };
}
