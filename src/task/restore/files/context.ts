// What every maker of open files shares: where its calls go, the masters, and the small steps all of them end with.
// A maker finds descriptors 0 to 7 free and leaves them free; the file is at its master then.
import type { FownEntry } from "../../../images/messages";
import type { Batch } from "../../batch";
import { syscalls } from "../../constants";
import type { Masters } from "../descriptors";
import type { Script } from "../script";
import type { TreeImage } from "../treeImage";

export const openFlag = {
  accessMode: 3,
  readOnly: 0,
  writeOnly: 1,
  readWrite: 2,
  create: 0o100,
  exclusive: 0o200,
  noTerminal: 0o400,
  truncate: 0o1000,
  append: 0o2000,
  nonBlock: 0o4000,
  dsync: 0o10000,
  async: 0o20000,
  direct: 0o40000,
  largeFile: 0o100000,
  directory: 0o200000,
  noFollow: 0o400000,
  noAccessTime: 0o1000000,
  closeOnExec: 0o2000000,
  sync: 0o4010000,
  path: 0o10000000,
} as const;

/** fcntl(2) commands. */
export const fcntlCommand = { setFlags: 4, setSignal: 10, setOwnerEx: 15, setPipeSize: 1031, addSeals: 1033 } as const;
/** What F_SETFL can change; everything else is given at open. */
const changeableFlags = openFlag.append | openFlag.nonBlock | openFlag.direct | openFlag.noAccessTime;

export interface FileContext {
  readonly tree: TreeImage;
  readonly script: Script;
  readonly masters: Masters;
  /** What cannot be restored, each with the file's id. */
  readonly problems: string[];
  /** Whether nothing has that path now. */
  isFree(path: string): boolean;
}

export function fileKey(id: number): string {
  return `file ${id}`;
}

export function sharedKey(id: number): string {
  return `shared ${id}`;
}

export function segmentKey(id: number): string {
  return `segment ${id}`;
}

/** Moves a scratch descriptor to an object's master. */
export function settle(context: FileContext, batch: Batch, scratch: number, key: string): void {
  batch.call(syscalls.dup3, [scratch, context.masters.of(key), openFlag.closeOnExec]);
  batch.call(syscalls.close, [scratch]);
}

/** Status flags of a file that was made without them (pipes, sockets, event descriptors). */
export function setStatus(batch: Batch, descriptor: number, flags: number): void {
  const wanted = flags & changeableFlags;
  if (wanted !== 0) batch.call(syscalls.fcntl, [descriptor, fcntlCommand.setFlags, wanted]);
}

/**
 * O_ASYNC of a descriptor at its final number, which the kernel keeps for si_fd of the signal when the flag is set, and at
 * no other time.
 */
export function setAsync(batch: Batch, descriptor: number, flags: number): void {
  if ((flags & openFlag.async) === 0) return;
  const wanted = (flags & changeableFlags) | openFlag.async;
  batch.call(syscalls.fcntl, [descriptor, fcntlCommand.setFlags, wanted]);
}

/** Who gets SIGIO. */
export function setOwner(batch: Batch, descriptor: number, owner: FownEntry): void {
  if (owner.signum !== 0) batch.call(syscalls.fcntl, [descriptor, fcntlCommand.setSignal, owner.signum]);
  if (owner.pid === 0) return;
  // struct f_owner_ex; the kernel's pid types are PID, TGID, PGID; F_OWNER_TID, F_OWNER_PID and F_OWNER_PGRP follow them.
  const words = new Int32Array([Math.min(owner.pid_type, 2), owner.pid]);
  batch.call(syscalls.fcntl, [descriptor, fcntlCommand.setOwnerEx, batch.place(new Uint8Array(words.buffer))], {
    tolerate: true,
  });
}
