// Are the pids of an image free? Waits for the ended tasks that hold one until somebody reaps them, as the tree that was
// just dumped does: its orphans stay zombies until pid 1 gets to them, which takes seconds where pid 1 is no real init.
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { FaultlineError } from "../../errors";
import { ZOMBIE_PATIENCE_MS, ZOMBIE_POLL_MS } from "../../limits";
import { readStat } from "../proc";

/**
 * Resolves once no process or thread has one of `tids`. Throws BUSY that names every one taken at once, as clone3 would
 * find only the first: at once where one of them runs, after `patienceMs` where all are zombies. `check` throws to
 * give the wait up.
 */
export async function awaitFreePids(
  tids: Iterable<number>,
  check: () => void = () => undefined,
  patienceMs = ZOMBIE_PATIENCE_MS,
): Promise<void> {
  const startMs = Date.now();
  for (let taken = takenOf(tids); taken.length > 0; taken = takenOf(taken)) {
    const alive = taken.find((tid) => zombieParent(tid) === undefined);
    if (alive !== undefined || Date.now() - startMs > patienceMs) throw busy(taken, alive);
    await sleep(ZOMBIE_POLL_MS);
    check();
  }
}

function takenOf(tids: Iterable<number>): number[] {
  return [...new Set(tids)].filter((tid) => existsSync(`/proc/${tid}`));
}

/** The parent of a zombie; 0 for a task that is gone meanwhile, undefined for one that lives. */
function zombieParent(pid: number): number | undefined {
  try {
    const { state, ppid } = readStat(pid);
    return state === "Z" || state === "X" ? ppid : undefined;
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return 0;
    throw error;
  }
}

function busy(taken: readonly number[], alive: number | undefined): FaultlineError {
  const first = taken[0] as number;
  const who =
    alive === undefined
      ? `${first} has ended, but its parent ${zombieParent(first)} has not waited for it`
      : `see what has it now with \`ps -fLp ${alive}\``;
  return new FaultlineError("BUSY", `the image's pids are taken: ${taken.join(", ")}`, {
    advice: `a restored process keeps its pid; ${who}`,
  });
}
