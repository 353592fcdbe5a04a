// The multicast groups that a socket belongs to. The kernel lists the groups of each interface (proc_net(5)), and tells of each
// whether a socket is a member, and of which sources it hears (MCAST_MSFILTER of ip(7), RFC 3678).
import { readFileSync } from "node:fs";
import type { Init } from "../../../images/message";
import type { MulticastGroup } from "../../../images/messages";
import { native } from "../../../native";

const family = { inet: 2, inet6: 10 } as const;
const solIp = 0;
const solIpv6 = 41;
const sourceFilter = 48; // MCAST_MSFILTER
/** struct group_filter: the interface, the group's address, the mode, the count of sources, and their addresses. */
const offset = { group: 8, mode: 136, count: 140, sources: 144 } as const;
const storageBytes = 128; // struct sockaddr_storage
const sourcesMax = 64;
/** 224.0.0.1, to which everybody belongs. */
const allHosts = "010000E0";

interface Candidate {
  readonly level: number;
  readonly index: number;
  readonly words: readonly number[];
}

/** Every group that somebody here belongs to. */
function candidates(): Candidate[] {
  return [...candidates4(read("/proc/net/igmp")), ...candidates6(read("/proc/net/igmp6"))];
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // a kernel without that protocol
  }
}

/** A line for each interface, beginning with its index, and below it one for each group. */
function candidates4(text: string): Candidate[] {
  let index = 0;
  return text.split("\n").flatMap((line): Candidate[] => {
    index = Number(/^(\d+)\s/.exec(line)?.[1] ?? index);
    const group = /^\s+([0-9A-F]{8})\s/.exec(line)?.[1];
    if (group === undefined || group === allHosts) return [];
    return [{ level: solIp, index, words: [Number.parseInt(group, 16)] }];
  });
}

/** "index interface group users ...", the group as its bytes. */
function candidates6(text: string): Candidate[] {
  return [...text.matchAll(/^(\d+)\s+\S+\s+([0-9a-f]{32})\s/gm)].map(([, index, group]) => {
    const bytes = Buffer.from(group as string, "hex");
    return { level: solIpv6, index: Number(index), words: [0, 4, 8, 12].map((at) => bytes.readUInt32LE(at)) };
  });
}

export function multicastGroups(fd: number): Init<MulticastGroup>[] {
  return candidates().flatMap((candidate) => membership(fd, candidate) ?? []);
}

function membership(fd: number, { level, index, words }: Candidate): Init<MulticastGroup> | undefined {
  const filter = Buffer.alloc(offset.sources + sourcesMax * storageBytes);
  const is6 = level === solIpv6;
  filter.writeUInt32LE(index, 0);
  filter.writeUInt16LE(is6 ? family.inet6 : family.inet, offset.group);
  const address = is6 ? 8 : 4; // in sockaddr_in6, in sockaddr_in
  words.forEach((word, at) => {
    filter.writeUInt32LE(word >>> 0, offset.group + address + at * 4);
  });
  filter.writeUInt32LE(sourcesMax, offset.count);
  if (native.getSocketOption(fd, level, sourceFilter, filter) < 0) return undefined;
  const count = Math.min(filter.readUInt32LE(offset.count), sourcesMax);
  const sources = Array.from({ length: count }, (_, number) =>
    words.map((_word, at) => filter.readUInt32LE(offset.sources + number * storageBytes + address + at * 4)),
  );
  return { level, ifindex: index, mode: filter.readUInt32LE(offset.mode), group: [...words], sources: sources.flat() };
}
