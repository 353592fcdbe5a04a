// Memberships in multicast groups, with the filters of their sources (ip(7), RFC 3678).
import type { InetSkEntry, MulticastGroup } from "../../../images/messages";
import { syscalls } from "../../constants";
import { type FileContext, fileKey } from "./context";
import { family } from "./inet";

const solIp = 0;
const solIpv6 = 41;
const joinGroup = 42; // MCAST_JOIN_GROUP
const sourceFilter = 48; // MCAST_MSFILTER
const storageBytes = 128;
const offset = { group: 8, mode: 136, count: 140, sources: 144 } as const;
const exclude = 0;
const sourcesMax = 64;

/** Of a socket that is made already. */
export function joinGroups(context: FileContext, socket: InetSkEntry): void {
  const descriptor = context.masters.of(fileKey(socket.id));
  for (const group of socket.multicast_groups) {
    if (group.level !== solIp && group.level !== solIpv6) continue;
    const filter = filterOf(group);
    const batch = context.script.room(2, filter.length + offset.mode + 64);
    const request = batch.place(filter.subarray(0, offset.mode));
    batch.call(syscalls.setsockopt, [descriptor, group.level, joinGroup, request, offset.mode], {
      purpose: `joining a multicast group on interface ${group.ifindex}`,
    });
    if (group.mode === exclude && group.sources.length === 0) continue;
    batch.call(syscalls.setsockopt, [descriptor, group.level, sourceFilter, batch.place(filter), filter.length], {
      purpose: "choosing the sources of a multicast group",
    });
  }
}

/** struct group_filter, which begins as struct group_req does. */
function filterOf({ level, ifindex, mode, group, sources }: MulticastGroup): Buffer {
  const is6 = level === solIpv6;
  const words = is6 ? 4 : 1;
  const count = Math.min(Math.floor(sources.length / words), sourcesMax);
  const bytes = Buffer.alloc(offset.sources + count * storageBytes);
  const address = (at: number, of: readonly number[]): void => {
    bytes.writeUInt16LE(is6 ? family.inet6 : family.inet, at);
    of.slice(0, words).forEach((word, number) => {
      bytes.writeUInt32LE(word >>> 0, at + (is6 ? 8 : 4) + number * 4);
    });
  };
  bytes.writeUInt32LE(ifindex, 0);
  address(offset.group, group);
  bytes.writeUInt32LE(mode, offset.mode);
  bytes.writeUInt32LE(count, offset.count);
  for (let number = 0; number < count; number++) {
    address(offset.sources + number * storageBytes, sources.slice(number * words));
  }
  return bytes;
}
