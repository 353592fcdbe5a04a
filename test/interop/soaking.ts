// The soak: one busy multi-process program, dumped while it runs on, ended, and restored from those images, again and again.
// After every cycle nothing may have leaked into it or onto the machine. Not for single failures: see the crossings.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { runCommand } from "../support/criu";
import { endProcesses, sessionMembers } from "../support/processes";
import { type Program, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";
import { faultlineBinary, faultlineEngine } from "./engines";

/**
 * A perl program with a worker behind pipes, a periodic timer and a table, which notices a lost answer or a dead timer; and a
 * C program with workers behind pipes and a pseudo-terminal and with timers that must not drift apart.
 */
export const soakPrograms = ["server.pl", "soak_tree"] as const;

interface Footprint {
  readonly processes: number;
  readonly descriptors: number;
  /** Descriptors of pseudo-terminals. */
  readonly terminals: number;
  readonly temporaryFiles: number;
  /** Address space of all processes, KiB. */
  readonly spaceKib: number;
}

function footprint(program: Program): Footprint {
  const members = sessionMembers(program.pid).filter((stat) => stat.state !== "Z");
  const spaceKib = (pid: number) => Number(/VmSize:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  const lasting = members.flatMap(({ pid }) => lastingDescriptors(program, pid));
  return {
    processes: members.length,
    descriptors: lasting.length,
    terminals: lasting.filter((link) => /^\/dev\/(pts\/|ptmx)/.test(link)).length,
    temporaryFiles: readdirSync(program.scratch.path).filter((name) => !name.startsWith(".")).length,
    spaceKib: members.reduce((sum, { pid }) => sum + spaceKib(pid), 0),
  };
}

/** What the descriptors of a process are of, without the file that the program is just writing for the test. */
function lastingDescriptors(program: Program, pid: number): string[] {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
  return links.filter((link) => link !== "" && !link.startsWith(`${program.scratch.path}/.`));
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return ""; // just closed
    throw error;
  }
}

function silent(program: Program, cycle: number): void {
  assert.equal(program.verdictNow(), undefined, `cycle ${cycle}: the program gave a verdict before it was told to`);
}

async function cycleOnce(program: Program, cycle: number): Promise<void> {
  await withTempDir("soak", async (images) => {
    const args = ["dump", "-t", String(program.pid), "-D", images.path, "--leave-running"];
    const { status, output } = await runCommand(faultlineBinary, args, 60_000);
    assert.equal(status, 0, `cycle ${cycle}: ${output}`);
    await sleep(20); // it runs on, and what it does now is forgotten by the restore
    silent(program, cycle);
    program.remember();
    await endProcesses(program.tree());
    await program.gone();
    await faultlineEngine.restore(images.path, program.facts, cycle % 2 === 0);
    program.remember();
    await sleep(40);
    silent(program, cycle);
  });
}

/** Runs `cycles` cycles and throws at the first leak or failure. `report` hears of each cycle. */
export async function soak(
  name: string,
  cycles: number,
  report: (cycle: number, now: Footprint) => void,
): Promise<void> {
  await withProgram(name, async (program) => {
    const first = footprint(program);
    for (let cycle = 0; cycle < cycles; cycle++) {
      await cycleOnce(program, cycle);
      // A lazy restore keeps one descriptor in the task's table only while it is built: none may stay.
      await waitFor(`cycle ${cycle}: the processes to be as many as before`, () => {
        return footprint(program).processes === first.processes;
      });
      const now = footprint(program);
      report(cycle, now);
      assert.equal(now.descriptors, first.descriptors, `cycle ${cycle}: descriptors`);
      assert.equal(now.terminals, first.terminals, `cycle ${cycle}: terminals`);
      assert.equal(now.temporaryFiles, first.temporaryFiles, `cycle ${cycle}: files in its directory`);
      assert.ok(
        now.spaceKib <= first.spaceKib * 1.05 + 64,
        `cycle ${cycle}: ${now.spaceKib} KiB, ${first.spaceKib} at first`,
      );
    }
    program.go();
    assert.equal(await program.verdict(), "PASS");
  });
}
