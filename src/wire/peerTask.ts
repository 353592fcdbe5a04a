// Finds the process behind a pid that a restoring peer names: CRIU sends pids of the restored tree's own pid namespace.
import { readdirSync, readFileSync } from "node:fs";

/** Processes looked at before giving up: a restored tree is smaller. */
const SEARCH_MAX = 100_000;

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // it has exited meanwhile
  }
}

function children(pid: number): number[] {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // it has exited meanwhile
  }
  const lists = threads.map((tid) => read(`/proc/${pid}/task/${tid}/children`));
  return lists.join(" ").split(/\s+/).filter(Boolean).map(Number);
}

/** The pid that the process has in its innermost namespace (proc(5), NSpid). */
function innerPid(pid: number): number {
  const line = /^NSpid:(.*)$/m.exec(read(`/proc/${pid}/status`));
  return line === null ? -1 : Number(line[1]!.trim().split(/\s+/).pop());
}

/**
 * The pid, here, of the descendant of `peerPid` that calls itself `virtualPid`, or 0. While a restore runs every task is
 * a descendant of its coordinator. Only files are read that do not touch the task's memory.
 */
export function findPeerTask(peerPid: number, virtualPid: number): number {
  if (peerPid <= 0) return 0;
  const queue = [peerPid];
  for (let at = 0; at < queue.length && at < SEARCH_MAX; at++) {
    const pid = queue[at]!;
    if (pid !== peerPid && innerPid(pid) === virtualPid) return pid;
    queue.push(...children(pid));
  }
  return 0;
}
