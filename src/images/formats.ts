// Which image files there are: magic, message, payload and file name of each. Facts only; framing.ts reads and writes them.
// Kinds are named as crit names their magics.
import type { Messages } from "./messages";
import type { MessageName } from "./schema";

/** What follows the protobuf message of a record. */
export type PayloadKind =
  | "none"
  /** `bytes` bytes of a pipe. */
  | "pipe"
  /** `length` bytes of a packet. */
  | "packet"
  /** A deleted file's contents: the rest of the file, or in chunks. */
  | "ghost"
  /** `inq_len` and then `outq_len` bytes. */
  | "queues"
  /** `size` bytes rounded up to 4, unless they are in a pagemap. */
  | "segment"
  /** `nsems` 16-bit numbers, padded to 8 bytes. */
  | "semaphores"
  /** `qnum` messages, each an ipc_msg with its padded text. */
  | "messages"
  /** `keys_bytes` and then `values_bytes` bytes. */
  | "map";

export interface ImageFormat {
  readonly magic: number;
  readonly message: MessageName;
  /** The message of the first record where it differs from the others. */
  readonly head?: MessageName;
  /** "one": exactly one record. */
  readonly count: "one" | "many";
  readonly payload: PayloadKind;
  /** The class magic: service images are statistics and caches. inventory has none. */
  readonly family: "common" | "service" | "none";
}

/** The class magics, by family. */
export const classMagics = { common: 0x54564319, service: 0x55105940 } as const;

function one<const N extends MessageName>(magic: number, message: N, payload: PayloadKind = "none") {
  return { magic, message, count: "one", payload, family: "common" } as const;
}
function many<const N extends MessageName>(magic: number, message: N, payload: PayloadKind = "none") {
  return { magic, message, count: "many", payload, family: "common" } as const;
}

export const formats = {
  INVENTORY: { ...one(0x58313116, "inventory_entry"), family: "none" },
  PSTREE: many(0x50273030, "pstree_entry"),
  FDINFO: many(0x56213732, "fdinfo_entry"),
  PAGEMAP: { ...many(0x56084025, "pagemap_entry"), head: "pagemap_head" },
  CORE: one(0x55053847, "core_entry"),
  IDS: one(0x54432030, "task_kobj_ids_entry"),
  MM: one(0x57492820, "mm_entry"),
  FS: one(0x51403912, "fs_entry"),
  FILES: many(0x56303138, "file_entry"),
  REG_FILES: many(0x50363636, "reg_file_entry"),
  EXT_FILES: many(0x59255641, "ext_file_entry"),
  NS_FILES: many(0x61394011, "ns_file_entry"),
  EVENTFD_FILE: many(0x44523722, "eventfd_file_entry"),
  EVENTPOLL_FILE: many(0x45023858, "eventpoll_file_entry"),
  EVENTPOLL_TFD: many(0x44433746, "eventpoll_tfd_entry"),
  SIGNALFD: many(0x57323820, "signalfd_entry"),
  TIMERFD: many(0x50493712, "timerfd_entry"),
  INOTIFY_FILE: many(0x48424431, "inotify_file_entry"),
  INOTIFY_WD: many(0x54562009, "inotify_wd_entry"),
  FANOTIFY_FILE: many(0x55096122, "fanotify_file_entry"),
  FANOTIFY_MARK: many(0x56506035, "fanotify_mark_entry"),
  PIDFD: many(0x54435556, "pidfd_entry"),
  MEMFD_INODE: many(0x48453499, "memfd_inode_entry"),
  VMAS: many(0x54123737, "vma_entry"),
  PIPES: many(0x56513555, "pipe_entry"),
  PIPES_DATA: many(0x56453709, "pipe_data_entry", "pipe"),
  FIFO: many(0x58364939, "fifo_entry"),
  FIFO_DATA: many(0x59333054, "pipe_data_entry", "pipe"),
  SIGACT: many(0x55344201, "sa_entry"),
  ITIMERS: many(0x57464056, "itimer_entry"),
  POSIX_TIMERS: many(0x52603957, "posix_timer_entry"),
  CREDS: one(0x54023547, "creds_entry"),
  RLIMIT: many(0x57113925, "rlimit_entry"),
  SIGNAL: many(0x59255647, "siginfo_entry"),
  UNIXSK: many(0x54373943, "unix_sk_entry"),
  INETSK: many(0x56443851, "inet_sk_entry"),
  PACKETSK: many(0x60454618, "packet_sock_entry"),
  NETLINK_SK: many(0x58005614, "netlink_sk_entry"),
  SK_QUEUES: many(0x56264026, "sk_packet_entry", "packet"),
  TCP_STREAM: one(0x51465506, "tcp_stream_entry", "queues"),
  REMAP_FPATH: many(0x59133954, "remap_file_path_entry"),
  GHOST_FILE: one(0x52583605, "ghost_file_entry", "ghost"),
  FILE_LOCKS: many(0x54323616, "file_lock_entry"),
  TTY_FILES: many(0x59433025, "tty_file_entry"),
  TTY_INFO: many(0x59453036, "tty_info_entry"),
  TTY_DATA: many(0x59413026, "tty_data_entry"),
  UTSNS: one(0x54473203, "utsns_entry"),
  USERNS: one(0x55474906, "userns_entry"),
  PIDNS: one(0x61157326, "pidns_entry"),
  TIMENS: one(0x43114433, "timens_entry"),
  IPC_VAR: one(0x53115007, "ipc_var_entry"),
  IPCNS_SHM: many(0x46283044, "ipc_shm_entry", "segment"),
  IPCNS_MSG: many(0x55453737, "ipc_msg_entry", "messages"),
  IPCNS_SEM: many(0x59573019, "ipc_sem_entry", "semaphores"),
  MNTS: many(0x55563928, "mnt_entry"),
  AUTOFS: many(0x49353943, "autofs_entry"),
  BINFMT_MISC: many(0x67343323, "binfmt_misc_entry"),
  NETNS: one(0x55933752, "netns_entry"),
  NETDEV: many(0x57373951, "net_device_entry"),
  TUNFILE: many(0x57143751, "tunfile_entry"),
  CGROUP: one(0x59383330, "cgroup_entry"),
  SECCOMP: one(0x64413049, "seccomp_entry"),
  APPARMOR: one(0x59423047, "apparmor_entry"),
  CPUINFO: one(0x61404013, "cpuinfo_entry"),
  BPFMAP_FILE: many(0x57506142, "bpfmap_file_entry"),
  BPFMAP_DATA: many(0x64324033, "bpfmap_data_entry", "map"),
  STATS: { ...one(0x57093306, "stats_entry"), family: "service" },
  IRMAP_CACHE: { ...many(0x57004059, "irmap_cache_entry"), family: "service" },
  // Faultline's own, no place of CRIU's: "FLWS" as bytes.
  WORKINGSET: { ...many(0x53574c46, "workingset_entry"), head: "workingset_head" },
} as const satisfies Readonly<Record<string, ImageFormat>>;

export type ImageKind = keyof typeof formats;
/** The message of an image's records. */
export type ImageMessage<K extends ImageKind> = Messages[(typeof formats)[K]["message"]];

const kindsByMagic = new Map<number, ImageKind>(
  Object.entries(formats).map(([kind, format]) => [format.magic, kind as ImageKind]),
);

/** The kind whose type magic this is. */
export function kindOfMagic(magic: number): ImageKind | undefined {
  return kindsByMagic.get(magic);
}

/** Whether `name` is a kind, as in the "magic" of crit's JSON. */
export function isImageKind(name: string): name is ImageKind {
  return Object.hasOwn(formats, name);
}

/** What a file name says about a file: its kind, "raw" for images without magic, and the number in the name. */
export interface ImageName {
  readonly kind: ImageKind | "raw";
  /** Decimal or hexadecimal number in the name. */
  readonly id: number | undefined;
}

const fixedNames: Readonly<Record<string, ImageKind>> = {
  inventory: "INVENTORY",
  pstree: "PSTREE",
  files: "FILES",
  "reg-files": "REG_FILES",
  "ext-files": "EXT_FILES",
  "ns-files": "NS_FILES",
  eventfd: "EVENTFD_FILE",
  eventpoll: "EVENTPOLL_FILE",
  "eventpoll-tfd": "EVENTPOLL_TFD",
  signalfd: "SIGNALFD",
  timerfd: "TIMERFD",
  inotify: "INOTIFY_FILE",
  "inotify-wd": "INOTIFY_WD",
  fanotify: "FANOTIFY_FILE",
  "fanotify-mark": "FANOTIFY_MARK",
  pidfd: "PIDFD",
  pipes: "PIPES",
  "pipes-data": "PIPES_DATA",
  fifo: "FIFO",
  "fifo-data": "FIFO_DATA",
  unixsk: "UNIXSK",
  inetsk: "INETSK",
  packetsk: "PACKETSK",
  netlinksk: "NETLINK_SK",
  "sk-queues": "SK_QUEUES",
  "remap-fpath": "REMAP_FPATH",
  memfd: "MEMFD_INODE",
  "binfmt-misc": "BINFMT_MISC",
  tty: "TTY_FILES",
  "tty-info": "TTY_INFO",
  "tty-data": "TTY_DATA",
  filelocks: "FILE_LOCKS",
  tunfile: "TUNFILE",
  cgroup: "CGROUP",
  cpuinfo: "CPUINFO",
  seccomp: "SECCOMP",
  "bpfmap-file": "BPFMAP_FILE",
  "bpfmap-data": "BPFMAP_DATA",
  apparmor: "APPARMOR",
};

/** Names with a number after the last dash; "x" where it is hexadecimal. */
const numberedNames: Readonly<Record<string, ImageKind | "raw">> = {
  fdinfo: "FDINFO",
  pagemap: "PAGEMAP",
  "pagemap-shmem": "PAGEMAP",
  core: "CORE",
  ids: "IDS",
  mm: "MM",
  fs: "FS",
  vmas: "VMAS",
  sigacts: "SIGACT",
  itimers: "ITIMERS",
  "posix-timers": "POSIX_TIMERS",
  creds: "CREDS",
  rlimit: "RLIMIT",
  "signal-s": "SIGNAL",
  "signal-p": "SIGNAL",
  utsns: "UTSNS",
  userns: "USERNS",
  pidns: "PIDNS",
  timens: "TIMENS",
  "ipcns-var": "IPC_VAR",
  "ipcns-shm": "IPCNS_SHM",
  "ipcns-msg": "IPCNS_MSG",
  "ipcns-sem": "IPCNS_SEM",
  mountpoints: "MNTS",
  netdev: "NETDEV",
  netns: "NETNS",
  autofs: "AUTOFS",
  "binfmt-misc": "BINFMT_MISC",
  "ghost-file": "GHOST_FILE",
  "tcp-stream": "TCP_STREAM",
  workingset: "WORKINGSET",
  pages: "raw",
  pagez: "raw",
  ifaddr: "raw",
  route: "raw",
  route6: "raw",
  rule: "raw",
  iptables: "raw",
  ip6tables: "raw",
  nftables: "raw",
  "netns-ct": "raw",
  "netns-exp": "raw",
};

/** What the name of an image file says, or undefined for a name that no image has. */
export function imageName(file: string): ImageName | undefined {
  if (file === "stats-dump" || file === "stats-restore") return { kind: "STATS", id: undefined };
  if (file === "irmap-cache") return { kind: "IRMAP_CACHE", id: undefined };
  if (/^tmpfs-(dev-)?\d+\.tar\.gz\.img$/.test(file)) return { kind: "raw", id: undefined };
  const match = /^(.+)\.img$/.exec(file);
  if (match === null) return undefined;
  const stem = match[1]!;
  if (Object.hasOwn(fixedNames, stem)) return { kind: fixedNames[stem]!, id: undefined };
  const parts = /^([a-z0-9-]+)-([0-9a-f]+)$/.exec(stem);
  if (parts === null || !Object.hasOwn(numberedNames, parts[1]!)) return undefined;
  const kind = numberedNames[parts[1]!]!;
  const hexadecimal = kind === "GHOST_FILE" || kind === "TCP_STREAM";
  if (!hexadecimal && !/^\d+$/.test(parts[2]!)) return undefined;
  return { kind, id: Number.parseInt(parts[2]!, hexadecimal ? 16 : 10) };
}
