// mm-PID.img: the layout of one address space and the files mapped into it. The pages are memory.ts's.

import { closeSync, openSync } from "node:fs";
import { checked } from "../../errors";
import type { Init } from "../../images/message";
import type { AioRingEntry, MmEntry, VmaEntry } from "../../images/messages";
import { vmaStatus } from "../../images/vmaStatus";
import { native } from "../../native";
import { mapFlag } from "../constants";
import { procLinkMode, readProcBytes } from "../proc";
import type { MemoryFiles } from "./descriptors/memoryFiles";
import type { FilesTables } from "./filesTable";
import type { FrozenTask } from "./freeze";
import type { PageRegion } from "./memory";
import { heldFile, type RegularFiles } from "./regularFiles";
import type { Segments } from "./segments";
import type { TaskState } from "./taskState";
import type { Vma } from "./vmas";

const getSeals = 1034;
const ownerRead = 0o400;
const ownerWrite = 0o200;

export interface SharedObject {
  readonly path: string;
  readonly pid: number;
}

export interface SpaceFiles {
  readonly regular: RegularFiles;
  readonly memory: MemoryFiles;
  readonly segments: Segments;
  readonly tables: FilesTables;
  /** Nameless shared memory by shmid; filled here. */
  readonly shared: Map<number, SharedObject>;
}

function rangeName(vma: Vma): string {
  return `map_files/${vma.mapping.start.toString(16)}-${vma.mapping.end.toString(16)}`;
}

/** How the mapped file was opened, as the permissions of the magic link tell. */
function openedAs(pid: number, name: string): number {
  const mode = procLinkMode(pid, name);
  if ((mode & ownerWrite) === 0) return 0;
  return (mode & ownerRead) === 0 ? 1 : 2;
}

function seals(pid: number, name: string): number {
  const fd = openSync(`/proc/${pid}/${name}`, "r");
  try {
    return Math.max(0, native.fcntlNumber(fd, getSeals, 0));
  } finally {
    closeSync(fd);
  }
}

function vmaEntry(pid: number, vma: Vma, files: SpaceFiles): Init<VmaEntry> {
  const base = {
    start: vma.start,
    end: vma.end,
    pgoff: BigInt(vma.offset),
    shmid: 0n,
    prot: vma.protection,
    flags: vma.flags,
    status: vma.status,
    fd: -1n,
    madv: vma.advice === 0n ? undefined : vma.advice,
    lock_on_fault: vma.mapping.flags.has("lf") ? true : undefined,
    // The kernel's own mappings are sealed again by itself, where it does that.
    sealed: vma.mapping.flags.has("sl") && !vma.mapping.path.startsWith("[v") ? true : undefined,
  };
  const name = rangeName(vma);
  switch (vma.kind) {
    case "file-private":
    case "file-shared": {
      const fdflags = openedAs(pid, name);
      return { ...base, shmid: BigInt(files.regular.mapped(heldFile(pid, name), fdflags)), fdflags };
    }
    case "memfd": {
      const fdflags = openedAs(pid, name);
      return { ...base, shmid: BigInt(files.memory.mapped(heldFile(pid, name), fdflags, seals(pid, name))), fdflags };
    }
    case "socket":
      return { ...base, shmid: BigInt(files.tables.idOfSocket(pid, vma.mapping.inode)), fdflags: openedAs(pid, name) };
    case "sysv": {
      files.segments.attached(vma.mapping.inode, pid, `/proc/${pid}/${name}`); // the inode's number is the segment's id
      return { ...base, shmid: BigInt(vma.mapping.inode), fdflags: openedAs(pid, name) };
    }
    case "shared-anonymous": {
      if (files.memory.isOpen(vma.mapping.inode)) {
        const fdflags = openedAs(pid, name);
        const shmid = BigInt(files.memory.mapped(heldFile(pid, name), fdflags, seals(pid, name)));
        const status = vmaStatus.regular | vmaStatus.memfd | vmaStatus.fileShared;
        return { ...base, shmid, fdflags, status, flags: vma.flags & ~mapFlag.anonymous };
      }
      if (!files.shared.has(vma.mapping.inode))
        files.shared.set(vma.mapping.inode, { path: `/proc/${pid}/${name}`, pid });
      return { ...base, shmid: BigInt(vma.mapping.inode) };
    }
    default:
      return base;
  }
}

/** The auxiliary vector without its end mark (getauxval(3)). */
function auxiliaryVector(pid: number): bigint[] {
  const bytes = readProcBytes(pid, "auxv");
  const words = Array.from({ length: Math.floor(bytes.length / 8) }, (_, index) => bytes.readBigUInt64LE(index * 8));
  while (words.length >= 2 && words.at(-1) === 0n && words.at(-2) === 0n) words.length -= 2;
  return words;
}

function guardEntries(vmas: readonly Vma[], guards: readonly PageRegion[]): Init<VmaEntry>[] {
  return guards.map((guard) => {
    const inside = vmas.find((vma) => Number(vma.start) <= guard.start && guard.end <= Number(vma.end));
    return {
      start: BigInt(guard.start),
      end: BigInt(guard.end),
      pgoff: 0n,
      shmid: 0n,
      prot: inside?.protection ?? 0,
      flags: inside?.flags ?? 0,
      status: vmaStatus.guard,
      fd: -1n,
    };
  });
}

const ringSizeOffset = 4; // struct aio_ring, fs/aio.c

/** The ring tells how many events fit: two for each request, and two. */
function aioContext(pid: number, { start, end }: Vma): Init<AioRingEntry> {
  const size = new Uint32Array(1);
  checked(native.vmRead(pid, Number(start) + ringSizeOffset, size), "process_vm_readv", "an AIO ring cannot be read", {
    pid,
  });
  return { id: start, nr_req: Math.floor(((size[0] as number) - 2) / 2), ring_len: Number(end - start) };
}

export function spaceImage(
  task: FrozenTask,
  state: TaskState,
  vmas: readonly Vma[],
  guards: readonly PageRegion[],
  files: SpaceFiles,
): Init<MmEntry> {
  const { pid, stat } = task;
  return {
    mm_start_code: stat.startCode,
    mm_end_code: stat.endCode,
    mm_start_data: stat.startData,
    mm_end_data: stat.endData,
    mm_start_stack: stat.startStack,
    mm_start_brk: stat.startBrk,
    mm_brk: state.brk,
    mm_arg_start: stat.argStart,
    mm_arg_end: stat.argEnd,
    mm_env_start: stat.envStart,
    mm_env_end: stat.envEnd,
    exe_file_id: files.regular.mapped(heldFile(pid, "exe"), 0),
    mm_saved_auxv: auxiliaryVector(pid),
    vmas: [...vmas.map((vma) => vmaEntry(pid, vma, files)), ...guardEntries(vmas, guards)],
    dumpable: state.dumpable,
    thp_disabled: state.thpDisabled,
    aios: vmas.flatMap((vma) => (vma.kind === "aio" ? [aioContext(pid, vma)] : [])),
  };
}
