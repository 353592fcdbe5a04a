// What the restore itself did under the eyes of inotify and fanotify: masters of mapped files and directories that were closed
// when watches were there already. It is read away before the program runs.
import { closeSync, readSync } from "node:fs";
import { checked } from "../../errors";
import { native } from "../../native";
import { openFlag } from "./files/context";
import type { TreeImage } from "./treeImage";

const getFlags = 3; // F_GETFL
const setFlags = 4; // F_SETFL
const bufferBytes = 64 * 1024;
/** struct fanotify_event_metadata: its length, and a descriptor of the file, which comes with the event. */
const metadata = { length: 0, descriptor: 16, bytes: 24 } as const;

/** Empties the queues of all watching descriptors of a tree that has its descriptors and does not run yet. */
export function readAway(tree: TreeImage, pidfdOf: (pid: number) => number): void {
  const done = new Set<number>();
  for (const task of tree.tasks) {
    if (task.dead) continue;
    for (const { id, fd } of task.descriptors) {
      const file = tree.files.get(id);
      if ((file?.ify ?? file?.ffy) === undefined || done.has(id)) continue;
      done.add(id);
      const { pid } = task;
      const ours = native.pidfdGetfd(pidfdOf(pid), fd);
      checked(ours, "pidfd_getfd", "a watching descriptor cannot be reached", { pid });
      empty(ours, file?.ffy !== undefined);
      closeSync(ours);
    }
  }
}

function empty(fd: number, isFanotify: boolean): void {
  const flags = native.fcntlNumber(fd, getFlags, 0);
  native.fcntlNumber(fd, setFlags, flags | openFlag.nonBlock);
  const buffer = Buffer.alloc(bufferBytes);
  for (let size = read(fd, buffer); size > 0; size = read(fd, buffer)) {
    if (isFanotify) closeEvents(buffer.subarray(0, size));
  }
  native.fcntlNumber(fd, setFlags, flags);
}

function read(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return 0;
    throw error;
  }
}

function closeEvents(events: Buffer): void {
  for (let at = 0; at + metadata.bytes <= events.length; at += events.readUInt32LE(at + metadata.length)) {
    const fd = events.readInt32LE(at + metadata.descriptor);
    if (fd >= 0) closeSync(fd);
    if (events.readUInt32LE(at + metadata.length) < metadata.bytes) return;
  }
}
