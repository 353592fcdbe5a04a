// Files that are opened by their path: regular files, directories and the harmless character devices.
// Nothing is created or truncated; whether the file is still the one of the dump is checked in fileCheck.ts.
import { isAbsolute } from "node:path";
import type { RegFileEntry } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import { syscalls } from "../../constants";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";

const atCurrent = -100;
const seekSet = 0;
const typeMask = 0o170000;
const fileType = { fifo: 0o010000, character: 0o020000, block: 0o060000, socket: 0o140000 } as const;
const openedFlags =
  openFlag.accessMode |
  openFlag.append |
  openFlag.nonBlock |
  openFlag.sync |
  openFlag.dsync |
  openFlag.direct |
  openFlag.largeFile |
  openFlag.directory |
  openFlag.noFollow |
  openFlag.noAccessTime |
  openFlag.path;

/** Why the file cannot be opened by path, or undefined. */
export function regularObstacle(file: RegFileEntry, isPlainDevice: (path: string) => boolean): string | undefined {
  if (!isAbsolute(file.name)) return `${JSON.stringify(file.name)} is not an absolute path`;
  if (file.name.includes("\0")) return "a path with a NUL byte in it";
  if (file.pos > 0x7fffffffffffffffn) return `position ${file.pos}`;
  const type = (file.mode ?? 0) & typeMask;
  if ((file.flags & openFlag.path) !== 0) return undefined;
  if (type === fileType.character && !isPlainDevice(file.name)) return `the device ${file.name}`;
  if (type === fileType.block) return `the device ${file.name}`;
  if (type === fileType.socket || type === fileType.fifo) return `${file.name} is no regular file`;
  return undefined;
}

/** `key` differs from the file's own where a mapping needs another access mode than the descriptors have. */
export function makeRegular(context: FileContext, file: RegFileEntry, key: string = fileKey(file.id)): void {
  const path = Buffer.concat([encodeText(file.name), Buffer.from([0])]);
  const batch = context.script.room(6, path.length + 64);
  const flags = (file.flags & openedFlags) | openFlag.noTerminal | openFlag.closeOnExec;
  batch.call(syscalls.openat, [atCurrent, batch.place(path), flags], { purpose: `opening ${file.name}` });
  if (file.pos > 0n && (file.flags & openFlag.path) === 0) {
    batch.call(syscalls.lseek, [0, file.pos, seekSet], { purpose: `seeking in ${file.name}` });
  }
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, key);
}
