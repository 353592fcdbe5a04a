// Every mapping of a task: what it is, and what of it the image holds. Not for printing: textMaps.ts, html*.ts.

import { FdTypes, type MmEntry, type VmaEntry } from "../images/messages";
import type { PagePiece } from "../images/pageIndex";
import { vmaStatus } from "../images/vmaStatus";
import { PAGE_BYTES } from "../limits";
import { Analyzer, type EntropyClass, entropyClassOf, type PageStatistics, type PieceVisitor } from "./analysis";
import type { Checkpoint } from "./checkpoint";
import type { Memory } from "./memory";
import { memorySizes } from "./tasks";
import { canBeLazy, isFileBacked, isShared, type MappingKind, mappingKind, protectionText } from "./vma";

export interface Mapping {
  /** Byte addresses; page aligned, so exact. */
  readonly start: number;
  readonly end: number;
  /** "rw-p", as in /proc/PID/maps. */
  readonly protection: string;
  readonly kind: MappingKind;
  /** Offset in the file or object, bytes. */
  readonly offset: number;
  /** A path, "[heap]", "[stack]", "[stack:TID]", or "" for plain anonymous memory. */
  readonly name: string;
  readonly pageCount: number;
  /** Whether what is not stored is found in a file (else it is zero). */
  readonly fileBacked: boolean;
  readonly shared: boolean;
  /** The shared memory object that it shows, if any: one object, however many mappings show it. */
  readonly sharedObject: string | undefined;
  readonly canBeLazy: boolean;
  readonly statistics: PageStatistics;
  /** Whether every stored page was looked at; else zero, entropy and packed size are projected from a sample. */
  readonly exact: boolean;
  /** Stored pages that are all zero. */
  readonly zeroPages: number;
  /** Bytes that the stored pages take packed, and that as a share of their size: 0.25 is a quarter. */
  readonly packedBytes: number;
  readonly ratio: number | undefined;
  readonly entropy: EntropyClass | undefined;
}

export interface TaskMappings {
  readonly pid: number;
  readonly command: string;
  readonly mappings: readonly Mapping[];
}

/** How much is read at most to say what pages look like, unless all of it was asked for: 1 GiB per task. */
export const samplePagesMax = 262_144;
/** Mappings this small are always looked at as a whole. */
const wholePagesMax = 256;

export interface MappingOptions {
  /** Look at every page, however many there are. */
  readonly exact?: boolean;
  /** Told of every piece, with its mapping's index. */
  readonly visit?: (mapping: number, piece: PagePiece, classes: Uint8Array | undefined) => void;
}

/** The mappings of one task, in address order as the image has them; none for a dead task. */
export function taskMappings(checkpoint: Checkpoint, pid: number, options: MappingOptions = {}): TaskMappings {
  const command = checkpoint.core(pid).tc?.comm ?? "?";
  const mm = checkpoint.mm(pid);
  if (mm === undefined) return { pid, command, mappings: [] };
  const memory = checkpoint.memory(pid);
  const stored = memorySizes(memory).pages;
  const stride = options.exact === true ? 1 : Math.max(1, Math.ceil(stored / samplePagesMax));
  const stacks = stackPointers(checkpoint, pid);
  const analyzer = new Analyzer();
  const mappings = mm.vmas.map((vma, index) => {
    const visit: PieceVisitor | undefined =
      options.visit === undefined ? undefined : (piece, classes) => options.visit?.(index, piece, classes);
    const base = describeVma(checkpoint, mm, vma, stacks);
    const pages = storedPages(checkpoint, memory, vma);
    const few = base.pageCount <= wholePagesMax;
    return measured(base, analyzer, pages, few ? 1 : stride, visit);
  });
  return { pid, command, mappings };
}

type VmaFacts = Omit<Mapping, "statistics" | "exact" | "zeroPages" | "packedBytes" | "ratio" | "entropy">;

function measured(
  base: VmaFacts,
  analyzer: Analyzer,
  pages: Memory,
  stride: number,
  visit: PieceVisitor | undefined,
): Mapping {
  const options = visit === undefined ? { stride } : { stride, visit };
  const statistics = analyzer.analyze(pages, base.start / PAGE_BYTES, base.pageCount, options);
  const { present, parent, measured: seen } = statistics;
  const scale = seen === 0 ? 0 : (present + parent) / seen;
  return {
    ...base,
    statistics,
    exact: seen === present + parent,
    zeroPages: Math.round(statistics.byClass[0]! * scale),
    packedBytes: Math.round(statistics.packedBytes * scale),
    ratio: seen === 0 ? undefined : statistics.packedBytes / (seen * PAGE_BYTES),
    entropy: entropyClassOf(statistics),
  };
}

export function describeVma(
  checkpoint: Checkpoint,
  mm: MmEntry,
  vma: VmaEntry,
  stacks: readonly StackPointer[],
): VmaFacts {
  const start = Number(vma.start);
  const end = Number(vma.end);
  const owner = stacks.find(({ pointer }) => pointer >= vma.start && pointer < vma.end);
  const isStack = mm.mm_start_stack >= vma.start && mm.mm_start_stack < vma.end;
  const kind = isStack ? "stack" : mappingKind(vma);
  return {
    start,
    end,
    protection: protectionText(vma),
    kind,
    offset: Number(vma.pgoff),
    name: isStack ? "[stack]" : mappingName(checkpoint, vma, kind, owner),
    pageCount: (end - start) / PAGE_BYTES,
    fileBacked: isFileBacked(vma) && (vma.status & vmaStatus.memfd) === 0,
    shared: isShared(vma),
    sharedObject: isShared(vma) ? checkpoint.sharedObject(vma)?.toString() : undefined,
    canBeLazy: canBeLazy(vma),
  };
}

function mappingName(
  checkpoint: Checkpoint,
  vma: VmaEntry,
  kind: MappingKind,
  owner: StackPointer | undefined,
): string {
  switch (kind) {
    case "file":
    case "file-shared":
      return filePath(checkpoint, vma) ?? `file ${vma.shmid}`;
    case "memfd": {
      const inode = checkpoint.file(Number(vma.shmid), FdTypes.MEMFD)?.memfd?.inode_id;
      const name = inode === undefined ? undefined : checkpoint.memfd(inode)?.name;
      // The kernel makes shared anonymous memory a file of that name on tmpfs; CRIU dumps it as a memfd.
      return name === "/dev/zero" ? "/dev/zero (deleted)" : `/memfd:${name ?? "?"} (deleted)`;
    }
    case "anonymous":
      return owner === undefined ? "" : `[stack:${owner.threadId}]`;
    case "shared":
      return "/dev/zero (deleted)";
    case "sysv":
      return `/SYSV${vma.shmid.toString(16).padStart(8, "0")}`;
    default:
      return `[${kind}]`;
  }
}

function filePath(checkpoint: Checkpoint, vma: VmaEntry): string | undefined {
  const id = Number(vma.shmid);
  const name = checkpoint.filePath(id);
  return name === undefined || !checkpoint.deletedFiles.has(id) ? name : `${name} (deleted)`;
}

/** What is stored for a VMA, by its own addresses: its private pages, or those of the shared object behind it. */
export function storedPages(checkpoint: Checkpoint, memory: Memory, vma: VmaEntry): Memory {
  const object = isShared(vma) ? checkpoint.sharedMemory(vma) : undefined;
  if (object === undefined) return memory;
  const shift = Number(vma.start - vma.pgoff) / PAGE_BYTES;
  return {
    *pieces(firstPage, endPage) {
      for (const piece of object.pieces(firstPage - shift, endPage - shift)) {
        yield { ...piece, firstPage: piece.firstPage + shift };
      }
    },
  };
}

export interface StackPointer {
  readonly threadId: number;
  readonly pointer: bigint;
}

/** Where each thread but the leader has its stack pointer: names the mappings that are thread stacks. */
export function stackPointers(checkpoint: Checkpoint, pid: number): StackPointer[] {
  return checkpoint.task(pid).threads.flatMap((threadId) => {
    const pointer = checkpoint.core(threadId).thread_info?.gpregs.sp;
    return pointer === undefined ? [] : [{ threadId, pointer }];
  });
}
