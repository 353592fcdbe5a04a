// inotify descriptors with their watches, each under the number it had (inotify(7)).
import type { InotifyFileEntry, InotifyWdEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import type { TreeImage } from "../treeImage";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";
import { forget, type MountOf, nameWatched, watchedObstacle, watchedRoom } from "./watched";

/** INOTIFY_IOC_SETNEXTWD, _IOW('I', 0, __s32). */
const setNextWatch = 0x40044900;
/** Events, IN_EXCL_UNLINK and IN_ONESHOT: what a program may ask for and the kernel shows. */
const maskBits = 0x84000fff;

export function inotifyObstacle(file: InotifyFileEntry, tree: TreeImage, mountOf: MountOf): string | undefined {
  return file.wd.map((watch) => watchedObstacle(watch, tree, mountOf)).find((obstacle) => obstacle !== undefined);
}

export function makeInotify(context: FileContext, file: InotifyFileEntry, mountOf: MountOf): void {
  const first = context.script.room(1);
  first.call(syscalls.inotify_init1, [(file.flags & openFlag.nonBlock) | openFlag.closeOnExec]);
  for (const watch of [...file.wd].sort((a, b) => a.wd - b.wd)) addWatch(context, watch, mountOf);
  const batch = context.script.room(4, 32);
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

function addWatch(context: FileContext, watch: InotifyWdEntry, mountOf: MountOf): void {
  const batch = context.script.room(2 + watchedRoom.calls, watchedRoom.bytes);
  batch.call(syscalls.ioctl, [0, setNextWatch, watch.wd], { purpose: `choosing watch number ${watch.wd}` });
  const watched = nameWatched(context, batch, watch, mountOf);
  batch.call(syscalls.inotify_add_watch, [0, watched.name, watch.mask & maskBits], {
    purpose: `watching ${watched.text}`,
  });
  forget(batch, watched);
}
