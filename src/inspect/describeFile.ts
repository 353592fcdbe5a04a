// One open file description of an image (a record of files.img), told in words. Not for who holds it or what its other
// end is: descriptors.ts.

import {
  type EventpollFileEntry,
  FdTypes,
  type FileEntry,
  type InetSkEntry,
  type MemfdInodeEntry,
  type NsFileEntry,
  type RegFileEntry,
  type SignalfdEntry,
  type TimerfdEntry,
  type TtyInfoEntry,
  type UnixSkEntry,
} from "../images/messages";
import { decodeText } from "../images/text";
import { signalName } from "./signals";

export type OpenFileKind =
  | "file"
  | "pipe"
  | "fifo"
  | "inet"
  | "unix"
  | "eventfd"
  | "eventpoll"
  | "inotify"
  | "signalfd"
  | "packet"
  | "tty"
  | "fanotify"
  | "netlink"
  | "namespace"
  | "tun"
  | "external"
  | "timerfd"
  | "memfd"
  | "bpf-map"
  | "pidfd"
  | "unknown";

export interface OpenFile {
  readonly kind: OpenFileKind;
  /** One line for people: a path, "pipe:[70343] read end", "tcp 127.0.0.1:6379 listen". */
  readonly target: string;
  /** What it may be used for: "r", "w" or "rw"; "" where that means nothing. */
  readonly access: "r" | "w" | "rw" | "";
  /** Where the next read or write is, bytes; undefined for what has no position. */
  readonly position: number | undefined;
}

/** What a description needs besides the record itself. */
export interface OpenFileTables {
  /** The regular-file record with that id: a FIFO's or terminal's path. */
  path(id: number): string | undefined;
  terminal(id: number): TtyInfoEntry | undefined;
  memfd(inodeId: number): MemfdInodeEntry | undefined;
  /** Ids of regular files whose path was gone at the dump: their content is in the image or elsewhere. */
  readonly deleted: ReadonlySet<number>;
}

export function describeFile(file: FileEntry, tables: OpenFileTables): OpenFile {
  if (file.reg !== undefined) return regularFile(file.reg, tables);
  if (file.isk !== undefined) return { ...noPosition, kind: "inet", access: "rw", target: inetText(file.isk) };
  if (file.usk !== undefined) return { ...noPosition, kind: "unix", access: "rw", target: unixText(file.usk) };
  if (file.tty !== undefined) {
    const info = tables.terminal(file.tty.tty_info_id);
    const target = terminalText(info, file.tty.regf_id === undefined ? undefined : tables.path(file.tty.regf_id));
    return { ...noPosition, kind: "tty", access: accessOf(file.tty.flags), target };
  }
  if (file.memfd !== undefined) {
    const { inode_id, flags, pos } = file.memfd;
    const name = tables.memfd(inode_id)?.name ?? `inode ${inode_id}`;
    return { kind: "memfd", access: accessOf(flags), position: Number(pos), target: `memfd:${name}` };
  }
  return pipeLike(file, tables) ?? eventLike(file) ?? special(file);
}

const noPosition = { position: undefined };

/** O_ACCMODE of open(2). */
function accessOf(flags: number): "r" | "w" | "rw" {
  const mode = flags & 3;
  return mode === 0 ? "r" : mode === 1 ? "w" : "rw";
}

function regularFile(file: RegFileEntry, tables: OpenFileTables): OpenFile {
  const gone = tables.deleted.has(file.id) ? " (deleted)" : "";
  return { kind: "file", access: accessOf(file.flags), position: Number(file.pos), target: file.name + gone };
}

function pipeLike(file: FileEntry, tables: OpenFileTables): OpenFile | undefined {
  if (file.pipe !== undefined) {
    const access = accessOf(file.pipe.flags);
    const end = access === "r" ? "read end" : access === "w" ? "write end" : "both ends";
    return { ...noPosition, kind: "pipe", access, target: `pipe:[${file.pipe.pipe_id}] ${end}` };
  }
  if (file.fifo !== undefined) {
    const { pipe_id, regf_id } = file.fifo;
    const path = regf_id === undefined ? undefined : tables.path(regf_id);
    return { ...noPosition, kind: "fifo", access: "", target: path ?? `fifo:[${pipe_id}]` };
  }
  return undefined;
}

function eventLike(file: FileEntry): OpenFile | undefined {
  const plain = (kind: OpenFileKind, target: string): OpenFile => ({ ...noPosition, kind, access: "", target });
  if (file.efd !== undefined) return plain("eventfd", `eventfd count ${file.efd.counter}`);
  if (file.epfd !== undefined) return plain("eventpoll", eventpollText(file.epfd));
  if (file.sgfd !== undefined) return plain("signalfd", signalText(file.sgfd));
  if (file.tfd !== undefined) return plain("timerfd", timerText(file.tfd));
  if (file.ify !== undefined) return plain("inotify", `inotify ${counted(file.ify.wd.length, "watch", "watches")}`);
  if (file.ffy !== undefined) return plain("fanotify", `fanotify ${counted(file.ffy.mark.length, "mark", "marks")}`);
  return undefined;
}

function special(file: FileEntry): OpenFile {
  const plain = (kind: OpenFileKind, target: string): OpenFile => ({ ...noPosition, kind, access: "", target });
  if (file.nlsk !== undefined) {
    const { protocol, portid } = file.nlsk;
    return plain("netlink", `netlink ${netlinkProtocols[protocol] ?? `protocol ${protocol}`} port ${portid}`);
  }
  if (file.psk !== undefined) return plain("packet", `packet protocol 0x${hostOrder(file.psk.protocol).toString(16)}`);
  if (file.nsf !== undefined) return plain("namespace", namespaceText(file.nsf));
  if (file.tunf !== undefined) return plain("tun", `tun ${file.tunf.netdev ?? "without a device"}`);
  if (file.bpf !== undefined) return plain("bpf-map", `bpf map ${file.bpf.map_name} (${file.bpf.max_entries} entries)`);
  if (file.pidfd !== undefined) return plain("pidfd", `pidfd of ${file.pidfd.nspid}`);
  if (file.ext !== undefined) return plain("external", "external file, given at restore");
  const name = Object.entries(FdTypes).find(([, type]) => type === file.type)?.[0];
  return plain("unknown", `type ${name ?? file.type}`);
}

const protocolNames: Readonly<Record<number, string>> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 136: "udplite" };

// include/net/tcp_states.h
const socketStates: Readonly<Record<number, string>> = {
  1: "established",
  2: "syn-sent",
  3: "syn-received",
  4: "fin-wait-1",
  5: "fin-wait-2",
  6: "time-wait",
  7: "closed",
  8: "close-wait",
  9: "last-ack",
  10: "listen",
  11: "closing",
};

// socket(2)
const socketTypes: Readonly<Record<number, string>> = { 1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket" };

// netlink(7)
const netlinkProtocols: Readonly<Record<number, string>> = {
  0: "route",
  4: "sock-diag",
  7: "selinux",
  9: "audit",
  12: "netfilter",
  15: "uevent",
  16: "generic",
};

export const afInet6 = 10;

function inetText(socket: InetSkEntry): string {
  const protocol = protocolNames[socket.proto] ?? `protocol ${socket.proto}`;
  const six = socket.family === afInet6;
  const source = `${addressText(socket.src_addr, six)}:${socket.src_port}`;
  const state = socketStates[socket.state] ?? `state ${socket.state}`;
  const name = `${protocol}${six ? "6" : ""} ${source}`;
  if (socket.dst_port === 0) return `${name} ${state}`;
  return `${name} -> ${addressText(socket.dst_addr, six)}:${socket.dst_port} ${state}`;
}

/** One word (IPv4) or four (IPv6), each in network order as read by a little-endian machine. */
export function addressText(words: readonly number[], six: boolean): string {
  const bytes = words.flatMap((word) => [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24]);
  if (!six) return bytes.slice(0, 4).join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((bytes[2 * i] ?? 0) * 256 + (bytes[2 * i + 1] ?? 0)).toString(16),
  );
  return `[${shortened(groups)}]`;
}

/** The longest run of zero groups becomes "::" (RFC 5952). */
function shortened(groups: readonly string[]): string {
  let [best, bestLength] = [-1, 1];
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === "0") length++;
    if (length > bestLength) [best, bestLength] = [start, length];
  }
  if (best < 0) return groups.join(":");
  return `${groups.slice(0, best).join(":")}::${groups.slice(best + bestLength).join(":")}`;
}

function unixText(socket: UnixSkEntry): string {
  const type = socketTypes[socket.type] ?? `type ${socket.type}`;
  const state = socketStates[socket.state] ?? `state ${socket.state}`;
  return `unix ${type} ${unixName(socket.name) ?? `[${socket.ino}]`} ${state}`;
}

/** A bound socket's path, or "@name" for an abstract one (unix(7)); undefined for an unnamed one. */
function unixName(name: Buffer): string | undefined {
  if (name.length === 0) return undefined;
  if (name[0] === 0) return `@${decodeText(name.subarray(1))}`;
  const end = name.indexOf(0);
  return decodeText(end < 0 ? name : name.subarray(0, end));
}

function terminalText(info: TtyInfoEntry | undefined, path: string | undefined): string {
  if (info?.pty !== undefined)
    return path === "/dev/ptmx" ? `/dev/ptmx of pts/${info.pty.index}` : `pts/${info.pty.index}`;
  return path ?? "terminal";
}

function eventpollText(epoll: EventpollFileEntry): string {
  if (epoll.tfd.length === 0) return "eventpoll watching nothing";
  const shown = epoll.tfd.slice(0, 8).map((watch) => watch.tfd);
  return `eventpoll watching fd ${shown.join(", ")}${epoll.tfd.length > 8 ? `, ${epoll.tfd.length - 8} more` : ""}`;
}

function signalText(file: SignalfdEntry): string {
  const names: string[] = [];
  for (let signal = 1; signal <= 64; signal++) {
    if (((file.sigmask >> BigInt(signal - 1)) & 1n) === 1n) names.push(signalName(signal));
  }
  return `signalfd ${names.join(", ") || "of no signal"}`;
}

function timerText(timer: TimerfdEntry): string {
  const seconds = (whole: bigint, nanoseconds: bigint) => `${Number(whole) + Number(nanoseconds / 1000000n) / 1000} s`;
  const armed = timer.vsec !== 0n || timer.vnsec !== 0n;
  if (!armed) return "timerfd not armed";
  const repeats = timer.isec !== 0n || timer.insec !== 0n;
  return `timerfd in ${seconds(timer.vsec, timer.vnsec)}${repeats ? `, every ${seconds(timer.isec, timer.insec)}` : ""}`;
}

// CLONE_NEW* of clone(2)
const namespaceNames: Readonly<Record<number, string>> = {
  131072: "mount",
  33554432: "cgroup",
  67108864: "uts",
  134217728: "ipc",
  268435456: "user",
  536870912: "pid",
  1073741824: "net",
  128: "time",
};

function namespaceText(file: NsFileEntry): string {
  return `${namespaceNames[file.ns_cflag] ?? "unknown"} namespace ${file.ns_id}`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** A number of two bytes that the image has in network order. */
function hostOrder(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}
