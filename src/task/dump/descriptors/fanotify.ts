// fanotify groups with their marks, from /proc/PID/fdinfo (proc_pid_fdinfo(5)). Unread events are lost, as by CRIU.
import { readFileSync } from "node:fs";
import type { Init } from "../../../images/message";
import { type FanotifyMarkEntry, MarkType } from "../../../images/messages";
import type { ImageSet } from "../imageSet";
import type { OpenFile } from "../openFile";
import { inotifyPath } from "./inotifyPath";
import { fileHandle } from "./simple";

const groupLine = /^fanotify flags:([0-9a-f]+) event-flags:([0-9a-f]+)/m;
const markLine =
  /^fanotify (?:ino:([0-9a-f]+) sdev:([0-9a-f]+)|mnt_id:([0-9a-f]+)|sdev:([0-9a-f]+)) mflags:([0-9a-f]+) mask:([0-9a-f]+) ignored_mask:([0-9a-f]+)(?: fhandle-bytes:[0-9a-f]+ fhandle-type:([0-9a-f]+) f_handle:([0-9a-f]*))?/gm;
/** FAN_OPEN_PERM, FAN_ACCESS_PERM, FAN_OPEN_EXEC_PERM, FAN_PRE_ACCESS. */
const permissionEvents = 0x170000;
const minorBits = 20;

interface Mark {
  readonly inode: bigint | undefined;
  readonly device: number | undefined;
  readonly mountId: number | undefined;
  readonly flags: number;
  readonly mask: number;
  readonly ignoredMask: number;
  readonly handleType: number;
  readonly handle: Buffer;
}

function parseMarks(info: string): Mark[] {
  const hex = (text: string | undefined): number | undefined =>
    text === undefined ? undefined : Number.parseInt(text, 16);
  return [...info.matchAll(markLine)].map(
    ([, inode, device, mount, fileSystem, flags, mask, ignored, type, handle]) => ({
      inode: inode === undefined ? undefined : BigInt(`0x${inode}`),
      device: hex(device ?? fileSystem),
      mountId: hex(mount),
      flags: hex(flags) ?? 0,
      mask: hex(mask) ?? 0,
      ignoredMask: hex(ignored) ?? 0,
      handleType: hex(type) ?? 0,
      handle: Buffer.from(handle ?? "", "hex"),
    }),
  );
}

/** Why the group cannot be dumped, or undefined. */
export function fanotifyObstacle(info: string): string | undefined {
  const marks = parseMarks(info);
  // While it stands still, everybody who opens such a file waits for it: the dump too.
  if (marks.some((mark) => ((mark.mask | mark.ignoredMask) & permissionEvents) !== 0)) {
    return "a fanotify group that permits what others do";
  }
  return marks.every((mark) => markEntry(mark) !== undefined)
    ? undefined
    : "a fanotify mark on what has no path any more";
}

/** The mount with that id, or any of the file system with that device number (proc_pid_mountinfo(5)). */
function mountPoint(mark: Mark): string | undefined {
  const device =
    mark.device === undefined ? undefined : `${mark.device >>> minorBits}:${mark.device & ((1 << minorBits) - 1)}`;
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const fields = line.split(" ");
    if (mark.mountId === undefined ? fields[2] !== device : Number(fields[0]) !== mark.mountId) continue;
    return fields[4]?.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8)));
  }
  return undefined;
}

function markEntry(mark: Mark): Init<FanotifyMarkEntry> | undefined {
  const { inode, device, mountId, flags: mflags, mask, ignoredMask: ignored_mask } = mark;
  const base = { id: 0, mflags, mask, ignored_mask, s_dev: device ?? 0 };
  if (inode !== undefined && device !== undefined) {
    const watch = { ...mark, watch: 0, inode, device };
    const path = inotifyPath(watch);
    if (path === undefined) return undefined;
    return { ...base, type: MarkType.INODE, ie: { i_ino: inode, f_handle: fileHandle(watch, path) } };
  }
  const path = mountPoint(mark);
  if (path === undefined) return undefined;
  // CRIU, which has no marks on file systems, makes marks on mounts of them.
  const file_system = mountId === undefined ? true : undefined;
  return { ...base, type: MarkType.MOUNT, me: { mnt_id: mountId ?? 0, path }, file_system };
}

export function addFanotify(images: ImageSet, id: number, file: OpenFile): void {
  const [, faflags, evflags] = groupLine.exec(file.info) ?? [];
  images.addFile("FANOTIFY", {
    id,
    ffy: {
      ...{ id, flags: file.flags, fown: file.owner() },
      faflags: Number.parseInt(faflags ?? "0", 16),
      evflags: Number.parseInt(evflags ?? "0", 16),
      mark: parseMarks(file.info).flatMap((mark) => markEntry(mark) ?? []),
    },
  });
}
