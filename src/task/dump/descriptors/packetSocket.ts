// Packet sockets with their options, memberships and rings, as sock_diag(7) tells them (packet(7)). What nobody has read is
// lost, as packets are.
import { checked } from "../../../errors";
import type { Init } from "../../../images/message";
import type { PacketMclist, PacketRing, PacketSockEntry } from "../../../images/messages";
import { native } from "../../../native";
import type { ImageSet } from "../imageSet";
import type { OpenFile } from "../openFile";
import { socketOptions } from "./socketOptions";

const netlinkSockDiag = 4;
const sockDiagByFamily = 20;
const requestFlags = 0x301; // NLM_F_REQUEST | NLM_F_DUMP
const familyPacket = 17;
const messageHeader = 16;
/** linux/packet_diag.h. */
const show = { info: 1, memberships: 2, rings: 4, fanout: 8 } as const;
const attribute = { info: 0, memberships: 1, receiveRing: 2, sendRing: 3, fanout: 4 } as const;
const infoFlag = { auxiliaryData: 2, originalDevice: 4, networkHeader: 8, loss: 16 } as const;
const diagHeader = 16;
const membershipBytes = 44; // struct packet_diag_mclist
const namespaceId = 2;

type Facts = Omit<Init<PacketSockEntry>, "id" | "flags" | "fown" | "opts" | "ns_id">;

/** What sock_diag says of the packet socket with that inode. */
function packetFacts(inode: number): Facts {
  const request = Buffer.alloc(messageHeader + 20);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(sockDiagByFamily, 4);
  request.writeUInt16LE(requestFlags, 6);
  request[messageHeader] = familyPacket;
  request.writeUInt32LE(show.info | show.memberships | show.rings | show.fanout, messageHeader + 8);
  const answer = Buffer.alloc(4 * 1024 * 1024);
  const length = checked(native.netlinkDump(netlinkSockDiag, request, answer), "netlink", "cannot list packet sockets");
  for (let at = 0; at + messageHeader <= length; ) {
    const size = answer.readUInt32LE(at);
    if (size < messageHeader) break;
    const body = answer.subarray(at + messageHeader, at + size);
    if (answer.readUInt16LE(at + 4) === sockDiagByFamily && body.readUInt32LE(4) === inode) return parsePacket(body);
    at += (size + 3) & ~3;
  }
  throw new Error(`packet socket ${inode} is unknown to sock_diag`);
}

/** The protocol in network order, as CRIU's images have it. */
function parsePacket(message: Buffer): Facts {
  const values = attributes(message);
  const info = values.get(attribute.info) ?? Buffer.alloc(24);
  const [ifindex, version, reserve, threshold, timestamp, flags] = Array.from({ length: 6 }, (_, index) =>
    info.readUInt32LE(index * 4),
  ) as [number, number, number, number, number, number];
  return {
    ...{ type: message[1] as number, protocol: message.readUInt16BE(2), ifindex, version, reserve, timestamp },
    copy_thresh: threshold,
    aux_data: (flags & infoFlag.auxiliaryData) !== 0,
    orig_dev: (flags & infoFlag.originalDevice) !== 0,
    vnet_hdr: (flags & infoFlag.networkHeader) !== 0,
    loss: (flags & infoFlag.loss) !== 0,
    mclist: memberships(values.get(attribute.memberships) ?? Buffer.alloc(0)),
    fanout: values.get(attribute.fanout)?.readUInt32LE(0),
    rx_ring: ring(values.get(attribute.receiveRing)),
    tx_ring: ring(values.get(attribute.sendRing)),
  };
}

function attributes(message: Buffer): Map<number, Buffer> {
  const values = new Map<number, Buffer>();
  for (let at = diagHeader; at + 4 <= message.length; ) {
    const size = message.readUInt16LE(at);
    if (size < 4) break;
    values.set(message.readUInt16LE(at + 2) & 0x3fff, message.subarray(at + 4, at + size));
    at += (size + 3) & ~3;
  }
  return values;
}

/** One entry for each time that a membership was asked for. */
function memberships(list: Buffer): Init<PacketMclist>[] {
  const found: Init<PacketMclist>[] = [];
  for (let at = 0; at + membershipBytes <= list.length; at += membershipBytes) {
    const [index, count] = [list.readUInt32LE(at), list.readUInt32LE(at + 4)];
    const [type, length] = [list.readUInt16LE(at + 8), list.readUInt16LE(at + 10)];
    const addr = Buffer.from(list.subarray(at + 12, at + 12 + length));
    for (let times = 0; times < count; times++) found.push({ index, type, addr });
  }
  return found;
}

function ring(value: Buffer | undefined): Init<PacketRing> | undefined {
  if (value === undefined) return undefined;
  const word = (index: number): number => value.readUInt32LE(index * 4);
  return {
    ...{ block_size: word(0), block_nr: word(1), frame_size: word(2), frame_nr: word(3) },
    ...{ retire_tmo: word(4), sizeof_priv: word(5), features: word(6) },
  };
}

export function addPacketSocket(images: ImageSet, id: number, file: OpenFile): void {
  const facts = packetFacts(file.inode);
  const opts = file.withCopy((fd) => socketOptions(fd, false));
  const psk = { ...facts, id, flags: file.flags, fown: file.owner(), opts, ns_id: namespaceId };
  images.addFile("PACKETSK", { id, psk });
}
