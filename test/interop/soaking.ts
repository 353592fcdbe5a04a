// The soak: one busy multi-process program, dumped by a resident service while it runs on, ended, and restored from those
// images by the same service, again and again. After every cycle nothing may have leaked into the program, the service or
// onto the machine. Not for single failures: see the crossings.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { endProcesses, sessionMembers } from "../support/processes";
import { type Program, withProgram } from "../support/program";
import { ResidentService } from "../support/residentService";
import { type TempDir, withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";

/**
 * A perl program with a worker behind pipes, a periodic timer and a table, which notices a lost answer or a dead timer; and a
 * C program with workers behind pipes and a pseudo-terminal and with timers that must not drift apart.
 */
export const soakPrograms = ["server.pl", "soak_tree"] as const;

/** Cycles after which the service has all that it keeps: its pager, and the plans of some directories. */
const settledCycles = 6;
/** What the heap of a Node process may differ by, KiB. */
const heapKib = 48 * 1024;
/** What timers may come apart by in a cycle, and in looking at them, microseconds: see timers_together in soak.test.ts. */
const apartUsPerCycle = 200;
const apartUsOnce = 1000;

export interface Footprint {
  readonly processes: number;
  readonly descriptors: number;
  /** Descriptors of pseudo-terminals. */
  readonly terminals: number;
  /** In the program's directory, in that of the images and in the service's for temporary files. */
  readonly temporaryFiles: number;
  /** Address space of all processes, KiB. */
  readonly spaceKib: number;
  /** Of the service; pseudo-terminals are among its descriptors. */
  readonly serviceDescriptors: number;
  readonly serviceThreads: number;
  /** What it has in memory that is no file's, KiB. */
  readonly serviceKib: number;
}

interface Soaked {
  readonly program: Program;
  readonly service: ResidentService;
  /** Where the images of a cycle are, and nothing after it. */
  readonly images: TempDir;
}

function footprint({ program, service, images }: Soaked): Footprint {
  const members = sessionMembers(program.pid).filter((stat) => stat.state !== "Z");
  const lasting = members.flatMap(({ pid }) => lastingDescriptors(program, pid));
  const folders = [program.scratch.path, images.path, service.temporaryFolder];
  return {
    processes: members.length,
    descriptors: lasting.length,
    terminals: lasting.filter((link) => /^\/dev\/(pts\/|ptmx)/.test(link)).length,
    temporaryFiles: folders.flatMap((folder) => readdirSync(folder)).filter((name) => !name.startsWith(".")).length,
    spaceKib: members.reduce((sum, { pid }) => sum + statusNumber(pid, "VmSize"), 0),
    serviceDescriptors: readdirSync(`/proc/${service.pid}/fd`).length,
    serviceThreads: statusNumber(service.pid, "Threads"),
    serviceKib: statusNumber(service.pid, "RssAnon"),
  };
}

function statusNumber(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
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
  const verdict = program.verdictNow();
  assert.equal(verdict, undefined, `cycle ${cycle}: the program gave a verdict before it was told to`);
}

async function cycleOnce({ program, service, images }: Soaked, cycle: number): Promise<void> {
  const directory = images.join(String(cycle));
  await service.dump({ pid: program.pid, directory, leaveRunning: true });
  await sleep(20); // it runs on, and what it does now is forgotten by the restore
  silent(program, cycle);
  program.remember();
  await endProcesses(program.tree());
  await program.gone();
  const id = await service.restore({ directory, eager: cycle % 2 === 1 });
  program.remember();
  await sleep(40);
  silent(program, cycle);
  await service.complete(id);
  rmSync(directory, { recursive: true });
}

function hold(cycle: number, now: Footprint, first: Footprint): void {
  for (const what of ["descriptors", "terminals", "temporaryFiles"] as const) {
    assert.equal(now[what], first[what], `cycle ${cycle}: ${what}`);
  }
  const spaceMost = first.spaceKib * 1.05 + 64;
  assert.ok(now.spaceKib <= spaceMost, `cycle ${cycle}: ${now.spaceKib} KiB, ${first.spaceKib} at first`);
}

function holdService(cycle: number, now: Footprint, settled: Footprint): void {
  for (const what of ["serviceDescriptors", "serviceThreads"] as const) {
    assert.ok(now[what] <= settled[what], `cycle ${cycle}: ${what}: ${now[what]}, ${settled[what]} before`);
  }
  const { serviceKib } = settled;
  assert.ok(now.serviceKib <= serviceKib + heapKib, `cycle ${cycle}: ${now.serviceKib} KiB, ${serviceKib} before`);
}

/** Runs `cycles` cycles and throws at the first leak or failure. `report` hears of each cycle. What the program said. */
export async function soak(
  name: string,
  cycles: number,
  report: (cycle: number, now: Footprint) => void,
): Promise<string> {
  const options = { arguments: [String(cycles * apartUsPerCycle + apartUsOnce)] };
  const body = async (soaked: Soaked): Promise<string> => {
    const { program } = soaked;
    const first = footprint(soaked);
    let settled: Footprint | undefined;
    for (let cycle = 0; cycle < cycles; cycle++) {
      await cycleOnce(soaked, cycle);
      // What ends does so in its own time: the processes of the tree before, and the service's watch on them.
      await waitFor(`cycle ${cycle}: everything to be as before: ${JSON.stringify(footprint(soaked))}`, () => {
        const now = footprint(soaked);
        const same = now.processes === first.processes && now.descriptors === first.descriptors;
        return same && now.serviceDescriptors <= (settled ?? now).serviceDescriptors;
      });
      const now = footprint(soaked);
      report(cycle, now);
      hold(cycle, now, first);
      if (settled !== undefined) holdService(cycle, now, settled);
      if (cycle + 1 === settledCycles) settled = now;
    }
    program.go();
    assert.equal(await program.verdict(), "PASS");
    return program.output().trim();
  };
  return withTempDir("soak", (folder) =>
    ResidentService.using(folder, (service) =>
      withTempDir("soak-images", (images) =>
        withProgram(name, (program) => body({ program, service, images }), options),
      ),
    ),
  );
}
