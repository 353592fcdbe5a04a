// Descriptors of processes (pidfd_open(2)): opened by each task that has them, when the whole tree exists.
import type { PidfdEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import type { Masters } from "../descriptors";
import type { Script } from "../script";
import type { TaskImage, TreeImage } from "../treeImage";
import { fileKey, openFlag } from "./context";

/** O_EXCL is PIDFD_THREAD here. */
const openedFlags = openFlag.nonBlock | openFlag.exclusive;

/** Whether its process had ended, and was waited for, before the dump. */
export function isDead(file: PidfdEntry): boolean {
  return file.nspid < 0;
}

export function pidfdObstacle(file: PidfdEntry, tree: TreeImage): string | undefined {
  if (isDead(file)) return undefined;
  const known = tree.tasks.some(
    (task) => task.pid === file.nspid || task.threads.some(({ tid }) => tid === file.nspid),
  );
  return known ? undefined : `a descriptor of process ${file.nspid}, which is not in the image`;
}

/** Makes the masters of the task's own pidfds; descriptors 0 to 7 are free still. */
export function openPidfds(script: Script, masters: Masters, task: TaskImage, tree: TreeImage): void {
  const done = new Set<number>();
  for (const { id } of task.descriptors) {
    const file = tree.files.get(id)?.pidfd;
    if (file === undefined || isDead(file) || done.has(id)) continue;
    done.add(id);
    const batch = script.room(3);
    batch.call(syscalls.pidfd_open, [file.nspid, file.flags & openedFlags], { purpose: `pidfd of ${file.nspid}` });
    batch.call(syscalls.dup3, [0, masters.of(fileKey(id)), openFlag.closeOnExec]);
    batch.call(syscalls.close, [0]);
  }
}
