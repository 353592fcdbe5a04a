// What a watch of inotify or a mark of fanotify is on: found by its path, by its file handle on the mount that the image
// names, or, where it has no name any more, through a descriptor of the tree.
import type { FhEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import type { Batch, Slot } from "../../batch";
import { syscalls } from "../../constants";
import type { TreeImage } from "../treeImage";
import { type FileContext, fileKey, openFlag } from "./context";

const openByHandleAt = 304;
const handleBytesMax = 128;
const typeMask = 0o170000;
const regularType = 0o100000;

export interface Watched {
  readonly f_handle: FhEntry;
  readonly i_ino: bigint;
  readonly s_dev: number;
}

export type MountOf = (device: number) => string | undefined;

/** Calls and bytes that nameWatched() and forget() take. */
export const watchedRoom = { calls: 4, bytes: 4096 + 512 } as const;

const hasPath = ({ f_handle }: Watched): boolean => f_handle.path !== undefined && f_handle.path !== "";

/** The ghost of a watched file that has no name any more but is held by the tree. */
function deletedFile(watched: Watched, tree: TreeImage): number | undefined {
  if (hasPath(watched)) return undefined;
  for (const id of new Set(tree.ghosts.values())) {
    const entry = tree.ghost(id)?.entry;
    if (entry?.ino === watched.i_ino && (entry.mode & typeMask) === regularType) return id;
  }
  return undefined;
}

export function watchedObstacle(watched: Watched, tree: TreeImage, mountOf: MountOf): string | undefined {
  if (hasPath(watched) || deletedFile(watched, tree) !== undefined) return undefined;
  if (watched.f_handle.bytes > handleBytesMax) return `a file handle of ${watched.f_handle.bytes} bytes`;
  if (mountOf(watched.s_dev) === undefined) return `watches on device ${watched.s_dev}, which is not mounted here`;
  return undefined;
}

/** A name of what is watched, good until the scratch descriptors are closed; descriptor 0 is in use, others are free. */
export interface WatchedName {
  readonly name: Slot;
  readonly text: string;
  readonly scratch: readonly number[];
}

export function nameWatched(context: FileContext, batch: Batch, watched: Watched, mountOf: MountOf): WatchedName {
  const { f_handle: handle } = watched;
  const ghost = deletedFile(watched, context.tree);
  if (ghost !== undefined) {
    const open = [...context.tree.ghosts].find(([id, of]) => of === ghost && context.masters.has(fileKey(id)));
    if (open === undefined) throw new RangeError(`no file is ghost ${ghost}`);
    const text = `/proc/self/fd/${context.masters.of(fileKey(open[0]))}`;
    return { name: batch.text(text), text: "a deleted file", scratch: [] };
  }
  if (hasPath(watched)) {
    const text = handle.path ?? "";
    return { name: batch.place(Buffer.concat([encodeText(text), Buffer.from([0])])), text, scratch: [] };
  }
  const bytes = new DataView(new ArrayBuffer(8 + handleBytesMax));
  bytes.setUint32(0, handle.bytes, true);
  bytes.setInt32(4, handle.type, true);
  handle.handle.slice(0, handleBytesMax / 8).forEach((word, index) => {
    bytes.setBigUint64(8 + index * 8, word, true);
  });
  batch.call(syscalls.openat, [-100, batch.text(mountOf(watched.s_dev) ?? "/"), openFlag.directory]);
  batch.call(openByHandleAt, [1, batch.place(new Uint8Array(bytes.buffer)), openFlag.path], {
    purpose: `finding inode ${watched.i_ino}, which was watched`,
  });
  return { name: batch.text("/proc/self/fd/2"), text: `inode ${watched.i_ino}`, scratch: [1, 2] };
}

export function forget(batch: Batch, { scratch }: WatchedName): void {
  for (const descriptor of scratch) batch.call(syscalls.close, [descriptor]);
}
