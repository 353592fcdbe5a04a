// The path of a watched inode, found by its file handle (open_by_handle_at(2)), as inotify's fdinfo has only that.
import { closeSync, openSync, readFileSync, readlinkSync } from "node:fs";
import { native } from "../../../native";
import type { InotifyWatch } from "./simple";

const minorBits = 20;

/** The path, or undefined where the file has none any more or its file system has no handles. */
export function inotifyPath(watch: InotifyWatch): string | undefined {
  const device = `${watch.device >>> minorBits}:${watch.device & ((1 << minorBits) - 1)}`;
  for (const line of readFileSync("/proc/self/mountinfo", "latin1").split("\n")) {
    const fields = line.split(" ");
    if (fields[2] !== device) continue;
    const path = pathBelow(fields[4] as string, watch);
    if (path !== undefined) return path;
  }
  return undefined;
}

function pathBelow(mountPoint: string, watch: InotifyWatch): string | undefined {
  let mount: number;
  try {
    mount = openSync(mountPoint, "r");
  } catch {
    return undefined; // hidden or not ours to open; another mount of the device may do
  }
  try {
    const fd = native.openByHandle(mount, watch.handleType, watch.handle);
    if (fd < 0) return undefined;
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.endsWith(" (deleted)") ? undefined : path;
    } finally {
      closeSync(fd);
    }
  } finally {
    closeSync(mount);
  }
}
