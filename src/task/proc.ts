// Reads and parses /proc of one task: stat, status, maps, fdinfo and their kin. Facts only (proc(5)); no decisions.
import { closeSync, existsSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { FaultlineError } from "../errors";
import { decodeText } from "../images/text";

/** What a file of /proc is read into: such files have no size, and a buffer for each costs more than the reading. */
let scratch = Buffer.allocUnsafeSlow(1024 * 1024);

/** Reads a file of /proc/PID as latin1, or throws NOT_FOUND / PERMISSION / SYSTEM naming it. */
export function readProc(pid: number, name: string): string {
  return scratch.toString("latin1", 0, readIntoScratch(pid, name));
}

export function readProcBytes(pid: number, name: string): Buffer {
  return Buffer.from(scratch.subarray(0, readIntoScratch(pid, name)));
}

/** How many bytes the file has. */
function readIntoScratch(pid: number, name: string): number {
  const file = `/proc/${pid}/${name}`;
  try {
    return readWhole(file);
  } catch (cause) {
    throw procError(cause, file, pid);
  }
}

function readWhole(file: string): number {
  const fd = openSync(file, "r");
  try {
    for (let length = 0; ; ) {
      const got = readSync(fd, scratch, length, scratch.length - length, null);
      if (got === 0) return length;
      length += got;
      if (length < scratch.length) continue;
      const larger = Buffer.allocUnsafeSlow(scratch.length * 2);
      scratch.copy(larger);
      scratch = larger;
    }
  } finally {
    closeSync(fd);
  }
}

export function listProc(pid: number, name: string): string[] {
  const file = `/proc/${pid}/${name}`;
  try {
    return readdirSync(file);
  } catch (cause) {
    throw procError(cause, file, pid);
  }
}

export function readProcLink(pid: number, name: string): string {
  const file = `/proc/${pid}/${name}`;
  try {
    return readlinkSync(file);
  } catch (cause) {
    throw procError(cause, file, pid);
  }
}

/** The permission bits of a magic link, which tell how the file was opened (proc_pid_fd(5), proc_pid_map_files(5)). */
export function procLinkMode(pid: number, name: string): number {
  const file = `/proc/${pid}/${name}`;
  try {
    return lstatSync(file).mode;
  } catch (cause) {
    throw procError(cause, file, pid);
  }
}

function procError(cause: unknown, file: string, pid: number): FaultlineError {
  const { code, errno } = cause as NodeJS.ErrnoException;
  const gone = code === "ENOENT" || code === "ESRCH";
  const refused = code === "EACCES" || code === "EPERM";
  const message = gone && !existsSync(`/proc/${pid}`) ? "there is no such process" : "cannot read the task's state";
  return new FaultlineError(gone ? "NOT_FOUND" : refused ? "PERMISSION" : "SYSTEM", message, {
    file,
    pid,
    errno: errno === undefined ? undefined : Math.abs(errno),
    advice: refused ? "run as root, or with CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE" : undefined,
    cause,
  });
}

/** /proc/PID/stat: the fields that a dump needs, by the names of proc_pid_stat(5). */
export interface TaskStat {
  readonly pid: number;
  readonly comm: string;
  readonly state: string;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  readonly tty: number;
  /** The foreground process group of the controlling terminal. */
  readonly ttyGroup: number;
  readonly flags: number;
  readonly startTime: bigint;
  readonly startCode: bigint;
  readonly endCode: bigint;
  readonly startStack: bigint;
  readonly realtimePriority: number;
  readonly policy: number;
  readonly startData: bigint;
  readonly endData: bigint;
  readonly startBrk: bigint;
  readonly argStart: bigint;
  readonly argEnd: bigint;
  readonly envStart: bigint;
  readonly envEnd: bigint;
  readonly exitCode: number;
  /** What tells the parent of its end; 0: nothing does. */
  readonly exitSignal: number;
}

/** Parses a stat line. The command may hold spaces and parentheses, so the last ")" ends it. */
export function parseStat(text: string): TaskStat {
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  const rest = text
    .slice(close + 2)
    .trim()
    .split(" ");
  // Field 3 (state) is rest[0].
  const field = (number: number): string => rest[number - 3] ?? "0";
  return {
    pid: Number(text.slice(0, open)),
    comm: pathText(text.slice(open + 1, close)),
    state: field(3),
    ppid: Number(field(4)),
    pgrp: Number(field(5)),
    session: Number(field(6)),
    tty: Number(field(7)),
    ttyGroup: Number(field(8)),
    flags: Number(field(9)),
    startTime: BigInt(field(22)),
    startCode: BigInt(field(26)),
    endCode: BigInt(field(27)),
    startStack: BigInt(field(28)),
    realtimePriority: Number(field(40)),
    policy: Number(field(41)),
    startData: BigInt(field(45)),
    endData: BigInt(field(46)),
    startBrk: BigInt(field(47)),
    argStart: BigInt(field(48)),
    argEnd: BigInt(field(49)),
    envStart: BigInt(field(50)),
    envEnd: BigInt(field(51)),
    exitCode: Number(field(52)),
    exitSignal: Number(field(38)),
  };
}

export function readStat(pid: number): TaskStat {
  return parseStat(readProc(pid, "stat"));
}

/** The letter of /proc/PID/task/TID/stat: R, S, D, T, t, Z, X (proc_pid_stat(5)). Throws NOT_FOUND. */
export function threadState(pid: number, tid: number): string {
  const text = readProc(pid, `task/${tid}/stat`);
  return text.charAt(text.lastIndexOf(")") + 2); // the name before it may hold anything
}

/** "Name:\tvalue" lines as a map: /proc/PID/status and /proc/PID/fdinfo/N (repeated names keep the first). */
export function parseFields(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0 && !fields.has(line.slice(0, colon))) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return fields;
}

/** A hexadecimal mask of /proc/PID/status ("SigCgt" and the like). */
export function statusMask(status: ReadonlyMap<string, string>, name: string): bigint {
  return BigInt(`0x${status.get(name) ?? "0"}`);
}

/** One mapping of /proc/PID/smaps. Addresses and offset in bytes; the vsyscall page is above 2^53. */
export interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  readonly permissions: string;
  readonly offset: number;
  readonly device: string;
  readonly inode: number;
  readonly path: string;
  /** Two-letter VmFlags. */
  readonly flags: ReadonlySet<string>;
  /** What the kernel maps at once: more than a page in hugetlbfs. */
  readonly pageKiB: number;
  /** pkeys(7); 0 where there is none. */
  readonly protectionKey: number;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const mappingHeader = /^([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$/;

const noFlags: ReadonlySet<string> = new Set();

/** Parses /proc/PID/smaps (or maps, whose mappings then have no flags). */
export function parseMappings(text: string): Mapping[] {
  const mappings: Writable<Mapping>[] = [];
  const flagSets = new Map<string, ReadonlySet<string>>(); // most mappings have the same
  for (let at = 0, end = 0; at < text.length; at = end + 1) {
    end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    const last = mappings.at(-1);
    switch (text[at]) {
      // Of some 25 fields, whose names begin with capitals, three matter: a frozen program waits for this.
      case "V":
        if (last !== undefined && text.startsWith("VmFlags:", at)) {
          const flags = text.slice(at + 8, end).trim();
          last.flags = flagSets.get(flags) ?? new Set(flags.split(/\s+/));
          flagSets.set(flags, last.flags);
        }
        break;
      case "K":
        if (last !== undefined && text.startsWith("KernelPageSize:", at)) {
          last.pageKiB = Number.parseInt(text.slice(at + 15, end), 10);
        }
        break;
      case "P":
        if (last !== undefined && text.startsWith("ProtectionKey:", at)) {
          last.protectionKey = Number.parseInt(text.slice(at + 14, end), 10);
        }
        break;
      default: {
        const header = isCapital(text.charCodeAt(at)) ? null : mappingHeader.exec(text.slice(at, end));
        if (header !== null) mappings.push(mappingOf(header));
      }
    }
  }
  return mappings;
}

const isCapital = (code: number): boolean => code >= 65 && code <= 90;

function mappingOf(header: RegExpExecArray): Writable<Mapping> {
  return {
    start: BigInt(`0x${header[1]}`),
    end: BigInt(`0x${header[2]}`),
    permissions: header[3] as string,
    offset: Number.parseInt(header[4] as string, 16),
    device: header[5] as string,
    inode: Number(header[6]),
    path: unescapePath(header[7] as string),
    flags: noFlags,
    pageKiB: 4,
    protectionKey: 0,
  };
}

/** Undoes the kernel's escapes of newlines in paths ("\012"). Paths come as latin1, so that any bytes survive. */
function unescapePath(path: string): string {
  return path.replace(/\\012/g, "\n");
}

/** The text of /proc strings (latin1, byte for byte), without loss where they are not UTF-8 (images/text.ts). */
export function pathText(latin1: string): string {
  return decodeText(Buffer.from(latin1, "latin1"));
}

/** The pids of the children of every thread of a process (needs CONFIG_PROC_CHILDREN). Exact for stopped tasks. */
export function childrenOf(pid: number): number[] {
  const children: number[] = [];
  for (const tid of listProc(pid, "task")) {
    let text: string;
    try {
      text = readProc(pid, `task/${tid}/children`);
    } catch (error) {
      if (error instanceof FaultlineError && error.code === "NOT_FOUND" && tid !== String(pid)) continue; // it ended
      throw error;
    }
    children.push(...text.split(" ").filter(Boolean).map(Number));
  }
  return children;
}

export function threadsOf(pid: number): number[] {
  return listProc(pid, "task")
    .map(Number)
    .sort((a, b) => (a === pid ? -1 : b === pid ? 1 : a - b));
}
