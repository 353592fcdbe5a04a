// What one VMA entry of an image says, in words: protection, kind, name. Bits: mmap(2).
import { FaultlineError } from "../errors";
import type { VmaEntry } from "../images/messages";
import { vmaStatus } from "../images/vmaStatus";
import { PAGE_BYTES } from "../limits";

const protRead = 1;
const protWrite = 2;
const protExec = 4;
const mapShared = 1;
const mapAnonymous = 0x20;
const mapLocked = 0x2000;
const mapHugetlb = 0x40000;

/** What a mapping is, in one word. */
export type MappingKind =
  | "stack"
  | "heap"
  | "vdso"
  | "vvar"
  | "vsyscall"
  | "file"
  | "file-shared"
  | "memfd"
  | "shared"
  | "sysv"
  | "socket"
  | "aio"
  | "shadow-stack"
  | "guard"
  | "uprobes"
  | "anonymous";

// The first that matches: a memfd is also a shared file mapping, a heap also anonymous.
const kinds: readonly (readonly [number, MappingKind])[] = [
  [vmaStatus.guard, "guard"],
  [vmaStatus.vvar, "vvar"],
  [vmaStatus.vdso, "vdso"],
  [vmaStatus.vsyscall, "vsyscall"],
  [vmaStatus.uprobes, "uprobes"],
  [vmaStatus.aioRing, "aio"],
  [vmaStatus.sysvIpc, "sysv"],
  [vmaStatus.socket, "socket"],
  [vmaStatus.shadowStack, "shadow-stack"],
  [vmaStatus.stack, "stack"],
  [vmaStatus.heap, "heap"],
  [vmaStatus.memfd, "memfd"],
  [vmaStatus.filePrivate, "file"],
  [vmaStatus.fileShared, "file-shared"],
  [vmaStatus.anonShared, "shared"],
];

export function mappingKind(vma: VmaEntry): MappingKind {
  return kinds.find(([bit]) => (vma.status & bit) !== 0)?.[1] ?? "anonymous";
}

/** "rw-p", as in /proc/PID/maps (proc(5)). */
export function protectionText(vma: VmaEntry): string {
  const bit = (mask: number, letter: string) => ((vma.prot & mask) !== 0 ? letter : "-");
  return bit(protRead, "r") + bit(protWrite, "w") + bit(protExec, "x") + ((vma.flags & mapShared) !== 0 ? "s" : "p");
}

export function isShared(vma: VmaEntry): boolean {
  return (vma.flags & mapShared) !== 0;
}

/** Whether pages not stored for this VMA are found in a file instead of being zero. */
export function isFileBacked(vma: VmaEntry): boolean {
  return (vma.status & (vmaStatus.filePrivate | vmaStatus.fileShared)) !== 0 && (vma.flags & mapAnonymous) === 0;
}

/** Whether CRIU and Faultline may restore the VMA's pages lazily. */
export function canBeLazy(vma: VmaEntry): boolean {
  const never = vmaStatus.vdso | vmaStatus.vvar | vmaStatus.vsyscall;
  const flags = vma.flags;
  if ((flags & mapShared) !== 0 || (flags & mapAnonymous) === 0) return false;
  return (flags & (mapLocked | mapHugetlb)) === 0 && (vma.status & never) === 0;
}

/** Throws IMAGE_CORRUPT where a VMA has no pages, or bounds that are no page borders. */
export function checkVmas(vmas: readonly VmaEntry[], file: string): void {
  for (const { start, end } of vmas) {
    if (start < end && (start | end) % BigInt(PAGE_BYTES) === 0n) continue;
    throw new FaultlineError("IMAGE_CORRUPT", "a mapping does not start and end at pages, or ends before it starts", {
      file,
      address: start,
    });
  }
}

export const readable = (vma: VmaEntry) => (vma.prot & protRead) !== 0;
export const writable = (vma: VmaEntry) => (vma.prot & protWrite) !== 0;
export const executable = (vma: VmaEntry) => (vma.prot & protExec) !== 0;
