// Packets that are sent in the name of others, as bytes with IP header and checksums: the TCP segment that ends the direction of
// a connection's peer (RFC 9293), and datagrams of UDP. Pure.
import type { InetSkEntry, TcpStreamEntry } from "../../../images/messages";

const familyInet = 2;
const familyInet6 = 10;
const tcpProtocol = 6;
const udpProtocol = 17;
const headerBytes = 20;
const udpHeaderBytes = 8;
const flags = { end: 0x01, acknowledge: 0x10 } as const;
const window = 1024;
const hops = 64;

export interface Segment {
  readonly family: number;
  /** Where it goes, as the image holds addresses. */
  readonly target: readonly number[];
  readonly packet: Buffer;
}

export function endSegment(socket: InetSkEntry, entry: TcpStreamEntry): Segment {
  const isMapped = socket.family === familyInet6 && socket.dst_addr[2] === 0xffff0000;
  const words = (address: readonly number[]): readonly number[] => (isMapped ? address.slice(3, 4) : address);
  const [source, target] = [words(socket.dst_addr), words(socket.src_addr)];
  const tcp = Buffer.alloc(headerBytes);
  tcp.writeUInt16BE(socket.dst_port, 0);
  tcp.writeUInt16BE(socket.src_port, 2);
  tcp.writeUInt32BE((entry.inq_seq - 1) >>> 0, 4); // the end of what came, less the FIN itself
  tcp.writeUInt32BE((entry.outq_seq - entry.outq_len) >>> 0, 8);
  tcp[12] = (headerBytes / 4) << 4;
  tcp[13] = flags.end | flags.acknowledge;
  tcp.writeUInt16BE(window, 14);
  const family = source.length === 1 ? familyInet : familyInet6;
  const ends = Buffer.concat([bytesOf(source), bytesOf(target)]);
  tcp.writeUInt16BE(checksum(ends, tcpProtocol, tcp), 16);
  return { family, target, packet: Buffer.concat([ipHeader(family, ends, tcpProtocol, tcp.length), tcp]) };
}

/** A datagram from `source` to `target`, both with addresses as the image holds them: one word, or four. */
export function datagram(
  source: { readonly words: readonly number[]; readonly port: number },
  target: { readonly words: readonly number[]; readonly port: number },
  bytes: Uint8Array,
): Segment {
  const udp = Buffer.alloc(udpHeaderBytes + bytes.length);
  udp.writeUInt16BE(source.port, 0);
  udp.writeUInt16BE(target.port, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(bytes, udpHeaderBytes);
  const family = source.words.length === 1 ? familyInet : familyInet6;
  const ends = Buffer.concat([bytesOf(source.words), bytesOf(target.words)]);
  udp.writeUInt16BE(checksum(ends, udpProtocol, udp) || 0xffff, 6);
  return {
    family,
    target: target.words,
    packet: Buffer.concat([ipHeader(family, ends, udpProtocol, udp.length), udp]),
  };
}

/** An address's words hold its bytes in the order of the network. */
function bytesOf(words: readonly number[]): Buffer {
  const bytes = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => {
    bytes.writeUInt32LE(word >>> 0, index * 4);
  });
  return bytes;
}

/** The kernel fills in an IPv4 header's length, checksum and identification (raw(7)). */
function ipHeader(family: number, ends: Buffer, protocol: number, length: number): Buffer {
  const is6 = family === familyInet6;
  const head = Buffer.alloc(is6 ? 8 : 12);
  head[0] = is6 ? 0x60 : 0x45;
  head.writeUInt16BE(is6 ? length : 20 + length, is6 ? 4 : 2);
  head[is6 ? 7 : 8] = hops;
  head[is6 ? 6 : 9] = protocol;
  return Buffer.concat([head, ends]);
}

/** Over the addresses, protocol and length, and the segment; the sum is the same for both families. */
function checksum(ends: Buffer, protocol: number, segment: Buffer): number {
  const length = Buffer.from([0, protocol, segment.length >>> 8, segment.length & 0xff]);
  const bytes = Buffer.concat([ends, length, segment, Buffer.alloc(segment.length % 2)]);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
