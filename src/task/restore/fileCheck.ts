// Whether the files that the image names are still those of the dump. A mapped file that changed would give the program
// other code or data than it had; --force goes on all the same. Looks only; opens mapped ELF files for their build ids.
import { closeSync, lstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { FaultlineError } from "../../errors";
import { FileGroup, type FileIdentity, findIdentity, isFresh } from "../../images/fileIdentity";
import type { RegFileEntry } from "../../images/messages";
import { vmaStatus } from "../../images/vmaStatus";
import { usedFiles } from "./filePlan";
import { openFlag } from "./files/context";
import { deadPid } from "./files/process";
import type { TreeImage } from "./treeImage";

const typeMask = 0o170000;
const headBytes = 4096;
const noteSegment = 4;
const noteBuildId = 3;

/** Throws CHANGED with every file that differs, or NOT_FOUND with every file that is missing. */
export function checkFiles(tree: TreeImage, force: boolean): void {
  const files = namedFiles(tree);
  if (files.passed?.isUnchanged() === true) checkEach(files.always, tree, force);
  else {
    files.passed = undefined;
    // A process that restores once would only lose time by it.
    const before = files.seen ? findIdentities(files.mapped) : undefined;
    files.seen = true;
    checkEach([...files.always, ...files.mapped], tree, force);
    // What --force let through is told again, and a file that changed a moment ago may change once more in the same way.
    if (!force && before !== undefined) files.passed = new FileGroup(before);
  }
}

function checkEach(files: readonly NamedFile[], tree: TreeImage, force: boolean): void {
  const missing: string[] = [];
  const changed: string[] = [];
  for (const { file, privately } of files) {
    if (isOfTask(file.name, tree) || deadPid(file, tree) !== undefined) continue;
    const found = (isLink(file) ? lstatSync : statSync)(file.name, { throwIfNoEntry: false });
    if (found === undefined) missing.push(file.name);
    else {
      const why = difference(file, found, privately, tree.dumpedAtMs);
      if (why !== undefined) changed.push(`${file.name} (${why})`);
    }
  }
  if (missing.length > 0) {
    throw new FaultlineError("NOT_FOUND", `files of the image are missing: ${missing.join(", ")}`);
  }
  if (changed.length > 0 && !force) {
    throw new FaultlineError("CHANGED", `files of the image have changed since the dump: ${changed.join(", ")}`, {
      advice: "put them back, or say --force to go on with them as they are",
    });
  }
}

/** Undefined where one is not there, or changed so shortly ago that another change may not show. */
function findIdentities(files: readonly NamedFile[]): [string, FileIdentity][] | undefined {
  const found: [string, FileIdentity][] = [];
  for (const { file } of files) {
    const identity = findIdentity(file.name);
    if (identity === undefined || isFresh(identity)) return undefined;
    found.push([file.name, identity]);
  }
  return found;
}

interface NamedFile {
  readonly file: RegFileEntry;
  /** How it is mapped: true where only privately, undefined where not at all. */
  readonly privately: boolean | undefined;
}

interface NamedFiles {
  /** Looked at one by one at each restore. */
  readonly always: readonly NamedFile[];
  /** Program, libraries and data: there are dozens, and a build id is read from most. */
  readonly mapped: readonly NamedFile[];
  /** They were looked at before. */
  seen: boolean;
  /** What the mapped ones were when they passed the check: while they are the same they pass it again. */
  passed: FileGroup | undefined;
}

/** By tree: which files an image names does not change, and a space of many mappings takes a while to go through. */
const named = new WeakMap<TreeImage, NamedFiles>();

/** The files that are looked up by their names. */
function namedFiles(tree: TreeImage): NamedFiles {
  const known = named.get(tree);
  if (known !== undefined) return known;
  const ways = mappedFiles(tree);
  const files = [...usedFiles(tree)].flatMap((id): NamedFile[] => {
    const file = tree.files.get(id)?.reg;
    if (file === undefined || tree.ghosts.has(id) || tree.links.has(id)) return [];
    return [{ file, privately: ways.get(id) }];
  });
  // What is in /proc and the like has no time stamps that tell anything.
  const isPlain = ({ file, privately }: NamedFile): boolean =>
    privately !== undefined && !isLink(file) && !/^\/(proc|sys|dev)\//.test(file.name);
  const made = {
    always: files.filter((one) => !isPlain(one)),
    mapped: files.filter(isPlain),
    seen: false,
    passed: undefined,
  };
  named.set(tree, made);
  return made;
}

function isLink({ flags }: RegFileEntry): boolean {
  return (flags & openFlag.path) !== 0 && (flags & openFlag.noFollow) !== 0;
}

/** /proc/PID of a task of the tree: there again when the task is, with what is so then. libc reads its own maps there. */
function isOfTask(name: string, tree: TreeImage): boolean {
  const pid = Number(/^\/proc\/(\d+)(?:\/|$)/.exec(name)?.[1]);
  return tree.tasks.some((task) => task.pid === pid);
}

/** How each mapped file is mapped: by id, true where only privately. */
function mappedFiles(tree: TreeImage): Map<number, boolean> {
  const mapped = new Map<number, boolean>();
  for (const task of tree.tasks) {
    for (const vma of task.mm?.vmas ?? []) {
      const shared = (vma.status & vmaStatus.fileShared) !== 0;
      if (!shared && (vma.status & vmaStatus.filePrivate) === 0) continue;
      const id = Number(vma.shmid);
      mapped.set(id, (mapped.get(id) ?? true) && !shared);
    }
  }
  return mapped;
}

function difference(
  file: RegFileEntry,
  found: Stats,
  privately: boolean | undefined,
  dumpedAtMs: number,
): string | undefined {
  if (file.mode !== undefined && (found.mode & typeMask) !== (file.mode & typeMask)) return "another type of file";
  if (privately === undefined || !found.isFile()) return undefined;
  if (file.size !== undefined && BigInt(found.size) !== file.size) return `${found.size} bytes instead of ${file.size}`;
  if (file.build_id.length > 0) {
    const buildId = readBuildId(file.name);
    if (buildId === undefined || !buildId.equals(wordBytes(file.build_id))) return "another build id";
    return undefined;
  }
  // A file that is mapped shared changes by being used.
  if (privately && found.mtimeMs > dumpedAtMs) return "modified after the dump";
  return undefined;
}

function wordBytes(words: readonly number[]): Buffer {
  const bytes = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => {
    bytes.writeUInt32LE(word >>> 0, index * 4);
  });
  return bytes;
}

/** The GNU build id in an ELF file's notes, from its first page, where CRIU looks too (elf(5)). */
function readBuildId(path: string): Buffer | undefined {
  const head = Buffer.alloc(headBytes);
  const fd = openSync(path, "r");
  try {
    readSync(fd, head, 0, headBytes, 0);
  } finally {
    closeSync(fd);
  }
  if (head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2) return undefined;
  const table = Number(head.readBigUInt64LE(32));
  const entryBytes = head.readUInt16LE(54);
  const entries = head.readUInt16LE(56);
  for (let index = 0; index < entries; index++) {
    const at = table + index * entryBytes;
    if (at + 56 > headBytes) return undefined;
    if (head.readUInt32LE(at) !== noteSegment) continue;
    const start = Number(head.readBigUInt64LE(at + 8));
    const found = buildIdNote(head, start, start + Number(head.readBigUInt64LE(at + 32)));
    if (found !== undefined) return found;
  }
  return undefined;
}

function buildIdNote(head: Buffer, start: number, end: number): Buffer | undefined {
  for (let at = start; at + 12 <= Math.min(end, headBytes); ) {
    const nameBytes = head.readUInt32LE(at);
    const valueBytes = head.readUInt32LE(at + 4);
    const name = at + 12;
    const value = name + Math.ceil(nameBytes / 4) * 4;
    if (head.readUInt32LE(at + 8) === noteBuildId && head.toString("latin1", name, name + 4) === "GNU\0") {
      return value + valueBytes <= headBytes ? head.subarray(value, value + valueBytes) : undefined;
    }
    at = value + Math.ceil(valueBytes / 4) * 4;
  }
  return undefined;
}
