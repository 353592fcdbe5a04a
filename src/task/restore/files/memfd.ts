// Memory files (memfd_create(2)): the file once, filled by the tracer, then every description of it. Seals come when all
// mappings are made, since some of them forbid mappings that the program has.
import type { MemfdFileEntry, MemfdInodeEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import { syscalls } from "../../constants";
import type { Script } from "../script";
import { type FileContext, fcntlCommand, fileKey, openFlag, setOwner, settle } from "./context";

const closeOnExec = 1;
const allowSealing = 2;
const execFlag = 0x10;
/** MFD_HUGETLB and the size of the pages. */
const hugeMask = 0xfc000004;
const sealSeal = 1;
const sealExec = 0x20;
const fchmod = 91;
const fchown = 93;
const nameBytesMax = 249;
const modeMask = 0o7777;
const openedFlags = openFlag.accessMode | openFlag.append | openFlag.nonBlock | openFlag.direct | openFlag.noAccessTime;

export function memfdKey(inode: number): string {
  return `memory file ${inode}`;
}

export function memfdObstacle(inode: MemfdInodeEntry | undefined, file: MemfdFileEntry): string | undefined {
  if (inode === undefined) return `memory file ${file.inode_id} is not in memfd.img`;
  if (encodeText(inode.name).length > nameBytesMax) return "a memory file with an overlong name";
  if (inode.size > BigInt(Number.MAX_SAFE_INTEGER)) return `a memory file of ${inode.size} bytes`;
  return undefined;
}

/** The file itself, read and write, without its seals. */
export function makeMemfdInode(context: FileContext, inode: MemfdInodeEntry): void {
  const batch = context.script.room(8, 512);
  const name = batch.place(Buffer.concat([encodeText(inode.name), Buffer.from([0])]));
  const sealing = inode.seals === sealSeal ? 0 : allowSealing;
  // Where memory files are not executable by default (vm.memfd_noexec), one that was must say so.
  const exec = (inode.seals & sealExec) === 0 ? execFlag : 0;
  const flags = (closeOnExec | sealing | exec | ((inode.hugetlb_flag ?? 0) & hugeMask)) >>> 0;
  batch.call(syscalls.memfd_create, [name, flags], { purpose: `making ${inode.name}` });
  batch.call(syscalls.ftruncate, [0, inode.size]);
  if (inode.mode !== undefined) batch.call(fchmod, [0, inode.mode & modeMask]);
  if (inode.uid !== 0 || inode.gid !== 0) batch.call(fchown, [0, inode.uid, inode.gid]);
  settle(context, batch, 0, memfdKey(Number(inode.inode_id)));
}

export function makeMemfd(context: FileContext, file: MemfdFileEntry): void {
  const batch = context.script.room(6, 128);
  const master = context.masters.of(memfdKey(file.inode_id));
  const flags = (file.flags & openedFlags) | openFlag.largeFile | openFlag.closeOnExec;
  batch.call(syscalls.openat, [-100, batch.text(`/proc/self/fd/${master}`), flags]);
  if (file.pos > 0n) batch.call(syscalls.lseek, [0, file.pos, 0]);
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

/** Run while the masters are open and all mappings made. */
export function sealMemfd(script: Script, master: number, inode: MemfdInodeEntry): void {
  const sealing = inode.seals === sealSeal ? 0 : inode.seals;
  if (sealing === 0) return;
  script.room(1).call(syscalls.fcntl, [master, fcntlCommand.addSeals, sealing], { purpose: `sealing ${inode.name}` });
}
