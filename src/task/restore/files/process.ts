// What speaks of processes: files of /proc, and pidfds of processes that have ended. Of a task of the tree they are opened by
// us, when all tasks and threads exist, and handed over; of a process that has ended, through one that lives for that moment.
import { existsSync, openSync } from "node:fs";
import { checked } from "../../../errors";
import type { PidfdEntry, RegFileEntry } from "../../../images/messages";
import { native } from "../../../native";
import { withStub } from "../agentHost";
import { rootTask, type TreeImage } from "../treeImage";
import { openFlag } from "./context";
import type { ForeignFile } from "./tty";

/** A file that some tasks get when the whole tree stands. */
export interface HandedFile {
  readonly id: number;
  open(): number;
}

const processPath = /^\/proc\/(\d+)(?:\/task\/(\d+))?(\/.*)?$/;
const openedFlags = openFlag.accessMode | openFlag.nonBlock | openFlag.directory | openFlag.path;

/** The pid of a file of /proc whose process has ended: as the image says, or, as CRIU does not of the folder itself, as is seen. */
export function deadPid(file: RegFileEntry, tree: TreeImage): number | undefined {
  const known = tree.deadProcesses.get(file.id);
  if (known !== undefined) return known;
  const pid = Number(processPath.exec(file.name)?.[1]);
  if (Number.isNaN(pid) || tree.tasks.some((task) => task.pid === pid)) return undefined;
  return existsSync(`/proc/${pid}`) ? undefined : pid;
}

/** Whether it is in the /proc folder of a task that is not there when the root's files are made, or of a thread. */
export function isOfLaterTask(file: RegFileEntry, tree: TreeImage): boolean {
  const [, pid, tid] = processPath.exec(file.name) ?? [];
  if (pid === undefined || !tree.tasks.some((task) => task.pid === Number(pid))) return false;
  return Number(pid) !== rootTask(tree).pid || (tid !== undefined && tid !== pid);
}

export function handedFile(file: RegFileEntry): HandedFile {
  return { id: file.id, open: () => openAt(file, file.name) };
}

function openAt(file: RegFileEntry, name: string): number {
  const fd = openSync(name, file.flags & openedFlags);
  if (file.pos > 0n && (file.flags & openFlag.path) === 0) native.seekTo(fd, Number(file.pos), 0);
  return fd;
}

/** A file of a process that has ended: whoever reads it hears that there is none. */
export function deadFile(file: RegFileEntry, pid: number, key: string): ForeignFile {
  const [, , tid, rest = ""] = processPath.exec(file.name) ?? [];
  const open = (stub: number): number => {
    const folder = tid === undefined ? `/proc/${stub}` : `/proc/${stub}/task/${stub}`;
    return openAt(file, `${folder}${rest}`);
  };
  return { key, open: () => withStub(pid, open) };
}

/** Descriptors of one process that has ended: all of one, as their inode tells (pidfs, statx(2)). */
export function deadPidfds(files: readonly PidfdEntry[], keyOf: (id: number) => string): ForeignFile[] {
  const opened = new Map<number, number>();
  const openAll = (stub: number): void => {
    for (const { id, flags } of files) {
      const fd = native.pidfdOpen(stub, flags & (openFlag.nonBlock | openFlag.exclusive));
      opened.set(id, checked(fd, "pidfd_open", "a pidfd cannot be made", { pid: stub }));
    }
  };
  const open = (id: number): number => {
    if (!opened.has(id)) withStub(0, openAll);
    const fd = opened.get(id) as number;
    opened.delete(id);
    return fd;
  };
  return files.map(({ id }) => ({ key: keyOf(id), open: () => open(id) }));
}
