// An image directory: a checkpoint as its files say it, read when asked and kept. What the files mean for a restore or for
// a reader is for other rooms. No name in an image is ever used as a path: file names are made of numbers, links are not
// followed except for `parent`.
import { readdirSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { FaultlineError } from "../errors";
import { PARENT_CHAIN_MAX } from "../limits";
import { KEPT_PREFIX } from "./criuPagemap";
import { FileGroup, type FileIdentity, findIdentity, identityOf, isFresh, isSameIdentity } from "./fileIdentity";
import { FileTable } from "./fileTable";
import type { ImageKind } from "./formats";
import { decodeImageOf, type Image, readImageFile } from "./framing";
import type {
  CoreEntry,
  FdinfoEntry,
  FileEntry,
  FsEntry,
  InventoryEntry,
  MemfdInodeEntry,
  MmEntry,
  TaskKobjIdsEntry,
  VmaEntry,
} from "./messages";
import { fileError } from "./openFile";
import type { PackedIndex } from "./packedIndex";
import { PageIndex } from "./pageIndex";
import { decodePagemap, type Pagemap } from "./pagemap";
import { openPackedPages, openRawPages, type PagesFile } from "./pagesFile";

/** Newest img_version that this version reads; 3 is for compressed images of later CRIUs. */
const IMAGE_VERSION_MAX = 2;

/** Values of task_core_entry.task_state. */
export const TaskState = { Alive: 1, Dead: 2, Stopped: 3, Zombie: 6 } as const;

/** One task of the tree. Pids are those of its own pid namespace. */
export interface TaskNode {
  readonly pid: number;
  /** 0 for the root. */
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  /** Thread ids, the leader's first; only the leader's for a dead task. */
  readonly threads: readonly number[];
  /** A zombie: it has a core with an exit code and nothing else. */
  readonly dead: boolean;
  readonly children: readonly TaskNode[];
}

/** One open descriptor. `file` is undefined where the image lacks it, which verify reports. */
export interface Descriptor {
  readonly fd: number;
  readonly closeOnExec: boolean;
  readonly entry: FdinfoEntry;
  readonly file: FileEntry | undefined;
}

const CLOSE_ON_EXEC = 1;

export class ImageDirectory implements Disposable {
  private readonly images = new Map<string, Image | undefined>();
  private readonly indexes = new Map<string, PageIndex | undefined>();
  /** Outlive close(): a directory that is used again need not be decoded again. */
  private readonly pagemaps = new Map<string, Pagemap>();
  /** The indexes of packed pages files, likewise, and what their files were. */
  private readonly packedIndexes = new Map<number, { readonly index: PackedIndex; readonly of: FileIdentity }>();
  private readonly pagesFiles = new Map<number, PagesFile>();
  private parentDirectory: ImageDirectory | undefined | null = null;
  private treeNodes: readonly TaskNode[] | undefined;
  private fileTable: FileTable | undefined;
  private entryNames: readonly string[] | undefined;
  private nameSet: ReadonlySet<string> | undefined;
  private readonly identities = new Map<string, FileIdentity>();
  /** The same but for the directory, to be looked at together; undefined where one was added since. */
  private identityGroup: FileGroup | undefined;
  private settled = true;

  private constructor(
    /** Absolute, without links. */
    readonly path: string,
    private readonly depth: number,
  ) {}

  /** Opens a directory. Nothing but the inventory is read. Throws NOT_FOUND, IMAGE_MISSING, IMAGE_UNSUPPORTED. */
  static open(path: string): ImageDirectory {
    const directory = new ImageDirectory(resolveDirectory(path), 0);
    directory.checkVersion();
    return directory;
  }

  /** The absolute path without links. Throws NOT_FOUND, IMAGE_MISSING. */
  static resolve(path: string): string {
    return resolveDirectory(path);
  }

  /** inventory.img. */
  get inventory(): InventoryEntry {
    return this.image("INVENTORY", "inventory.img").records[0]!.message;
  }

  /** Names of all entries of the directory, sorted, as they were when first asked. Throws PERMISSION or SYSTEM. */
  names(): readonly string[] {
    try {
      if (this.entryNames === undefined) {
        this.note(this.path);
        this.entryNames = readdirSync(this.path).sort();
      }
    } catch (cause) {
      throw fileError(cause, "the image directory cannot be read", this.path);
    }
    return this.entryNames;
  }

  /** Whether the directory has an entry of this name. */
  has(name: string): boolean {
    this.nameSet ??= new Set(this.names());
    return this.nameSet.has(name);
  }

  /** The tasks without parents in the image: normally one. */
  get roots(): readonly TaskNode[] {
    const pids = new Set(this.tasks.map((task) => task.pid));
    return this.tasks.filter((task) => !pids.has(task.ppid));
  }

  /** All tasks in the order of pstree.img, parents before children. */
  get tasks(): readonly TaskNode[] {
    this.treeNodes ??= this.readTree();
    return this.treeNodes;
  }

  /** One task. Throws NOT_FOUND. */
  task(pid: number): TaskNode {
    const found = this.tasks.find((task) => task.pid === pid);
    if (found !== undefined) return found;
    throw new FaultlineError("NOT_FOUND", `no task ${pid} in this image`, {
      file: this.path,
      advice: `it has ${this.tasks.map((task) => task.pid).join(", ")}`,
    });
  }

  /** core-TID.img; only the core of a leader carries `tc`. */
  core(tid: number): CoreEntry {
    return this.image("CORE", `core-${id(tid)}.img`).records[0]!.message;
  }

  /** Which kernel objects a task uses: ids-PID.img, or what its core says. Undefined for a dead task. */
  ids(pid: number): TaskKobjIdsEntry | undefined {
    return this.optionalImage("IDS", `ids-${id(pid)}.img`)?.records[0]?.message ?? this.core(pid).ids;
  }

  /** The task whose images hold a task's memory: itself, or one that it shares its memory with (CLONE_VM). */
  memoryOwner(pid: number): number {
    if (this.has(`mm-${id(pid)}.img`) || this.has(`pagemap-${pid}.img`)) return pid;
    const memory = this.ids(pid)?.vm_id;
    if (memory === undefined) return pid;
    const owns = (other: number): boolean => this.has(`mm-${other}.img`) && this.ids(other)?.vm_id === memory;
    return this.tasks.find((task) => owns(task.pid))?.pid ?? pid;
  }

  /** mm-PID.img, with the VMAs of vmas-PID.img in images old enough to have one. Throws IMAGE_MISSING for a dead task. */
  mm(pid: number): MmEntry {
    const owner = this.memoryOwner(pid);
    const mm = this.image("MM", `mm-${owner}.img`).records[0]!.message;
    if (mm.vmas.length > 0) return mm;
    const vmas = this.optionalImage("VMAS", `vmas-${owner}.img`);
    return vmas === undefined ? mm : { ...mm, vmas: vmas.records.map((record) => record.message) };
  }

  /** The task's mappings as dumped: by address, then guard ranges (status bit 16), which lie inside others. */
  vmas(pid: number): readonly VmaEntry[] {
    return this.mm(pid).vmas;
  }

  /** fs-PID.img. */
  fs(pid: number): FsEntry {
    return this.image("FS", `fs-${id(pid)}.img`).records[0]!.message;
  }

  /** The task's descriptors in the order of the image. None for a dead task. */
  descriptors(pid: number): readonly Descriptor[] {
    const ids = this.ids(pid);
    const perId = this.inventory.fdinfo_per_id === true;
    if (perId && ids === undefined) return [];
    const image = this.optionalImage("FDINFO", `fdinfo-${perId ? ids!.files_id : id(pid)}.img`);
    return (image?.records ?? []).map(({ message: entry }) => ({
      fd: entry.fd,
      closeOnExec: (entry.flags & CLOSE_ON_EXEC) !== 0,
      entry,
      file: this.files.find(entry.id, entry.type),
    }));
  }

  /** Every file of files.img, or of the one image per type that older CRIUs wrote. */
  get files(): FileTable {
    this.fileTable ??= FileTable.read(this);
    return this.fileTable;
  }

  /** memfd.img: memory files and shared anonymous memory of their kind. */
  get memoryFiles(): readonly MemfdInodeEntry[] {
    return this.messages("MEMFD_INODE", "memfd.img");
  }

  /** What is in flight in a pipe (or in a FIFO); undefined where nothing was. */
  pipeBytes(pipeId: number): Buffer | undefined {
    for (const [kind, name] of [
      ["PIPES_DATA", "pipes-data.img"],
      ["FIFO_DATA", "fifo-data.img"],
    ] as const) {
      const found = this.optionalImage(kind, name)?.records.find((record) => record.message.pipe_id === pipeId);
      if (found?.payload?.kind === "bytes") return found.payload.bytes;
    }
    return undefined;
  }

  /** The page index of a task's address space. Throws IMAGE_MISSING where the task has no pagemap. */
  pageIndex(pid: number): PageIndex {
    return this.requiredIndex(`pagemap-${this.memoryOwner(pid)}.img`);
  }

  /** The page index of a shared memory object or memory file, whose pages count from 0. */
  shmemPageIndex(shmid: number | bigint): PageIndex {
    return this.requiredIndex(`pagemap-shmem-${shmemId(shmid)}.img`);
  }

  /** Whether the object has any page in this image. */
  hasShmemPages(shmid: number | bigint): boolean {
    return this.index(`pagemap-shmem-${shmemId(shmid)}.img`) !== undefined;
  }

  /** The directory that the link `parent` leads to: what an incremental dump builds on. */
  get parent(): ImageDirectory | undefined {
    if (this.parentDirectory === null) this.parentDirectory = this.openParent();
    return this.parentDirectory;
  }

  /** An image of this directory. Throws IMAGE_MISSING, or what decoding throws. */
  image<K extends ImageKind>(kind: K, name: string): Image<K> {
    const image = this.optionalImage(kind, name);
    if (image !== undefined) return image;
    throw new FaultlineError("IMAGE_MISSING", "an image is missing", { file: join(this.path, name) });
  }

  /** Like image(), with undefined for a file that is not there: CRIU writes no image that would have no record. */
  optionalImage<K extends ImageKind>(kind: K, name: string): Image<K> | undefined {
    if (!this.images.has(name)) {
      const file = join(this.path, name);
      const image = this.has(name) ? decodeImageOf(kind, this.read(file), file) : undefined;
      this.images.set(name, image as unknown as Image | undefined);
    }
    return this.images.get(name) as Image<K> | undefined;
  }

  /** The messages of an image that may be missing. */
  messages<K extends ImageKind>(kind: K, name: string): Image<K>["records"][number]["message"][] {
    return (this.optionalImage(kind, name)?.records ?? []).map((record) => record.message);
  }

  /**
   * Whether everything that was read of this directory is still what it was: false also where that cannot be told, because
   * a file changed as it was read, or there is a parent directory.
   */
  isUnchanged(): boolean {
    if (!this.settled || this.has("parent")) return false;
    this.identityGroup ??= new FileGroup([...this.identities].filter(([file]) => file !== this.path));
    return this.identityGroup.isUnchanged() && this.hasSameImages();
  }

  /** Others write their logs and sockets there: that is no other image. */
  private hasSameImages(): boolean {
    const before = this.identities.get(this.path);
    const now = findIdentity(this.path);
    if (now === undefined || before === undefined || now[0] !== before[0] || now[1] !== before[1]) return false;
    if (isSameIdentity(now, before)) return true;
    const images = (names: readonly string[]): string => names.filter(isImageName).sort().join("/");
    try {
      if (images(readdirSync(this.path)) !== images(this.names())) return false;
    } catch {
      return false; // opening it again says why
    }
    // A change since this one shows again, unless it is too fresh to tell.
    if (!isFresh(now)) this.identities.set(this.path, now);
    return true;
  }

  private read(file: string): Buffer {
    return readImageFile(file, (stats) => this.keep(file, identityOf(stats)));
  }

  /** Before a file is read: a change after that shows. */
  private note(file: string): void {
    const identity = this.identities.has(file) ? undefined : findIdentity(file);
    if (identity !== undefined) this.keep(file, identity);
  }

  private keep(file: string, identity: FileIdentity): void {
    if (this.identities.has(file)) return;
    this.identities.set(file, identity);
    this.identityGroup = undefined;
    if (isFresh(identity)) this.settled = false;
  }

  /** Closes all pages files: blocks that were looked up must not be read any more. What is asked for next opens them again. */
  close(): void {
    for (const pages of this.pagesFiles.values()) pages.close();
    this.pagesFiles.clear();
    this.indexes.clear();
    if (this.parentDirectory !== null) this.parentDirectory?.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private checkVersion(): void {
    const version = this.inventory.img_version;
    const file = join(this.path, "inventory.img");
    if (version === 0) throw new FaultlineError("IMAGE_CORRUPT", "img_version 0", { file });
    if (version <= IMAGE_VERSION_MAX) return;
    throw new FaultlineError("IMAGE_UNSUPPORTED", `img_version ${version} is not known`, {
      file,
      advice: "this image is of a newer CRIU; versions 1 and 2 can be read",
    });
  }

  private readTree(): readonly TaskNode[] {
    const nodes = new Map<number, TaskNode & { readonly children: TaskNode[] }>();
    for (const { message } of this.image("PSTREE", "pstree.img").records) {
      const { pid, ppid, pgid, sid } = message;
      if (nodes.has(pid)) {
        throw new FaultlineError("IMAGE_CORRUPT", `task ${pid} is in the tree twice`, {
          file: join(this.path, "pstree.img"),
        });
      }
      const state = this.core(pid).tc?.task_state;
      const dead = state === TaskState.Dead || state === TaskState.Zombie;
      // CRIU leaves the thread list of a zombie uninitialised.
      const threads = dead ? [pid] : message.threads;
      nodes.set(pid, { pid, ppid, pgid, sid, threads, dead, children: [] });
    }
    for (const node of nodes.values()) nodes.get(node.ppid)?.children.push(node);
    return [...nodes.values()];
  }

  private openParent(): ImageDirectory | undefined {
    if (!this.has("parent")) return undefined;
    const link = join(this.path, "parent");
    const path = resolveDirectory(link);
    if (this.depth >= PARENT_CHAIN_MAX || path === this.path) {
      throw new FaultlineError("IMAGE_CORRUPT", "the chain of parent images does not end", { file: link });
    }
    const parent = new ImageDirectory(path, this.depth + 1);
    parent.checkVersion();
    return parent;
  }

  private requiredIndex(name: string): PageIndex {
    const index = this.index(name);
    if (index !== undefined) return index;
    throw new FaultlineError("IMAGE_MISSING", "an image is missing", { file: join(this.path, name) });
  }

  private index(name: string): PageIndex | undefined {
    if (!this.indexes.has(name)) {
      const sources = { pages: (pagesId: number) => this.pages(pagesId), parent: () => this.parent?.index(name) };
      this.indexes.set(name, this.has(name) ? new PageIndex(this.pagemap(name), sources) : undefined);
    }
    return this.indexes.get(name);
  }

  private pagemap(name: string): Pagemap {
    const known = this.pagemaps.get(name);
    if (known !== undefined) return known;
    // In a directory packed for CRIU, the pagemap that says where all pages are is the one that was kept.
    const kept = KEPT_PREFIX + name;
    const file = join(this.path, this.has(kept) ? kept : name);
    const pagemap = decodePagemap(this.read(file), file);
    this.pagemaps.set(name, pagemap);
    return pagemap;
  }

  private pages(pagesId: number): PagesFile {
    const known = this.pagesFiles.get(pagesId);
    if (known !== undefined) return known;
    const packed = this.has(`pagez-${pagesId}.img`);
    const file = join(this.path, packed ? `pagez-${pagesId}.img` : `pages-${pagesId}.img`);
    this.note(file);
    const pages = packed ? this.openPacked(pagesId, file) : openRawPages(file);
    this.pagesFiles.set(pagesId, pages);
    return pages;
  }

  /** A large index takes longer to decode than all else of a restore. */
  private openPacked(pagesId: number, file: string): PagesFile {
    const now = findIdentity(file);
    const known = this.packedIndexes.get(pagesId);
    const same = known !== undefined && now !== undefined && isSameIdentity(now, known.of);
    const pages = openPackedPages(file, same ? known.index : undefined);
    if (now !== undefined && !isFresh(now)) this.packedIndexes.set(pagesId, { index: pages.index, of: now });
    return pages;
  }
}

/** What is read of a directory by its name, or changes what is read; see has(). */
function isImageName(name: string): boolean {
  return name.endsWith(".img") || name === "parent";
}

function resolveDirectory(path: string): string {
  try {
    const real = realpathSync.native(path);
    if (!statSync(real).isDirectory()) throw new FaultlineError("NOT_FOUND", "not a directory", { file: path });
    return real;
  } catch (cause) {
    if (cause instanceof FaultlineError) throw cause;
    throw new FaultlineError("IMAGE_MISSING", "no such image directory", { file: path, cause });
  }
}

/** A pid or thread id that goes into a file name. */
function id(value: number): number {
  if (!Number.isInteger(value) || value < 0) throw new TypeError(`${value} is no task id`);
  return value;
}

/** A shared memory id that goes into a file name: CRIU prints it as a signed 64-bit number. */
function shmemId(shmid: number | bigint): string {
  return BigInt(shmid).toString();
}
