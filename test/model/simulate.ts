// Runs the pager on the simulated kernel: one program, one schedule, judged by the oracle; then many of them from a
// seed, every schedule of a small one, and a failing one made smaller.
//   npm run simulate -- --steps N --seed S      a long run
//   npm run simulate -- --replay SEED           one program and schedule again, with its operations

import { PageFlag } from "../../src/images/pagemap";
import type { PageTable } from "../../src/images/pageTable";
import { Pager } from "../../src/pager/pager";
import type { PageRun, PageSource } from "../../src/pager/pageSource";
import { defaultPagerOptions } from "../../src/pager/requests";
import { Space } from "../../src/space/space";
import { generatePlan, type Plan, smaller } from "./generate";
import { AddressSpace } from "./memory";
import { blockOf, SimulatedUffd, SimulatedWaiter } from "./port";
import { runOperations } from "./program";
import { type Chooser, EnumeratingChooser, Hang, Machine, RandomChooser, type SimulatedProcess } from "./scheduler";

/** Steps after which a run is held to go round in circles. */
const runStepsMax = 400_000;

export interface RunOptions {
  readonly stayLazy: boolean;
  /** Messages that one read takes. */
  readonly messagesMax: number;
  readonly pagerWeight: number;
  readonly drainRateBytes: number;
  /** A fatal signal after so many steps, or never. */
  readonly killAfterSteps: number;
  /** The drain begins only after so many steps of the pager. */
  readonly drainAfter: number;
  /** Waits answer faults by themselves. */
  readonly servedByWaits: boolean;
}

export interface Outcome {
  readonly steps: number;
  readonly failure: string | undefined;
}

/**
 * Blocks of image pages: image page n belongs to block floor(n / blockPages); objects are kept, as the real ones are. With
 * `tabled` waits may answer faults by themselves.
 */
function imageSource(blockPages: number, tabled: boolean): PageSource {
  const runs = new Map<number, PageRun>();
  const table: PageTable = {
    runCount: 1,
    starts: Float64Array.of(0),
    counts: Float64Array.of(2 ** 40),
    flags: Uint8Array.of(PageFlag.Present),
    filePages: Float64Array.of(0),
    fd: -1,
    blocks: { kind: "raw", pagesPerBlock: blockPages },
  };
  return {
    table: () => (tabled ? table : undefined),
    locate(imagePage) {
      const first = imagePage - (imagePage % blockPages);
      let run = runs.get(first);
      if (run === undefined) {
        run = { imagePage: first, pageCount: blockPages, skip: 0, block: blockOf(first, blockPages) };
        runs.set(first, run);
      }
      return run;
    },
  };
}

/** The process as it is when its userfaultfd arrives: nothing present, and the layout that the pager is told. */
function restoredSpace(plan: Plan): { space: AddressSpace; layout: Space } {
  const space = new AddressSpace();
  const layout = Space.empty();
  for (const { page, pageCount, imageRuns } of plan.vmas) {
    space.insert({
      start: page,
      end: page + pageCount,
      protection: "write",
      context: undefined,
      pageOffset: page,
      anon: undefined,
    });
    layout.addZero(page, pageCount);
    for (const run of imageRuns) {
      // Image pages are numbered as CRIU's are: by their address at dump.
      layout.addImage(run.page, run.pageCount, 0, run.page);
      for (let at = run.page; at < run.page + run.pageCount; at++) space.setImagePage(at, at);
    }
  }
  return { space, layout };
}

/** One run to its end. Every page read on the way, and every page at the end, is judged. */
export function run(plan: Plan, chooser: Chooser, options: RunOptions): Outcome {
  const machine = new Machine(chooser);
  machine.pagerWeight = options.pagerWeight;
  machine.onEnd = (process) => judgeSpace(machine, process);
  try {
    const { process, pager } = prepare(machine, plan, options);
    drive(machine, process, pager, options);
  } catch (error) {
    if (error instanceof Hang) machine.fail(error.message);
    else machine.fail(`the pager threw ${error instanceof Error ? error.stack : error}`);
  }
  return { steps: machine.steps, failure: machine.failure };
}

function prepare(machine: Machine, plan: Plan, options: RunOptions): { process: SimulatedProcess; pager: Pager } {
  const { space, layout } = restoredSpace(plan);
  const process = machine.startProcess(space);
  const context = machine.kernel.newContext(space);
  for (const { page, pageCount } of plan.vmas) machine.kernel.register(context, page, page + pageCount);
  for (const operations of plan.threads) {
    machine.startThread(process, (threadId) => runOperations(machine, process, threadId, operations));
  }
  const { stayLazy, drainRateBytes } = options;
  const pager = new Pager(new SimulatedWaiter(machine), { ...defaultPagerOptions, stayLazy, drainRateBytes });
  pager.openSession(1, "simulated");
  pager.addContext(1, {
    uffd: new SimulatedUffd(machine, context, { messagesMax: options.messagesMax }),
    space: layout,
    sources: [imageSource(plan.blockPages, options.servedByWaits)],
    imagePid: process.pid,
    pid: process.pid,
    pidfd: process.pid,
  });
  return { process, pager };
}

function drive(machine: Machine, process: SimulatedProcess, pager: Pager, options: RunOptions): void {
  let pagerSteps = 0;
  while (machine.failure === undefined && (pager.busy || !machine.finished)) {
    if (pagerSteps++ === options.drainAfter) pager.startDrain(1);
    if (machine.steps >= options.killAfterSteps) machine.kill(process);
    if (pager.busy) pager.step();
    else machine.runAlone();
    if (machine.steps > runStepsMax) throw new Hang(`no end after ${runStepsMax} steps`);
    // A process that stays lazy ends when its program does; all of it was judged by then.
    if (options.stayLazy && machine.finished && pager.busy) return;
  }
}

/** What nobody touched must be right too, where it is there or nothing will bring it any more. */
function judgeSpace(machine: Machine, process: SimulatedProcess): void {
  const { space } = process;
  for (const vma of space.vmas) {
    for (let page = vma.start; page < vma.end; page++) {
      if (vma.context !== undefined && !space.present.has(page)) continue;
      // The pager was never told, and no thread lives that could look.
      if (space.unreported.some(([start, end]) => start <= page && page < end)) continue;
      const wrong = space.judge(page, space.present.get(page) ?? 0);
      if (wrong !== undefined) machine.fail(`${wrong} at the end of process ${process.pid}`);
    }
  }
}

/** Program, schedule and options, all from one seed. */
export function optionsOf(seed: number): RunOptions {
  const chooser = new RandomChooser(seed ^ 0x5bd1e995);
  const one = <T>(values: readonly T[]): T => values[chooser.pick(values.length)]!;
  return {
    stayLazy: chooser.pick(4) === 0,
    messagesMax: one([1, 2, 1024, 1024]),
    pagerWeight: one([0.2, 0.5, 0.8, 0.95]),
    drainRateBytes: one([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 4e8, 4e6]),
    killAfterSteps: chooser.pick(12) === 0 ? 20 + chooser.pick(400) : Number.POSITIVE_INFINITY,
    drainAfter: one([0, 0, 3, 40]),
    servedByWaits: chooser.pick(4) > 0,
  };
}

export function runSeed(seed: number): Outcome {
  return run(generatePlan(seed), new RandomChooser(seed), optionsOf(seed));
}

/** Schedules tried for each smaller program before it is held to be well. */
const shrinkTries = 30;
/** Scheduled steps that making a program smaller may take altogether. */
const shrinkStepsMax = 1_500_000;

/** The smallest program found that fails under the same options, with a schedule for it. */
export function shrink(seed: number): { plan: Plan; schedule: number; failure: string } {
  const options = optionsOf(seed);
  let found = { plan: generatePlan(seed), schedule: seed, failure: runSeed(seed).failure ?? "" };
  let steps = 0;
  for (let progress = true; progress && steps < shrinkStepsMax; ) {
    progress = false;
    for (const plan of smaller(found.plan)) {
      const failing = firstFailure(plan, options, seed);
      steps += failing.steps;
      if (steps > shrinkStepsMax) break;
      if (failing.failure === undefined) continue;
      found = { plan, schedule: failing.schedule, failure: failing.failure };
      progress = true;
      break;
    }
  }
  return found;
}

function firstFailure(plan: Plan, options: RunOptions, seed: number) {
  let steps = 0;
  for (let schedule = seed; schedule < seed + shrinkTries; schedule++) {
    const outcome = run(plan, new RandomChooser(schedule), options);
    steps += outcome.steps;
    if (outcome.failure !== undefined) return { schedule, failure: outcome.failure, steps };
  }
  return { schedule: seed, failure: undefined, steps };
}

/** What to print of a failing seed: why, the smallest program, and the command that runs it again. */
export function explain(seed: number): string {
  const { failure } = runSeed(seed);
  const small = shrink(seed);
  const lines = [`seed ${seed}: ${failure}`, `replay: npm run simulate -- --replay ${seed}`];
  lines.push(`smallest program found (schedule ${small.schedule}): ${small.failure}`, describePlan(small.plan));
  return lines.join("\n");
}

function describePlan(plan: Plan): string {
  const vmas = plan.vmas.map((vma) => `  vma ${JSON.stringify(vma)}`);
  const threads = plan.threads.map(
    (thread, i) => `  thread ${i}:\n${thread.map((each) => `    ${JSON.stringify(each)}`).join("\n")}`,
  );
  return [`  blocks of ${plan.blockPages}`, ...vmas, ...threads].join("\n");
}

/** Runs seeds from `first` until so many steps were scheduled; stops at the first failure. */
export function simulate(
  first: number,
  steps: number,
  progress?: (runs: number, steps: number) => void,
): { runs: number; steps: number; failedSeed: number | undefined } {
  let done = 0;
  let seed = first;
  for (; done < steps; seed++) {
    const outcome = runSeed(seed);
    done += outcome.steps;
    if (outcome.failure !== undefined) return { runs: seed - first + 1, steps: done, failedSeed: seed };
    if ((seed - first) % 1000 === 999) progress?.(seed - first + 1, done);
  }
  return { runs: seed - first, steps: done, failedSeed: undefined };
}

/** Every schedule of a small program, or `runsMax` of them. */
export function enumerate(
  plan: Plan,
  options: RunOptions,
  runsMax: number,
): { runs: number; complete: boolean; failure: string | undefined } {
  let prefix: number[] | undefined = [];
  let runs = 0;
  while (prefix !== undefined && runs < runsMax) {
    const chooser: EnumeratingChooser = new EnumeratingChooser(prefix);
    const { failure } = run(plan, chooser, options);
    runs++;
    if (failure !== undefined)
      return { runs, complete: false, failure: `${failure}; choices ${chooser.taken.join(" ")}` };
    prefix = chooser.nextPrefix();
  }
  return { runs, complete: prefix === undefined, failure: undefined };
}

function main(argv: readonly string[]): void {
  const value = (name: string, otherwise: number): number => {
    const at = argv.indexOf(name);
    return at < 0 ? otherwise : Number(argv[at + 1]);
  };
  const replay = value("--replay", -1);
  if (replay >= 0) {
    const { failure } = runSeed(replay);
    process.stdout.write(failure === undefined ? `seed ${replay} passes\n` : `${explain(replay)}\n`);
    process.exitCode = failure === undefined ? 0 : 1;
    return;
  }
  const seed = value("--seed", 1);
  const report = (runs: number, steps: number) => process.stderr.write(`${runs} programs, ${steps} steps\n`);
  const { runs, steps, failedSeed } = simulate(seed, value("--steps", 10_000_000), report);
  process.stdout.write(`${runs} programs, ${steps} scheduled steps, seeds from ${seed}\n`);
  if (failedSeed === undefined) return;
  process.stdout.write(`${explain(failedSeed)}\n`);
  process.exitCode = 1;
}

if (require.main === module) main(process.argv.slice(2));
