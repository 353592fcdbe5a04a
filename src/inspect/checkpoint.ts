// An image directory as inspection asks of it: what a restore would need as one, with everything optional that a partial or
// damaged image may lack. Not for reading files: src/images.

import { join } from "node:path";
import { FaultlineError } from "../errors";
import { ImageDirectory, type TaskNode } from "../images/directory";
import {
  type CoreEntry,
  FdTypes,
  type FileEntry,
  type MemfdInodeEntry,
  type MmEntry,
  RemapType,
  type TtyInfoEntry,
  type VmaEntry,
} from "../images/messages";
import { vmaStatus } from "../images/vmaStatus";
import type { DescriptorSlot } from "./descriptors";
import type { Memory } from "./memory";
import { checkVmas } from "./vma";

export class Checkpoint implements Disposable {
  private terminals: ReadonlyMap<number, TtyInfoEntry> | undefined;
  private deleted: ReadonlySet<number> | undefined;
  private readonly checked = new Set<number>();
  private queued: ReadonlyMap<number, number> | undefined;

  constructor(readonly directory: ImageDirectory) {}

  static open(path: string): Checkpoint {
    return new Checkpoint(ImageDirectory.open(path));
  }

  get path(): string {
    return this.directory.path;
  }

  /** Every task, in the order of pstree.img: parents before their children. */
  get tasks(): readonly TaskNode[] {
    return this.directory.tasks;
  }

  /** Throws NOT_FOUND. */
  task(pid: number): TaskNode {
    return this.directory.task(pid);
  }

  core(threadId: number): CoreEntry {
    return this.directory.core(threadId);
  }

  /** The address space of a task; undefined for a dead one. */
  mm(pid: number): MmEntry | undefined {
    if (this.task(pid).dead) return undefined;
    const mm = this.directory.mm(pid);
    if (!this.checked.has(pid)) checkVmas(mm.vmas, join(this.path, `mm-${pid}.img`));
    this.checked.add(pid);
    return mm;
  }

  /** The stored pages of a task; empty where it has no pagemap. */
  memory(pid: number): Memory {
    return orMissing(() => this.directory.pageIndex(pid)) ?? emptyMemory;
  }

  /** The pages behind a shared mapping that is in the image (memfd, shared anonymous, SysV), by page of the object. */
  sharedMemory(vma: VmaEntry): Memory | undefined {
    const shmid = this.sharedObject(vma);
    return shmid === undefined || !this.directory.hasShmemPages(shmid)
      ? undefined
      : this.directory.shmemPageIndex(shmid);
  }

  /** The id of the shared memory object that a mapping shows; undefined where it shows none that the image has. */
  sharedObject(vma: VmaEntry): number | bigint | undefined {
    // A memfd's mapping names the open file; that names the inode, and the inode the object with the pages.
    if ((vma.status & vmaStatus.memfd) !== 0) {
      const inode = this.file(Number(vma.shmid), FdTypes.MEMFD)?.memfd?.inode_id;
      return inode === undefined ? undefined : this.memfd(inode)?.shmid;
    }
    return (vma.status & (vmaStatus.anonShared | vmaStatus.sysvIpc)) !== 0 ? vma.shmid : undefined;
  }

  descriptors(pid: number): readonly DescriptorSlot[] {
    return this.task(pid).dead
      ? []
      : this.directory
          .descriptors(pid)
          .map(({ fd, closeOnExec, entry, file }) => ({ fd, closeOnExec, fileId: entry.id, file }));
  }

  file(id: number, type: number): FileEntry | undefined {
    return this.directory.files.find(id, type);
  }

  /** The path of a regular file's record; undefined where there is none. */
  filePath(id: number): string | undefined {
    return this.file(id, FdTypes.REG)?.reg?.name;
  }

  memfd(inodeId: number): MemfdInodeEntry | undefined {
    return this.directory.memoryFiles.find((inode) => inode.inode_id === BigInt(inodeId));
  }

  terminal(id: number): TtyInfoEntry | undefined {
    this.terminals ??= new Map(this.directory.messages("TTY_INFO", "tty-info.img").map((info) => [info.id, info]));
    return this.terminals.get(id);
  }

  /** Ids of regular files whose path was gone at the dump: their content is in a ghost file or behind a link. */
  get deletedFiles(): ReadonlySet<number> {
    this.deleted ??= new Set(
      this.directory
        .messages("REMAP_FPATH", "remap-fpath.img")
        .filter((remap) => remap.remap_type !== RemapType.PROCFS)
        .map((remap) => remap.orig_id),
    );
    return this.deleted;
  }

  pipeBytes(pipeId: number): number {
    return this.directory.pipeBytes(pipeId)?.length ?? 0;
  }

  /** Bytes of the packets that wait at the socket with that file id. */
  socketBytes(fileId: number): number {
    this.queued ??= this.queueLengths();
    return this.queued.get(fileId) ?? 0;
  }

  private queueLengths(): Map<number, number> {
    const lengths = new Map<number, number>();
    for (const packet of this.directory.messages("SK_QUEUES", "sk-queues.img")) {
      lengths.set(packet.id_for, (lengths.get(packet.id_for) ?? 0) + packet.length);
    }
    return lengths;
  }

  [Symbol.dispose](): void {
    this.directory.close();
  }
}

const emptyMemory: Memory = { pieces: () => [] };

function orMissing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "IMAGE_MISSING") return undefined;
    throw error;
  }
}
