// inotify descriptors with their watches, each under the number it had (inotify(7)). What is watched is found by its
// path, or by its file handle on the mount that the image names.
import type { InotifyFileEntry, InotifyWdEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import { syscalls } from "../../constants";
import type { TreeImage } from "../treeImage";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";

/** INOTIFY_IOC_SETNEXTWD, _IOW('I', 0, __s32). */
const setNextWatch = 0x40044900;
const openByHandleAt = 304;
/** Events, IN_EXCL_UNLINK and IN_ONESHOT: what a program may ask for and the kernel shows. */
const maskBits = 0x84000fff;
const handleBytesMax = 128;
const typeMask = 0o170000;
const regularType = 0o100000;

/** The ghost of a watched file that has no name any more but is held by the tree. */
function deletedFile(watch: InotifyWdEntry, tree: TreeImage): number | undefined {
  if (watch.f_handle.path !== undefined && watch.f_handle.path !== "") return undefined;
  for (const id of new Set(tree.ghosts.values())) {
    const entry = tree.ghost(id)?.entry;
    if (entry?.ino === watch.i_ino && (entry.mode & typeMask) === regularType) return id;
  }
  return undefined;
}

export function inotifyObstacle(
  file: InotifyFileEntry,
  tree: TreeImage,
  mountOf: (device: number) => string | undefined,
): string | undefined {
  for (const watch of file.wd) {
    if (deletedFile(watch, tree) !== undefined) continue;
    if (watch.f_handle.path !== undefined && watch.f_handle.path !== "") continue;
    if (watch.f_handle.bytes > handleBytesMax) return `a file handle of ${watch.f_handle.bytes} bytes`;
    if (mountOf(watch.s_dev) === undefined) return `watches on device ${watch.s_dev}, which is not mounted here`;
  }
  return undefined;
}

export function makeInotify(
  context: FileContext,
  file: InotifyFileEntry,
  mountOf: (device: number) => string | undefined,
): void {
  const first = context.script.room(1);
  first.call(syscalls.inotify_init1, [(file.flags & openFlag.nonBlock) | openFlag.closeOnExec]);
  for (const watch of [...file.wd].sort((a, b) => a.wd - b.wd)) addWatch(context, watch, mountOf);
  const batch = context.script.room(4, 32);
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

function addWatch(context: FileContext, watch: InotifyWdEntry, mountOf: (device: number) => string | undefined): void {
  const { path } = watch.f_handle;
  const ghost = deletedFile(watch, context.tree);
  if (ghost !== undefined) {
    watchGhost(context, watch, ghost);
    return;
  }
  const byPath = path !== undefined && path !== "";
  const batch = context.script.room(7, 4096 + 512);
  batch.call(syscalls.ioctl, [0, setNextWatch, watch.wd], { purpose: `choosing watch number ${watch.wd}` });
  if (!byPath) {
    const handle = new DataView(new ArrayBuffer(8 + handleBytesMax));
    handle.setUint32(0, watch.f_handle.bytes, true);
    handle.setInt32(4, watch.f_handle.type, true);
    watch.f_handle.handle.slice(0, handleBytesMax / 8).forEach((word, index) => {
      handle.setBigUint64(8 + index * 8, word, true);
    });
    batch.call(syscalls.openat, [-100, batch.text(mountOf(watch.s_dev) ?? "/"), openFlag.directory]);
    batch.call(openByHandleAt, [1, batch.place(new Uint8Array(handle.buffer)), openFlag.path], {
      purpose: `finding what watch ${watch.wd} watches`,
    });
  }
  const name = byPath ? Buffer.concat([encodeText(path), Buffer.from([0])]) : Buffer.from("/proc/self/fd/2\0");
  batch.call(syscalls.inotify_add_watch, [0, batch.place(name), watch.mask & maskBits], {
    purpose: byPath ? `watching ${path}` : `watch ${watch.wd}`,
  });
  if (!byPath) for (const scratch of [1, 2]) batch.call(syscalls.close, [scratch]);
}

function watchGhost(context: FileContext, watch: InotifyWdEntry, ghost: number): void {
  const batch = context.script.room(2, 64);
  batch.call(syscalls.ioctl, [0, setNextWatch, watch.wd], { purpose: `choosing watch number ${watch.wd}` });
  const open = [...context.tree.ghosts].find(([id, of]) => of === ghost && context.masters.has(fileKey(id)));
  if (open === undefined) throw new RangeError(`no file is ghost ${ghost}`);
  const name = batch.text(`/proc/self/fd/${context.masters.of(fileKey(open[0]))}`);
  batch.call(syscalls.inotify_add_watch, [0, name, watch.mask & maskBits], { purpose: `watch ${watch.wd}` });
}
