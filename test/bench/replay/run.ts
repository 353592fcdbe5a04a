// Runs recorded address spaces under the pager and compares what they found with the image. Prints nothing.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { FaultlineError } from "../../../src/errors";
import { ImageDirectory } from "../../../src/images/directory";
import type { PageIndex } from "../../../src/images/pageIndex";
import { native } from "../../../src/native";
import { criuLayout } from "../../../src/pager/criuLayout";
import { PagerThread } from "../../../src/pager/pagerThread";
import type { PagerOptions, SessionReport } from "../../../src/pager/requests";
import { LAYOUT_ENTRY_NUMBERS, Space } from "../../../src/space/space";
import { withTempDir } from "../../support/tempdir";
import { waitFor } from "../../support/wait";
import { compileYardstick } from "../support/compile";
import { hashOf, Operations, Status } from "./operations";
import { type Area, Places } from "./place";
import type { AddressSpace, Recorded } from "./trace";

export interface Replayed {
  readonly report: SessionReport;
  touches: number;
  /** Of the touches that were no hit, as the program saw them. */
  readonly waitedUs: number[];
  right: number;
  readonly wrong: string[];
  /** Touches of memory that was mapped after the restore. */
  notMapped: number;
  refused: number;
}

/** A touch that takes longer was no hit: it met the kernel, microseconds. */
const HIT_US = 2;
const SESSION = 1;

interface Task {
  readonly space: AddressSpace;
  readonly layout: Float64Array;
  readonly operations: Operations;
  readonly file: string;
  readonly child: ChildProcess;
  readonly exited: Promise<number>;
}

/** The layout at other addresses; what was there in the recorded task is zero here: nobody installs it. */
function moved(layout: Float64Array, places: Places): Float64Array {
  const out = layout.slice();
  for (let at = 0; at < out.length; at += LAYOUT_ENTRY_NUMBERS) out[at] = places.of(out[at]!);
  return out;
}

/** What the layout covers, joined, in address order. */
function areasOf(layout: Float64Array): Area[] {
  const entries: Area[] = [];
  for (let at = 0; at < layout.length; at += LAYOUT_ENTRY_NUMBERS) {
    entries.push({ page: layout[at]!, pages: layout[at + 1]! });
  }
  const areas: { page: number; pages: number }[] = [];
  for (const { page, pages } of entries.sort((a, b) => a.page - b.page)) {
    const last = areas[areas.length - 1];
    if (last !== undefined && page <= last.page + last.pages)
      last.pages = Math.max(last.pages, page + pages - last.page);
    else areas.push({ page, pages });
  }
  return areas;
}

async function start(space: AddressSpace, images: ImageDirectory, file: string): Promise<Task> {
  const recorded = criuLayout(images, space.imagePid);
  const areas = areasOf(recorded);
  const places = new Places(areas);
  const operations = new Operations(space, areas, places);
  writeFileSync(file, operations.bytes);
  const child = spawn(compileYardstick("replay"), [file], { stdio: ["ignore", "ignore", "inherit"] });
  const exited = new Promise<number>((done) => child.once("exit", (code) => done(code ?? 128)));
  return { space, layout: moved(recorded, places), operations, file, child, exited };
}

/** Takes the program's userfaultfd, and lets it go once the pager has it. */
async function serve(task: Task, thread: PagerThread): Promise<void> {
  const fd = openSync(task.file, "r+");
  const header = Buffer.alloc(8);
  await waitFor("the replaying process to map its memory", () => {
    if (task.child.exitCode !== null) throw new FaultlineError("SYSTEM", "the replaying process has ended");
    readSync(fd, header, 0, 8, 0);
    return header.readUInt32LE(0) === 1;
  });
  const pid = task.child.pid!;
  const pidfd = native.pidfdOpen(pid);
  const uffd = native.pidfdGetfd(pidfd, header.readInt32LE(4));
  const { imagePid } = task.space;
  await thread.addContext({ sessionId: SESSION, uffd, imagePid, pid, pidfd, layout: task.layout });
  header.writeUInt32LE(2, 0);
  writeSync(fd, header, 0, 4, 0);
  closeSync(fd);
}

/** Goes through the steps again on the layout alone, and compares what each touch must have found. */
function compare(task: Task, file: Buffer, index: PageIndex, result: Replayed): void {
  const page = Buffer.alloc(4096);
  const zero = hashOf(page);
  const expected = (space: Space, at: number): string => {
    const need = space.at(at);
    if (need.kind !== "image") return zero;
    index.readPages(need.imagePage + at - need.page, 1, page);
    return hashOf(page);
  };
  const follow = (recorded: AddressSpace, space: Space): void => {
    recorded.steps.forEach((step, i) => {
      const outcome = task.operations.outcome(file, recorded, i);
      const { page: at, pages, to } = task.operations.placed(recorded, i);
      if (step.kind === "read" || step.kind === "write") {
        result.touches++;
        if (outcome.latencyUs > HIT_US) result.waitedUs.push(outcome.latencyUs);
        if (outcome.status === Status.notMapped) result.notMapped++;
        else if (outcome.status === Status.done && outcome.hash === expected(space, at)) result.right++;
        else result.wrong.push(`${step.kind} of page 0x${step.page.toString(16)} of task ${recorded.imagePid}`);
      } else if (step.kind === "fork") follow(step.child, space.fork());
      else if (outcome.status !== Status.done) result.refused++;
      else if (step.kind === "remap") space.remapped(at, to, pages);
      else if (step.kind === "remove") space.removed(at, pages);
      else space.unmapped(at, pages);
    });
  };
  follow(task.space, Space.from(task.layout));
}

/**
 * Throws FaultlineErrors for a directory that does not go with the trace. `beforeCompare` is for a test of the comparison.
 */
export async function replay(
  recorded: Recorded,
  imagesDir: string,
  options: Partial<PagerOptions>,
  beforeCompare: () => void = () => undefined,
): Promise<Replayed> {
  if (recorded.roots.length === 0) throw new FaultlineError("USAGE", "the trace has no task of that session");
  return withTempDir("replay", async (scratch) => {
    using images = ImageDirectory.open(imagesDir);
    const thread = await PagerThread.start(options);
    const tasks: Task[] = [];
    let report: SessionReport;
    try {
      await thread.openSession({ sessionId: SESSION, imagesDir, workingSet: false });
      for (const [i, space] of recorded.roots.entries()) tasks.push(await start(space, images, scratch.join(`${i}`)));
      for (const task of tasks) await serve(task, thread);
      await thread.startDrain(SESSION);
      for (const task of tasks) await task.exited;
      report = await thread.sessionDone(SESSION);
    } finally {
      for (const { child } of tasks) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await thread.stop();
    }
    beforeCompare();
    const result: Replayed = { report, touches: 0, waitedUs: [], right: 0, wrong: [], notMapped: 0, refused: 0 };
    for (const task of tasks) compare(task, readFileSync(task.file), images.pageIndex(task.space.imagePid), result);
    return result;
  });
}
