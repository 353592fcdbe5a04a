// Files with a path: descriptors, mapped files, working directories and executables as reg_file entries, and deleted
// ones as ghost files. Checks that the path still leads to the very file.
import { type BigIntStats, closeSync, lstatSync, openSync, readlinkSync, readSync, statSync } from "node:fs";
import { basename } from "node:path";
import { checked, FaultlineError } from "../../errors";
import type { Init } from "../../images/message";
import { type FownEntry, RemapType } from "../../images/messages";
import { native } from "../../native";
import { pathText } from "../proc";
import { buildId } from "./buildId";
import type { ImageSet } from "./imageSet";
import type { RemapLinks } from "./linkRemap";
import { modeType, noOwner, OpenFile } from "./openFile";

const deleted = " (deleted)";

/** A file that a task holds by some /proc link. */
export interface HeldFile {
  /** /proc/PID/fd/N and the like: opens the very file, deleted or not. */
  readonly procPath: string;
  /** What the link says, with " (deleted)". */
  readonly link: string;
  readonly stat: BigIntStats;
  readonly pid: number;
}

export function heldFile(pid: number, name: string): HeldFile {
  const procPath = `/proc/${pid}/${name}`;
  try {
    return { procPath, pid, link: readlinkSync(procPath), stat: statSync(procPath, { bigint: true }) };
  } catch (cause) {
    const gone = ["ENOENT", "ESRCH"].includes((cause as NodeJS.ErrnoException).code ?? "");
    const code = gone ? "NOT_FOUND" : "SYSTEM";
    throw new FaultlineError(code, "a file of the task cannot be looked at", { pid, file: procPath, cause });
  }
}

/** Whether the path leads to the held file itself; "replaced" where it leads to another, "deleted" where to none. */
export function pathState(held: HeldFile): "present" | "replaced" | "deleted" {
  const path = held.link;
  try {
    const stat = lstatSync(path, { bigint: true });
    if (stat.dev === held.stat.dev && stat.ino === held.stat.ino) return "present";
    if (!path.endsWith(deleted)) return "replaced";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" && (error as NodeJS.ErrnoException).code !== "ENOTDIR")
      throw error;
  }
  return "deleted";
}

export function pathWithoutMark(link: string): string {
  return link.endsWith(deleted) ? link.slice(0, -deleted.length) : link;
}

/** The pid of a process that has ended, of a file of its folder in /proc. */
export function deadProcess({ link, stat }: HeldFile): number | undefined {
  const pid = /^\/proc\/(\d+)/.exec(link)?.[1];
  return pid !== undefined && stat.dev === statSync("/proc", { bigint: true }).dev ? Number(pid) : undefined;
}

/** A regular file without the name that it was opened by, which has another one somewhere (a hard link). */
export function hasOtherName(stat: BigIntStats): boolean {
  return (Number(stat.mode) & modeType.mask) === modeType.regular && stat.nlink > 0n;
}

export interface RegularFileOptions {
  readonly flags: number;
  readonly position: bigint;
  readonly owner?: Init<FownEntry>;
  /** The descriptor has a lease on the file (fcntl(2)). */
  readonly leased?: boolean;
}

/** Writes reg_file entries and ghost files; knows which deleted file has which ghost. */
export class RegularFiles {
  readonly #images: ImageSet;
  readonly #ghostLimit: number;
  readonly #links: RemapLinks;
  readonly #ghosts = new Map<string, number>();
  readonly #linked = new Map<string, number>();
  readonly #mapped = new Map<string, number>();

  constructor(images: ImageSet, ghostLimitBytes: number, links: RemapLinks) {
    this.#images = images;
    this.#links = links;
    this.#ghostLimit = ghostLimitBytes;
  }

  /** Adds the file and returns its id. */
  add(held: HeldFile, options: RegularFileOptions): number {
    const id = this.#images.newFileId();
    this.addAs(id, held, options);
    return id;
  }

  /** Adds the name alone, of what is not opened by it: whether it leads there does not matter. */
  addName({ link, stat }: HeldFile, { flags, position }: RegularFileOptions): number {
    const id = this.#images.newFileId();
    const reg = { id, flags, pos: position, fown: noOwner, name: pathWithoutMark(link), mode: Number(stat.mode) };
    this.#images.addFile("REG", { id, reg });
    return id;
  }

  addAs(id: number, held: HeldFile, options: RegularFileOptions): void {
    const state = pathState(held);
    const { stat } = held;
    const mode = Number(stat.mode);
    const isRegular = (mode & modeType.mask) === modeType.regular;
    if (state === "replaced") {
      throw new FaultlineError("UNSUPPORTED", `${held.link} is not the file that the task holds any more`, {
        pid: held.pid,
        file: held.link,
        advice: "it was replaced, or lies under another mount",
      });
    }
    // Opening a file breaks the leases on it.
    const build = isRegular && state === "present" && options.leased !== true ? buildId(held.procPath, stat) : [];
    this.#images.addFile("REG", {
      id,
      reg: {
        id,
        flags: options.flags,
        pos: options.position,
        fown: options.owner ?? noOwner,
        name: pathWithoutMark(held.link),
        size: isRegular && stat.size > 0n ? stat.size : undefined,
        mode,
        build_id: build,
      },
    });
    const dead = state === "deleted" ? deadProcess(held) : undefined;
    if (dead !== undefined) this.#addDead(id, dead);
    else if (state === "deleted" && hasOtherName(stat)) this.#addLink(id, held);
    else if (state === "deleted") this.#addGhost(id, held);
  }

  /** The id of a file as a mapping needs it: the same for all mappings of one file opened alike. */
  mapped(held: HeldFile, flags: number): number {
    const key = `${held.stat.dev}:${held.stat.ino}:${flags}`;
    const known = this.#mapped.get(key);
    if (known !== undefined) return known;
    const id = this.add(held, { flags, position: 0n });
    this.#mapped.set(key, id);
    return id;
  }

  #addDead(fileId: number, pid: number): void {
    const dead = { orig_id: fileId, remap_id: pid, remap_type: RemapType.PROCFS };
    this.#images.add("remap-fpath.img", "REMAP_FPATH", dead);
  }

  #addLink(fileId: number, held: HeldFile): void {
    const key = `${held.stat.dev}:${held.stat.ino}`;
    let linked = this.#linked.get(key);
    if (linked === undefined) {
      linked = this.#images.newFileId();
      this.#linked.set(key, linked);
      const name = this.#links.make(held.procPath, pathWithoutMark(held.link), held.pid, linked);
      this.#images.addFile("REG", { id: linked, reg: { id: linked, flags: 0, pos: 0n, fown: noOwner, name } });
    }
    const link = { orig_id: fileId, remap_id: linked, remap_type: RemapType.LINKED };
    this.#images.add("remap-fpath.img", "REMAP_FPATH", link);
  }

  #addGhost(fileId: number, held: HeldFile): void {
    const key = `${held.stat.dev}:${held.stat.ino}`;
    let ghost = this.#ghosts.get(key);
    if (ghost === undefined) {
      ghost = this.#ghosts.size + 1;
      this.#ghosts.set(key, ghost);
      this.#writeGhost(ghost, held);
    }
    this.#images.add("remap-fpath.img", "REMAP_FPATH", {
      orig_id: fileId,
      remap_id: ghost,
      remap_type: RemapType.GHOST,
    });
  }

  #writeGhost(ghost: number, held: HeldFile): void {
    const { stat } = held;
    const size = Number(stat.size);
    const type = Number(stat.mode) & modeType.mask;
    const isRegular = type === modeType.regular;
    const isDevice = type === modeType.character || type === modeType.block;
    if (isRegular && allocatedBytes(stat) > this.#ghostLimit) {
      throw new FaultlineError(
        "UNSUPPORTED",
        `a deleted file of ${allocatedBytes(stat)} bytes is over the ghost limit`,
        {
          pid: held.pid,
          file: held.link,
          advice: `raise --ghost-limit (now ${this.#ghostLimit} bytes)`,
        },
      );
    }
    const isSparse = isRegular && allocatedBytes(stat) < size;
    const seconds = (ns: bigint) => ({ tv_sec: ns / 1_000_000_000n, tv_usec: (ns % 1_000_000_000n) / 1000n });
    this.#images.add(
      `ghost-file-${ghost.toString(16)}.img`,
      "GHOST_FILE",
      {
        uid: Number(stat.uid),
        gid: Number(stat.gid),
        mode: Number(stat.mode),
        dev: Number(stat.dev),
        ino: stat.ino,
        rdev: isDevice ? Number(stat.rdev) : undefined,
        atim: seconds(stat.atimeNs),
        mtim: seconds(stat.mtimeNs),
        chunks: isSparse ? true : undefined,
        size: isRegular ? stat.size : undefined,
        symlnk_target: type === modeType.link ? linkTarget(held) : undefined,
      },
      isSparse
        ? { kind: "chunks", chunks: readChunks(held.procPath) }
        : { kind: "bytes", bytes: isRegular ? readRange(held.procPath, 0, size) : Buffer.alloc(0) },
    );
  }
}

const pathBytesMax = 4096;

/** Of a symbolic link, which /proc/PID/fd leads to and not through. */
function linkTarget({ pid, procPath }: HeldFile): string {
  return new OpenFile(pid, Number(basename(procPath))).withCopy((fd) => {
    const buffer = Buffer.alloc(pathBytesMax);
    const length = checked(native.linkTarget(fd, buffer), "readlinkat", "cannot read a deleted link", { pid });
    return pathText(buffer.toString("latin1", 0, length));
  });
}

const blockBytes = 512n;
const seekData = 3;
const seekHole = 4;

/** What a file takes on disk, bytes: holes take nothing. */
export function allocatedBytes(stat: BigIntStats): number {
  return Number(stat.blocks * blockBytes);
}

/** The parts of a sparse file that hold data (SEEK_DATA of lseek(2)). */
function readChunks(path: string): { message: { len: bigint; off: bigint }; bytes: Buffer }[] {
  const fd = openSync(path, "r");
  try {
    const chunks: { message: { len: bigint; off: bigint }; bytes: Buffer }[] = [];
    for (let at = 0; ; ) {
      const data = native.seekTo(fd, at, seekData);
      if (data < 0) return chunks;
      const hole = checked(native.seekTo(fd, data, seekHole), "lseek", "cannot read a deleted file", { file: path });
      const bytes = readRange(path, data, hole - data);
      chunks.push({ message: { len: BigInt(bytes.length), off: BigInt(data) }, bytes });
      at = hole;
    }
  } finally {
    closeSync(fd);
  }
}

function readRange(path: string, offset: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  const fd = openSync(path, "r");
  try {
    let done = 0;
    while (done < size) {
      const got = readSync(fd, bytes, done, size - done, offset + done);
      if (got === 0) break;
      done += got;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}
