// Looks at processes under test through /proc and ends them, by pid, never by name.
// Only files are read that do not touch the target's memory: a lazily restored task may have none yet.
import { readdirSync, readFileSync } from "node:fs";
import { waitFor } from "./wait";

export interface ProcessStat {
  readonly pid: number;
  readonly comm: string;
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  /** Start time, clock ticks since boot: tells two users of one pid apart. */
  readonly startTicks: number;
}

/** /proc/PID/stat, or undefined where there is no such process (proc(5)). */
export function processStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  return {
    pid,
    comm: text.slice(text.indexOf("(") + 1, end),
    state: fields[0]!,
    parent: Number(fields[1]),
    session: Number(fields[3]),
    startTicks: Number(fields[19]),
  };
}

function everyProcess(): ProcessStat[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => processStat(Number(pid))).filter((stat) => stat !== undefined);
}

/** `root` and all that descend from it or are in a session led by one of them (orphans of the tree). */
export function processTree(root: number): ProcessStat[] {
  const all = everyProcess();
  const found = new Map<number, ProcessStat>();
  const self = all.find((stat) => stat.pid === root);
  if (self === undefined) return [];
  found.set(root, self);
  for (let grew = true; grew; ) {
    grew = false;
    for (const stat of all) {
      if (found.has(stat.pid) || !(found.has(stat.parent) || found.has(stat.session))) continue;
      found.set(stat.pid, stat);
      grew = true;
    }
  }
  return [...found.values()];
}

/** Every process of the session that `leader` leads or led, zombies included. */
export function sessionMembers(leader: number): ProcessStat[] {
  return everyProcess().filter((stat) => stat.session === leader);
}

/** True when no process has that pid any more, not even a zombie. */
export function isGone(pid: number): boolean {
  return processStat(pid) === undefined;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/**
 * Ends the processes of `known` that still live under the same pid and name, with all that descends from them now,
 * and waits until their pids are free. `known` was recorded while the tree was certainly the test's own.
 */
export async function endProcesses(known: readonly ProcessStat[]): Promise<void> {
  const targets = new Map<number, ProcessStat>();
  for (const old of known) {
    const now = processStat(old.pid);
    if (now === undefined || (now.comm !== old.comm && now.startTicks !== old.startTicks)) continue;
    for (const stat of processTree(old.pid)) targets.set(stat.pid, stat);
  }
  for (const pid of targets.keys()) kill(pid);
  await waitFor(`the end of processes ${[...targets.keys()].join(", ")}`, () =>
    [...targets.keys()].every((pid) => isGone(pid) || processStat(pid)?.state === "Z"),
  );
}
