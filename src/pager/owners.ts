// Finds the processes whose memory a context is, where nobody ever said: copies made by fork(2). No call names the
// process behind a userfaultfd, but a page poisoned through it shows in that process's /proc/PID/pagemap and in no other's.
// Decides nothing: the pager says when, and what to do with what was found.
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { native } from "../native";

const ENTRY_BYTES = 8;
/** pagemap bit 62: swapped, as which every entry that is no page counts, poison markers too (proc_pid_pagemap(5)). */
const SWAPPED = 1n << 62n;
const PRESENT = 1n << 63n;
/**
 * Bits 0-54 of a poison marker: swap type 31, which is no device, and offset 2 (PTE_MARKER_POISONED of linux/swapops.h,
 * since Linux 6.6). Without CAP_SYS_ADMIN these bits read as 0.
 */
const POISON = 31n | (2n << 5n);
const LOCATION = (1n << 55n) - 1n;
const entry = new Uint8Array(ENTRY_BYTES);
const entryView = new DataView(entry.buffer);

/** The entry of `page`, or undefined where there is no such process, no memory, or no permission to look. */
function pagemapEntry(pid: number, page: number): bigint | undefined {
  let fd: number;
  try {
    fd = openSync(`/proc/${pid}/pagemap`, "r");
  } catch {
    return undefined; // it has exited meanwhile, or is none of ours
  }
  try {
    if (readSync(fd, entry, 0, ENTRY_BYTES, page * ENTRY_BYTES) !== ENTRY_BYTES) return undefined;
    return entryView.getBigUint64(0, true);
  } catch {
    return undefined; // its memory went while it was read
  } finally {
    closeSync(fd);
  }
}

function isMarked(pid: number, page: number): boolean {
  const found = pagemapEntry(pid, page);
  if (found === undefined || (found & SWAPPED) === 0n || (found & PRESENT) !== 0n) return false;
  const location = found & LOCATION;
  return location === POISON || location === 0n;
}

function everyPid(): number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger);
}

/** A pidfd of `pid` if it is still marked once the pidfd is held: then the number cannot have been given to another. */
function holdMarked(pid: number, page: number): number | undefined {
  const pidfd = native.pidfdOpen(pid);
  if (pidfd < 0) return undefined;
  if (isMarked(pid, page) && native.pidfdSignal(pidfd, 0) === 0) return pidfd;
  native.closeDescriptor(pidfd);
  return undefined;
}

/**
 * Pidfds of the processes in whose memory `page` was empty before `mark` poisoned it, and is poisoned now. The processes
 * seen are those of this pid namespace; more than one is found where memory is shared (vfork). `mark` says whether the
 * kernel has poisoned the page.
 */
export function findOwners(page: number, mark: () => boolean): number[] {
  const empty = everyPid().filter((pid) => pagemapEntry(pid, page) === 0n);
  if (!mark()) return [];
  const marked = empty.filter((pid) => isMarked(pid, page));
  return marked.map((pid) => holdMarked(pid, page)).filter((pidfd) => pidfd !== undefined);
}
