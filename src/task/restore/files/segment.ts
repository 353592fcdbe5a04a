// The TCP segment that ends the direction of a connection's peer, as bytes with IP header and checksums (RFC 9293). Pure.
import type { InetSkEntry, TcpStreamEntry } from "../../../images/messages";

const familyInet = 2;
const familyInet6 = 10;
const tcpProtocol = 6;
const headerBytes = 20;
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
  tcp.writeUInt16BE(checksum(Buffer.concat([ends, pseudoHeader(), tcp])), 16);
  return { family, target, packet: Buffer.concat([ipHeader(family, ends), tcp]) };
}

/** An address's words hold its bytes in the order of the network. */
function bytesOf(words: readonly number[]): Buffer {
  const bytes = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => {
    bytes.writeUInt32LE(word >>> 0, index * 4);
  });
  return bytes;
}

/** What follows the addresses in what the checksum is over; the sum is the same for both families. */
function pseudoHeader(): Buffer {
  return Buffer.from([0, tcpProtocol, 0, headerBytes]);
}

/** The kernel fills in an IPv4 header's length, checksum and identification (raw(7)). */
function ipHeader(family: number, ends: Buffer): Buffer {
  if (family === familyInet) {
    const head = Buffer.alloc(12);
    head[0] = 0x45;
    head.writeUInt16BE(20 + headerBytes, 2);
    head[8] = hops;
    head[9] = tcpProtocol;
    return Buffer.concat([head, ends]);
  }
  const head = Buffer.alloc(8);
  head[0] = 0x60;
  head.writeUInt16BE(headerBytes, 4);
  head[6] = tcpProtocol;
  head[7] = hops;
  return Buffer.concat([head, ends]);
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
