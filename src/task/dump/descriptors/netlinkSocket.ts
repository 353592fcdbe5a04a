// Netlink sockets: protocol, port, groups and peer (netlink(7)). What waits unread in one is refused, as by CRIU.
import { native } from "../../../native";
import { solSocket } from "../../socketOptions";
import type { ImageSet } from "../imageSet";
import type { OpenFile } from "../openFile";
import { integerOption, socketOptions } from "./socketOptions";

const soProtocol = 38;
const solNetlink = 270;
const listMemberships = 9; // NETLINK_LIST_MEMBERSHIPS
const groupWordsMax = 64;
/** struct sockaddr_nl. */
const addressOffset = { port: 4, groups: 8 } as const;
const namespaceId = 2;

function address(fd: number, peer: 0 | 1): { port: number; groups: number } {
  const buffer = Buffer.alloc(128);
  if (native.socketName(fd, peer, buffer) < 0) return { port: 0, groups: 0 };
  return { port: buffer.readUInt32LE(addressOffset.port), groups: buffer.readUInt32LE(addressOffset.groups) };
}

/** Why the socket cannot be dumped, or undefined. */
export function netlinkObstacle(fd: number): string | undefined {
  const groups = new Uint32Array(groupWordsMax);
  native.getSocketOption(fd, solNetlink, listMemberships, groups);
  if (groups.subarray(1).some((word) => word !== 0)) return "a netlink socket in a multicast group above 32";
  const hasMessage = native.streamPeek(fd, new Uint8Array(1)) >= 0;
  return hasMessage ? "a netlink socket with unread messages" : undefined;
}

export function addNetlinkSocket(images: ImageSet, id: number, file: OpenFile): void {
  file.withCopy((fd) => {
    const own = address(fd, 0);
    const peer = address(fd, 1);
    images.addFile("NETLINKSK", {
      id,
      nlsk: {
        ...{ id, ino: file.inode, protocol: integerOption(fd, solSocket, soProtocol) },
        state: peer.port !== 0 || peer.groups !== 0 ? 1 : 0, // NETLINK_CONNECTED
        flags: file.flags,
        portid: own.port,
        groups: own.groups === 0 ? [] : [own.groups],
        dst_portid: peer.port,
        dst_group: peer.groups,
        fown: file.owner(),
        opts: socketOptions(fd, false),
        ns_id: namespaceId,
      },
    });
  });
}
