// What each mapping of a dumped task is: its CRIU vma_entry and how its pages are dumped. Pure: mappings in, values out.
// Facts: VmFlags of proc_pid_smaps(5), the status bits of CRIU's images.
import { vmaStatus } from "../../images/vmaStatus";
import { hugeSizeFlag, mapFlag, protection } from "../constants";
import { type Mapping, pathText } from "../proc";

export type VmaKind =
  | "anonymous"
  | "file-private"
  | "file-shared"
  /** MAP_SHARED | MAP_ANONYMOUS: a nameless shmem file, "/dev/zero (deleted)". */
  | "shared-anonymous"
  | "memfd"
  | "sysv"
  /** The ring of a packet socket. */
  | "socket"
  /** The ring of an AIO context (io_setup(2)). */
  | "aio"
  | "vdso"
  | "vvar"
  | "vsyscall";

export interface Vma {
  readonly kind: VmaKind;
  /** Bytes. */
  readonly start: bigint;
  readonly end: bigint;
  readonly protection: number;
  /** mmap(2) flags as CRIU writes them. */
  readonly flags: number;
  readonly status: number;
  /** Offset in the mapped file, bytes. */
  readonly offset: number;
  /** Bit n set: MADV_n is in force; 0 none. */
  readonly advice: bigint;
  /** Private to MAP_PRIVATE: the mapping itself, not the file. */
  readonly isPrivate: boolean;
  /** CRIU's can_be_lazy: private anonymous memory that is neither locked nor special. */
  readonly lazy: boolean;
  readonly mapping: Mapping;
}

/** MADV_* that VmFlags shows, by flag. */
const adviceOf = Object.entries({ rr: 1, sr: 2, dc: 10, mg: 12, hg: 14, nh: 15, dd: 16, wf: 18 });

/** The name that the kernel gives to huge pages that were mapped without a file. */
const anonymousHuge = "/anon_hugepage";
const deletedSuffix = " (deleted)";

export function isDeleted(mapping: Mapping): boolean {
  return mapping.path.endsWith(deletedSuffix);
}

function kindOf(mapping: Mapping): VmaKind {
  const { path, permissions } = mapping;
  const shared = permissions[3] === "s";
  if (path === "[vdso]") return "vdso";
  if (path.startsWith("[vvar")) return "vvar";
  if (path === "[vsyscall]") return "vsyscall";
  if (path.startsWith("/dev/zero (deleted)") || path.startsWith("[anon_shmem:")) return "shared-anonymous";
  if (path.startsWith("/memfd:")) return "memfd";
  // Shared ones are a memory file to the images, as they are to CRIU: they cannot be made otherwise.
  if (path.startsWith(anonymousHuge)) return shared ? "memfd" : "anonymous";
  if (/^\/SYSV[0-9a-f]{8}/.test(path)) return "sysv";
  if (path.startsWith("socket:[")) return "socket";
  if (path.startsWith("/[aio]")) return "aio";
  if (path === "" || path.startsWith("[")) return "anonymous";
  return shared ? "file-shared" : "file-private";
}

function statusOf(kind: VmaKind, mapping: Mapping, isPrivate: boolean): number {
  const { regular } = vmaStatus;
  switch (kind) {
    case "vdso":
      return regular | vmaStatus.vdso | vmaStatus.anonPrivate;
    case "vvar":
      return regular | vmaStatus.vvar | vmaStatus.anonPrivate;
    case "vsyscall":
      return vmaStatus.vsyscall | vmaStatus.anonPrivate;
    case "shared-anonymous":
      return regular | vmaStatus.anonShared;
    case "memfd":
      return regular | vmaStatus.memfd | (isPrivate ? vmaStatus.filePrivate : vmaStatus.fileShared);
    case "sysv":
      return regular | vmaStatus.sysvIpc | vmaStatus.anonShared;
    case "socket":
      return regular | vmaStatus.socket;
    case "aio":
      return vmaStatus.aioRing;
    case "file-shared":
      return regular | vmaStatus.fileShared;
    case "file-private":
      return regular | vmaStatus.filePrivate;
    case "anonymous":
      return regular | vmaStatus.anonPrivate | (mapping.path === "[heap]" ? vmaStatus.heap : 0);
  }
}

function flagsOf(kind: VmaKind, mapping: Mapping, isPrivate: boolean): number {
  let flags: number = isPrivate ? mapFlag.private : mapFlag.shared;
  if (mapping.flags.has("dp")) flags = mapFlag.droppable;
  if (["anonymous", "shared-anonymous", "vdso", "vvar", "vsyscall", "sysv"].includes(kind)) flags |= mapFlag.anonymous;
  if (mapping.flags.has("gd")) flags |= mapFlag.growsDown;
  if (mapping.flags.has("lo")) flags |= mapFlag.locked;
  if (mapping.flags.has("nr") && kind === "anonymous") flags |= mapFlag.noReserve;
  if (mapping.flags.has("ht")) flags |= mapFlag.hugeTlb | hugeSizeFlag(mapping.pageKiB * 1024);
  return flags;
}

function vmaOf(mapping: Mapping): Vma {
  const kind = kindOf(mapping);
  const [read, write, execute, share] = mapping.permissions;
  const isPrivate = share !== "s";
  const prot =
    (read === "r" ? protection.read : 0) |
    (write === "w" ? protection.write : 0) |
    (execute === "x" ? protection.execute : 0);
  let advice = 0n;
  for (const [flag, bit] of adviceOf) if (mapping.flags.has(flag)) advice |= 1n << BigInt(bit);
  const flags = flagsOf(kind, mapping, isPrivate);
  const lazy =
    kind === "anonymous" && isPrivate && (flags & (mapFlag.locked | mapFlag.hugeTlb | mapFlag.droppable)) === 0;
  const hasOffset = kind !== "anonymous" && kind !== "vdso" && kind !== "vvar" && kind !== "vsyscall";
  return {
    kind,
    start: mapping.start,
    end: mapping.end,
    protection: prot,
    flags,
    status: statusOf(kind, mapping, isPrivate),
    offset: hasOffset ? mapping.offset : 0,
    advice,
    isPrivate,
    lazy,
    mapping,
  };
}

/** Classifies all mappings of a task, in address order. Adjacent parts of the vvar area become one, as CRIU has it. */
export function classifyMappings(mappings: readonly Mapping[]): Vma[] {
  const vmas: Vma[] = [];
  for (const mapping of mappings) {
    const vma = vmaOf(mapping);
    const last = vmas.at(-1);
    if (vma.kind === "vvar" && last?.kind === "vvar" && last.end === vma.start) {
      vmas[vmas.length - 1] = { ...last, end: vma.end };
    } else {
      vmas.push(vma);
    }
  }
  return vmas;
}

/** Why a mapping cannot be dumped, or undefined. */
export function mappingObstacle(mapping: Mapping): string | undefined {
  const { flags, path } = mapping;
  if (path.startsWith("[v")) return undefined; // vdso, vvar and vsyscall are the kernel's own
  if (flags.has("um") || flags.has("uw") || flags.has("ui")) return "memory registered with a userfaultfd";
  if (flags.has("ht") && !path.startsWith(anonymousHuge) && !path.startsWith("/memfd:"))
    return `huge page memory of a file, ${pathText(path)}`;
  if (flags.has("ss")) return "a shadow stack";
  // Memory that can only be executed gets one from the kernel, also when it is mapped again.
  if (mapping.protectionKey !== 0 && !mapping.permissions.startsWith("--x"))
    return "memory with a protection key (pkeys)";
  if (flags.has("io") || flags.has("pf")) return `device memory ${pathText(path)}`;
  if (path.startsWith("anon_inode:")) return `a mapping of ${pathText(path)}`;
  if (path === "[uprobes]") return "uprobes are planted in it";
  return undefined;
}
