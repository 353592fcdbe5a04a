// Which directions of UDP sockets are shut down (shutdown(2)): sock_diag(7) alone tells.
import { native } from "../../../native";
import type { ImageSet } from "../imageSet";

const netlinkSockDiag = 4;
const sockDiagByFamily = 20;
const requestFlags = 0x301; // NLM_F_REQUEST | NLM_F_DUMP
const udpProtocol = 17;
const messageHeader = 16;
const requestBytes = 56; // struct inet_diag_req_v2
/** struct inet_diag_msg, and its attribute INET_DIAG_SHUTDOWN. */
const diagHeader = 72;
const inodeOffset = 68;
const shutdownAttribute = 8;

/** By family, then by inode; of one dump. */
const known = new WeakMap<ImageSet, Map<number, Map<number, number>>>();

/** Bit 0: reading, bit 1: writing; 0 also where the kernel has no sock_diag for UDP. */
export function shutDirections(images: ImageSet, family: number, inode: number): number {
  const families = known.get(images) ?? new Map<number, Map<number, number>>();
  known.set(images, families);
  let sockets = families.get(family);
  if (sockets === undefined) {
    sockets = listShut(family);
    families.set(family, sockets);
  }
  return sockets.get(inode) ?? 0;
}

function listShut(family: number): Map<number, number> {
  const request = Buffer.alloc(messageHeader + requestBytes);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(sockDiagByFamily, 4);
  request.writeUInt16LE(requestFlags, 6);
  request[messageHeader] = family;
  request[messageHeader + 1] = udpProtocol;
  request.writeUInt32LE(0xffffffff, messageHeader + 4); // every state
  const answer = Buffer.alloc(4 * 1024 * 1024);
  const length = native.netlinkDump(netlinkSockDiag, request, answer);
  const found = new Map<number, number>();
  for (let at = 0; at + messageHeader <= length; ) {
    const size = answer.readUInt32LE(at);
    if (size < messageHeader) break;
    const body = answer.subarray(at + messageHeader, at + size);
    if (answer.readUInt16LE(at + 4) === sockDiagByFamily && body.length >= diagHeader) {
      found.set(body.readUInt32LE(inodeOffset), shutOf(body));
    }
    at += (size + 3) & ~3;
  }
  return found;
}

function shutOf(message: Buffer): number {
  for (let at = diagHeader; at + 4 <= message.length; ) {
    const size = message.readUInt16LE(at);
    if (size < 4) return 0;
    if ((message.readUInt16LE(at + 2) & 0x3fff) === shutdownAttribute) return message[at + 4] ?? 0;
    at += (size + 3) & ~3;
  }
  return 0;
}
