// TCP and UDP sockets as inet_sk_entry. What only a connection has is in tcpConnections.ts; under --tcp-close it is dropped.
import { readFileSync } from "node:fs";
import { FaultlineError } from "../../../errors";
import { native } from "../../../native";
import { solSocket } from "../../socketOptions";
import { connectionState } from "../../tcpStates";
import type { ImageSet } from "../imageSet";
import type { OpenFile } from "../openFile";
import { addDatagrams } from "./datagrams";
import { shutDirections } from "./inetShutdown";
import { multicastGroups } from "./multicast";
import { integerOption, socketOptions } from "./socketOptions";
import { connectedStates, type TcpConnections } from "./tcpConnections";

const soType = 3;
const soProtocol = 38;
const soAcceptConnection = 30;
const solTcp = 6;
const tcp = { noDelay: 1, cork: 3, keepIdle: 4, keepInterval: 5, keepCount: 6, info: 11 } as const;
const solIp = 0;
const ip = { tos: 1, ttl: 2, packetInfo: 8, freeBind: 15, headerIncluded: 3, noDefragment: 22 } as const;
const solIpv6 = 41;
const ipv6Only = 26;
const ipv6 = { packetInfo: 49, freeBind: 78 } as const;
const familyInet6 = 10;
const streamType = 1;
export const rawType = 3;
const datagramType = 2;
const udpProtocol = 17;
export const tcpState = { established: 1, closed: 7, listen: 10 } as const;
/** struct tcp_info of a listening socket: tcpi_unacked, connections to be accepted; tcpi_sacked, its backlog. */
const waitingOffset = 24;
const backlogOffset = 28;

interface Address {
  readonly family: number;
  readonly port: number;
  readonly words: number[];
}

function address(fd: number, peer: boolean, family: number): Address {
  const buffer = Buffer.alloc(128);
  const length = native.socketName(fd, peer ? 1 : 0, buffer);
  const wordCount = family === familyInet6 ? 4 : 1;
  if (length < 0) return { family, port: 0, words: new Array<number>(wordCount).fill(0) };
  const at = family === familyInet6 ? 8 : 4;
  return {
    family: buffer.readUInt16LE(0),
    port: buffer.readUInt16BE(2),
    words: Array.from({ length: wordCount }, (_, index) => buffer.readUInt32LE(at + index * 4)),
  };
}

export interface InetFacts {
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
  readonly state: number;
  readonly backlog: number;
  /** Connections that a listening socket has not accepted yet. */
  readonly waiting: number;
  readonly source: Address;
  readonly target: Address;
}

export function inetFacts(fd: number): InetFacts {
  const type = integerOption(fd, solSocket, soType);
  const protocol = integerOption(fd, solSocket, soProtocol);
  const family = integerOption(fd, solSocket, 39);
  const listening = integerOption(fd, solSocket, soAcceptConnection) !== 0;
  const info = Buffer.alloc(256);
  const hasInfo = type === streamType && native.getSocketOption(fd, solTcp, tcp.info, info) > 0;
  const target = address(fd, true, family);
  const state = hasInfo ? (info[0] as number) : target.port !== 0 ? tcpState.established : tcpState.closed;
  const backlog = listening && hasInfo ? info.readUInt32LE(backlogOffset) : 0;
  const waiting = listening && hasInfo ? info.readUInt32LE(waitingOffset) : 0;
  return { family, type, protocol, state, backlog, waiting, source: address(fd, false, family), target };
}

/**
 * Where a raw socket is connected to, or a TCP socket that nobody has answered yet, which getpeername(2) does not tell: from
 * the lists of proc_net(5).
 */
function listedPeer(list: "raw" | "tcp", inode: number, family: number): { words: number[]; port: number } {
  const is6 = family === familyInet6;
  for (const line of readFileSync(`/proc/net/${list}${is6 ? "6" : ""}`, "latin1").split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (Number(fields[9]) !== inode) continue;
    const [address = "", port = "0"] = (fields[2] as string).split(":");
    const words = (address.match(/.{8}/g) ?? []).map((word) => Number.parseInt(word, 16));
    return { words, port: Number.parseInt(port, 16) };
  }
  return { words: new Array<number>(is6 ? 4 : 1).fill(0), port: 0 };
}

export function isUdp({ type, protocol }: InetFacts): boolean {
  return type === datagramType && protocol === udpProtocol;
}

const inputQueue = 0x541b; // SIOCINQ

export function unreadBytes(fd: number): number {
  const value = new Int32Array(1);
  return native.ioctlBuffer(fd, inputQueue, value) < 0 ? 0 : (value[0] as number);
}

function peerOf(facts: InetFacts, inode: number): { words: readonly number[]; port: number } {
  if (facts.type === rawType) return { ...listedPeer("raw", inode, facts.family), port: facts.target.port };
  const isOpening = facts.type === streamType && facts.state === connectionState.synSent;
  return isOpening ? listedPeer("tcp", inode, facts.family) : facts.target;
}

export function addInetSocket(
  images: ImageSet,
  id: number,
  file: OpenFile,
  options: { readonly tcpClose: boolean; readonly tcpEstablished: boolean },
  connections: TcpConnections,
): void {
  file.withCopy((fd) => {
    const facts = inetFacts(fd);
    const isTcp = facts.type === streamType;
    const isConnection = isTcp && facts.state !== tcpState.listen && facts.state !== tcpState.closed;
    if (isConnection && !options.tcpClose && !(options.tcpEstablished && connectedStates.has(facts.state))) {
      throw new FaultlineError("UNSUPPORTED", `descriptor ${file.fd} is a TCP connection`, {
        pid: file.pid,
        advice: "use --tcp-established to take it along, --tcp-close to restore it closed",
      });
    }
    const keep = !isConnection || !options.tcpClose;
    if (isConnection && keep) connections.add(file);
    const ttl = integerOption(fd, solIp, ip.ttl);
    const tos = integerOption(fd, solIp, ip.tos);
    const is6 = facts.family === familyInet6;
    const peer = peerOf(facts, file.inode);
    if (isUdp(facts) && unreadBytes(fd) > 0) addDatagrams(images, id, fd);
    images.addFile("INETSK", {
      id,
      isk: {
        ...{ id, ino: file.inode, family: facts.family, type: facts.type, proto: facts.protocol },
        state: keep ? facts.state : tcpState.closed,
        src_port: facts.source.port,
        dst_port: peer.port,
        flags: file.flags,
        backlog: facts.backlog,
        src_addr: facts.source.words,
        dst_addr: [...peer.words],
        fown: file.owner(),
        opts: socketOptions(fd, false),
        shutdown: (isUdp(facts) && shutDirections(images, facts.family, file.inode)) || undefined,
        multicast_groups: isTcp ? [] : multicastGroups(fd),
        v6only: is6 ? integerOption(fd, solIpv6, ipv6Only) !== 0 : undefined,
        ip_opts: is6
          ? {
              freebind: integerOption(fd, solIpv6, ipv6.freeBind) !== 0 ? true : undefined,
              pktinfo: integerOption(fd, solIpv6, ipv6.packetInfo) !== 0 ? true : undefined,
            }
          : {
              freebind: integerOption(fd, solIp, ip.freeBind) !== 0 ? true : undefined,
              pktinfo: integerOption(fd, solIp, ip.packetInfo) !== 0 ? true : undefined,
              tos: tos === 0 ? undefined : tos,
              ttl,
              raw:
                facts.type === rawType
                  ? {
                      hdrincl: integerOption(fd, solIp, ip.headerIncluded) !== 0,
                      nodefrag: integerOption(fd, solIp, ip.noDefragment) !== 0,
                    }
                  : undefined,
            },
        ns_id: 2,
        tcp_opts: isTcp
          ? {
              cork: integerOption(fd, solTcp, tcp.cork) !== 0 ? true : undefined,
              nodelay: integerOption(fd, solTcp, tcp.noDelay) !== 0 ? true : undefined,
              keepcnt: integerOption(fd, solTcp, tcp.keepCount),
              keepidle: integerOption(fd, solTcp, tcp.keepIdle),
              keepintvl: integerOption(fd, solTcp, tcp.keepInterval),
            }
          : undefined,
      },
    });
  });
}
