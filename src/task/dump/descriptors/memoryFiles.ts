// memfds, open or mapped (memfd_create(2)): their inodes with seals, and who holds them. Contents are gathered apart.
import { statfsSync, statSync } from "node:fs";
import type { Init } from "../../../images/message";
import type { FownEntry } from "../../../images/messages";
import { native } from "../../../native";
import { hugeSizeFlag } from "../../constants";
import { listProc, readProcLink } from "../../proc";
import type { ImageSet } from "../imageSet";
import { noOwner, type OpenFile } from "../openFile";
import type { HeldFile } from "../regularFiles";

const getSeals = 1034; // F_GET_SEALS
const hugetlbfs = 0x958458f6; // statfs(2)
const memfdHuge = 4; // MFD_HUGETLB

/** The links of descriptors to memory that was mapped without a file. */
export const namelessMemory: readonly string[] = ["/dev/zero (deleted)", "/anon_hugepage (deleted)"];

function openedMemory(pid: number): number[] {
  const isMemory = (fd: string): boolean => namelessMemory.includes(readProcLink(pid, `fd/${fd}`));
  return listProc(pid, "fd")
    .filter(isMemory)
    .map((fd) => statSync(`/proc/${pid}/fd/${fd}`).ino);
}

export class MemoryFiles {
  readonly #images: ImageSet;
  readonly #pids: readonly number[];
  #open: Set<number> | undefined;
  readonly #inodes = new Map<string, number>();
  readonly #mapped = new Map<string, number>();
  /** Objects whose contents must be copied: inode as shmid, and a path by which this process can read them. */
  readonly contents = new Map<number, { readonly path: string; readonly pid: number }>();

  /** `pids`: the tasks whose descriptors can be of memory without a name. */
  constructor(images: ImageSet, pids: readonly number[]) {
    this.#images = images;
    this.#pids = pids;
  }

  /** Whether a descriptor leads to memory that was mapped without a file, had by /proc/PID/map_files: then it is a memory file. */
  isOpen(inode: number): boolean {
    this.#open ??= new Set(this.#pids.flatMap(openedMemory));
    return this.#open.has(inode);
  }

  addDescriptor(id: number, file: OpenFile): void {
    const path = `/proc/${file.pid}/fd/${file.fd}`;
    const held = { procPath: path, pid: file.pid, link: file.link, stat: file.stat };
    const seals = file.withCopy((fd) => Math.max(0, native.fcntlNumber(fd, getSeals, 0)));
    this.#addFile(id, held, seals, file.flags, file.position, file.owner());
  }

  /** The id of a mapped memfd. `flags`: open(2) flags as the mapping tells them. */
  mapped(held: HeldFile, flags: number, seals: number): number {
    const key = `${held.stat.dev}:${held.stat.ino}:${flags}`;
    const known = this.#mapped.get(key);
    if (known !== undefined) return known;
    const id = this.#images.newFileId();
    this.#mapped.set(key, id);
    this.#addFile(id, held, seals, flags, 0n, noOwner);
    return id;
  }

  #addFile(id: number, held: HeldFile, seals: number, flags: number, pos: bigint, fown: Init<FownEntry>): void {
    const inodeId = this.#inode(held, seals);
    this.#images.addFile("MEMFD", { id, memfd: { id, flags, pos, fown, inode_id: inodeId } });
  }

  #inode(held: HeldFile, seals: number): number {
    const { stat } = held;
    const key = `${stat.dev}:${stat.ino}`;
    const known = this.#inodes.get(key);
    if (known !== undefined) return known;
    const inodeId = this.#inodes.size + 1;
    this.#inodes.set(key, inodeId);
    const shmid = Number(stat.ino);
    this.contents.set(shmid, { path: held.procPath, pid: held.pid });
    this.#images.add("memfd.img", "MEMFD_INODE", {
      name: held.link.replace(/^\/memfd:/, "").replace(/ \(deleted\)$/, ""),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size: stat.size,
      shmid,
      seals,
      inode_id: BigInt(inodeId),
      hugetlb_flag: hugeFlag(held.procPath),
      mode: Number(stat.mode) & 0o7777,
    });
    return inodeId;
  }
}

/** For memfd_create(2): huge pages, and their size; undefined for memory of ordinary pages. */
function hugeFlag(path: string): number | undefined {
  const { type, bsize } = statfsSync(path);
  return type === hugetlbfs ? (memfdHuge | hugeSizeFlag(bsize)) >>> 0 : undefined;
}
