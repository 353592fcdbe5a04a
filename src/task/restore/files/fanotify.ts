// fanotify groups with their marks on inodes, mounts and file systems (fanotify(7)). Runs with the restorer's privileges.
import type { FanotifyFileEntry, FanotifyMarkEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import type { Argument, Batch } from "../../batch";
import type { TreeImage } from "../treeImage";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";
import { forget, type MountOf, nameWatched, type Watched, watchedObstacle, watchedRoom } from "./watched";

const fanotifyInit = 300;
const fanotifyMark = 301;
/** FAN_CLOEXEC, FAN_NONBLOCK and FAN_MARK_* of fanotify_mark(2). */
const initFlag = { closeOnExec: 1, nonBlock: 2 } as const;
const markFlag = {
  add: 1,
  mount: 0x10,
  ignoredMask: 0x20,
  survives: 0x40,
  fileSystem: 0x100,
  evictable: 0x200,
  ignore: 0x400,
} as const;

function watchedOf({ ie, s_dev }: FanotifyMarkEntry): Watched | undefined {
  return ie === undefined ? undefined : { ...ie, s_dev };
}

export function fanotifyObstacle(file: FanotifyFileEntry, tree: TreeImage, mountOf: MountOf): string | undefined {
  for (const mark of file.mark) {
    const watched = watchedOf(mark);
    if (watched === undefined && mark.me?.path === undefined) return "a fanotify mark on a mount without its path";
    const obstacle = watched === undefined ? undefined : watchedObstacle(watched, tree, mountOf);
    if (obstacle !== undefined) return obstacle;
  }
  return undefined;
}

export function makeFanotify(context: FileContext, file: FanotifyFileEntry, mountOf: MountOf): void {
  const nonBlock = (file.flags & openFlag.nonBlock) !== 0 ? initFlag.nonBlock : 0;
  const flags = (file.faflags & ~initFlag.nonBlock) | initFlag.closeOnExec | nonBlock;
  context.script.room(1).call(fanotifyInit, [flags, file.evflags], { purpose: "making a fanotify group" });
  for (const mark of file.mark) addMark(context, mark, mountOf);
  const batch = context.script.room(4, 32);
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

function addMark(context: FileContext, mark: FanotifyMarkEntry, mountOf: MountOf): void {
  const batch = context.script.room(3 + watchedRoom.calls, watchedRoom.bytes);
  const watched = watchedOf(mark);
  if (watched !== undefined) {
    const named = nameWatched(context, batch, watched, mountOf);
    mask(batch, mark, 0, named.name, named.text);
    forget(batch, named);
    return;
  }
  const path = mark.me?.path ?? "/";
  const name = batch.place(Buffer.concat([encodeText(path), Buffer.from([0])]));
  mask(batch, mark, mark.file_system === true ? markFlag.fileSystem : markFlag.mount, name, path);
}

/** What a mark reports and what it ignores are two calls. */
function mask(batch: Batch, mark: FanotifyMarkEntry, kind: number, name: Argument, text: string): void {
  const { mflags } = mark;
  const flags = markFlag.add | kind | (mflags & markFlag.evictable);
  const set = (extra: number, value: number): void => {
    if (value === 0) return;
    batch.call(fanotifyMark, [0, flags | extra, value, -100, name], { purpose: `marking ${text} for fanotify` });
  };
  set(0, mark.mask);
  const ignoring = (mflags & markFlag.ignore) !== 0 ? markFlag.ignore : markFlag.ignoredMask;
  set(ignoring | (mflags & markFlag.survives), mark.ignored_mask);
}
