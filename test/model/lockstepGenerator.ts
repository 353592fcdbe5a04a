// Makes up the next step of a conformance sequence: only steps whose outcome on the real kernel is determined, which
// means one thread inside a layout change at a time. Not for the simulation's programs: see generate.ts.
import {
  ARENA,
  ARENA_PAGES,
  type Call,
  type Ioctl,
  type Lockstep,
  type QueuedCopy,
  SLOTS,
  type Step,
} from "./lockstep";
import type { Protection } from "./memory";
import type { Chooser } from "./scheduler";

type Simulated = Lockstep["simulated"];

function one<T>(chooser: Chooser, values: readonly T[]): T {
  return values[chooser.pick(values.length)]!;
}

function range(chooser: Chooser): { page: number; pageCount: number } {
  const page = chooser.pick(ARENA_PAGES - 1);
  return { page, pageCount: 1 + chooser.pick(Math.min(24, ARENA_PAGES - page)) };
}

/** Across a border mremap() fails late, after it unmapped other things, and how late differs between kernels. */
function crossesBorder(simulated: Simulated, slot: number, body: Call): boolean {
  if (body.kind !== "mremap" || body.page + body.pageCount > ARENA_PAGES) return body.kind === "mremap";
  const vma = simulated.slots[slot]!.space.at(ARENA + body.page);
  return vma !== undefined && ARENA + body.page + body.pageCount > vma.end;
}

function layoutCall(simulated: Simulated, chooser: Chooser): Call {
  const { page, pageCount } = range(chooser);
  const kind = one(chooser, ["dontneed", "free", "munmap", "mmap", "mprotect", "mremap", "mremap", "fork"] as const);
  if (kind === "fork") return simulated.freeSlot() === undefined ? { kind: "free", page, pageCount } : { kind };
  if (kind === "mprotect") {
    const protection = one<Protection>(chooser, ["write", "write", "read", "none"]);
    return { kind, page, pageCount, protection };
  }
  return kind === "mremap" ? mremap(chooser, page, pageCount) : { kind, page, pageCount };
}

/** Moves always name their destination: the place that the kernel would choose is its own business. */
function mremap(chooser: Chooser, page: number, pageCount: number): Call {
  const fixedTo = chooser.pick(ARENA_PAGES - pageCount);
  switch (chooser.pick(4)) {
    case 0:
      return { kind: "mremap", page, pageCount, newCount: 1 + chooser.pick(pageCount), mayMove: chooser.pick(2) === 0 };
    case 1:
      return { kind: "mremap", page, pageCount, newCount: pageCount + 1 + chooser.pick(8), mayMove: false };
    case 2: {
      const newCount = Math.min(ARENA_PAGES - fixedTo, 1 + chooser.pick(pageCount + 4));
      return { kind: "mremap", page, pageCount, newCount, mayMove: true, fixedTo };
    }
    default: {
      const dontUnmap = chooser.pick(2) === 0;
      return { kind: "mremap", page, pageCount, newCount: pageCount, mayMove: true, fixedTo, dontUnmap };
    }
  }
}

function ioctl(chooser: Chooser): Ioctl {
  const { page, pageCount } = range(chooser);
  const few = 1 + chooser.pick(Math.min(8, pageCount));
  switch (chooser.pick(10)) {
    case 0:
      return { kind: "wake", page, pageCount };
    case 1:
      return chooser.pick(4) === 0 ? { kind: "unregister", page, pageCount } : { kind: "zero", page, pageCount: few };
    case 2:
    case 3:
      return { kind: "zero", page, pageCount: few };
    case 4:
      // Poison is in the table only.
      return { kind: "copy", page, imagePage: 0, pageCount: few };
    case 5:
      return queue(chooser);
    case 6:
      return { kind: "copy", page, imagePage: chooser.pick(ARENA_PAGES - few), pageCount: few };
    default:
      return { kind: "read-events" };
  }
}

function queue(chooser: Chooser): Ioctl {
  const runs: QueuedCopy[] = [];
  for (let count = 1 + chooser.pick(5); count > 0; count--) {
    const { page, pageCount } = range(chooser);
    const few = 1 + chooser.pick(Math.min(8, pageCount));
    runs.push({ page, imagePage: chooser.pick(ARENA_PAGES - few), pageCount: few });
  }
  return { kind: "queue", runs, runCount: 1 + chooser.pick(runs.length) };
}

/** An install that a sleeping thread waits for, so that sequences get on. */
function answer(simulated: Simulated, chooser: Chooser): Step | undefined {
  for (const [context, { readFaults, space }] of simulated.contexts.entries()) {
    const waiter = readFaults[0];
    if (waiter === undefined || !space.alive) continue;
    const page = waiter.page - ARENA;
    if (chooser.pick(2) === 0) return { context, ioctl: { kind: "zero", page, pageCount: 1 } };
    return { context, ioctl: { kind: "copy", page, imagePage: chooser.pick(ARENA_PAGES - 4), pageCount: 1 } };
  }
  return undefined;
}

/** The next step, or undefined when nothing more can happen. */
export function generateStep(simulated: Simulated, chooser: Chooser): Step | undefined {
  const slots = [...Array(SLOTS).keys()].filter((slot) => simulated.slots[slot] !== undefined);
  const alive = slots.filter((slot) => simulated.slots[slot]!.space.alive);
  if (alive.length === 0) return undefined;
  const idle = alive.filter((slot) => simulated.slots[slot]!.running === undefined);
  const changing = alive.some((slot) => simulated.slots[slot]!.sleepsIn === "event");
  const context = chooser.pick(simulated.contexts.length);
  const kind = chooser.pick(10);
  if (kind < 2) {
    const step = answer(simulated, chooser);
    if (step !== undefined) return step;
  }
  if (idle.length === 0 || kind < 5) return { context, ioctl: ioctl(chooser) };
  const slot = one(chooser, idle);
  if (kind < 8 || changing) {
    const page = chooser.pick(ARENA_PAGES);
    const { space } = simulated.slots[slot]!;
    // Two threads that wake on one page race for it.
    const awaited = simulated.contexts.some(
      (each) =>
        each.space === space && [...each.pendingFaults, ...each.readFaults].some((w) => w.page === ARENA + page),
    );
    if (awaited) return { context, ioctl: { kind: "read-events" } };
    return { slot, call: { kind: one(chooser, ["read", "write"]), page } };
  }
  // The first process's exit would take all others with it.
  if (slot > 1 && chooser.pick(12) === 0) return { slot, call: { kind: "exit" } };
  const body = layoutCall(simulated, chooser);
  if (crossesBorder(simulated, slot, body)) return { context, ioctl: { kind: "read-events" } };
  return { slot, call: body };
}
