// File locks (fcntl(2), flock(2)) as /proc/PID/fdinfo tells them.
import type { Init } from "../../images/message";
import type { FileLockEntry } from "../../images/messages";

/** file_lock_entry.flag. */
export const lockKind = { posix: 1, flock: 2, openFile: 4, lease: 8 } as const;
const kindOf: Readonly<Record<string, number>> = {
  POSIX: lockKind.posix,
  FLOCK: lockKind.flock,
  OFDLCK: lockKind.openFile,
  LEASE: lockKind.lease,
};
const typeOf: Readonly<Record<string, number>> = { READ: 0, WRITE: 1 };
const lockLine = /^lock:\s+\d+: (POSIX|FLOCK|OFDLCK|LEASE)\s+\S+\s+(READ|WRITE)\s+(-?\d+) \S+ (\d+) (\d+|EOF)/gm;

export function hasLease(info: string): boolean {
  return /^lock:\s+\d+: LEASE/m.test(info);
}

/** A lease whose holder has been told to give it up (fcntl(2), F_SETLEASE); who opens the file waits. */
export function hasBreakingLease(info: string): boolean {
  return /^lock:\s+\d+: LEASE\s+BREAKING/m.test(info);
}

/** The locks of one descriptor. POSIX locks show at every descriptor of the file: the caller keeps one of each. */
export function parseFileLocks(info: string, pid: number, fd: number): Init<FileLockEntry>[] {
  return [...info.matchAll(lockLine)].map(([, kind, type, , start, end]) => {
    const flag = kindOf[kind as string] as number;
    const from = BigInt(start as string);
    // A lock to the end of the file has length 0 (fcntl(2)); flock has no range.
    const len = end === "EOF" ? 0n : BigInt(end as string) - from + 1n;
    return {
      flag,
      type: typeOf[type as string] as number,
      pid,
      fd,
      start: from,
      len: flag === lockKind.flock || flag === lockKind.lease ? 0n : len,
    };
  });
}
