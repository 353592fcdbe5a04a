// Makes up programs for the simulation from a seed, and makes failing ones smaller. Not for running them: simulate.ts.
import type { Protection } from "./memory";
import { MOVED, type Operation } from "./program";
import { type Chooser, RandomChooser } from "./scheduler";

/** A VMA of the checkpointed process: private anonymous memory, in part in the image. */
export interface InitialVma {
  readonly page: number;
  readonly pageCount: number;
  /** [page, count) runs that have image bytes; the rest is zero. */
  readonly imageRuns: readonly { readonly page: number; readonly pageCount: number }[];
}

export interface Plan {
  readonly vmas: readonly InitialVma[];
  /** One list of operations for each thread of the first process. */
  readonly threads: readonly (readonly Operation[])[];
  /** Pages in one stored block, at most. */
  readonly blockPages: number;
}

const ARENA_PAGES = 140;

function one<T>(chooser: Chooser, values: readonly T[]): T {
  return values[chooser.pick(values.length)]!;
}

function initialVmas(chooser: Chooser): InitialVma[] {
  const vmas: InitialVma[] = [];
  for (let page = 1 + chooser.pick(4); page < 100; page += chooser.pick(3) * 4) {
    const pageCount = 2 + chooser.pick(32);
    const imageRuns: { page: number; pageCount: number }[] = [];
    for (let at = page + chooser.pick(3); at < page + pageCount; ) {
      const count = Math.min(1 + chooser.pick(12), page + pageCount - at);
      imageRuns.push({ page: at, pageCount: count });
      at += count + (chooser.pick(3) === 0 ? 0 : chooser.pick(6));
    }
    vmas.push({ page, pageCount, imageRuns });
    page += pageCount;
  }
  return vmas;
}

/** Ranges that line up with what is there are the interesting ones; others come too. */
function range(chooser: Chooser, vmas: readonly InitialVma[]): { page: number; pageCount: number } {
  const vma = one(chooser, vmas);
  switch (chooser.pick(5)) {
    case 0:
      return { page: vma.page, pageCount: vma.pageCount };
    case 1:
    case 2: {
      const skip = chooser.pick(vma.pageCount);
      return { page: vma.page + skip, pageCount: 1 + chooser.pick(vma.pageCount - skip) };
    }
    case 3:
      return { page: MOVED + chooser.pick(8), pageCount: 1 + chooser.pick(12) };
    default:
      return { page: 1 + chooser.pick(ARENA_PAGES - 30), pageCount: 1 + chooser.pick(30) };
  }
}

function mremap(chooser: Chooser, vmas: readonly InitialVma[]): Operation {
  const { page, pageCount } = range(chooser, vmas);
  const to = chooser.pick(2) === 0 ? one(chooser, vmas).page : 1 + chooser.pick(ARENA_PAGES);
  const count = { kind: "mremap", page, pageCount } as const;
  switch (chooser.pick(6)) {
    case 0:
      return { ...count, newCount: 1 + chooser.pick(pageCount), mayMove: false };
    case 1:
      return { ...count, newCount: pageCount + 1 + chooser.pick(8), mayMove: chooser.pick(2) === 0 };
    case 2:
      return { ...count, newCount: 1 + chooser.pick(pageCount + 6), mayMove: true, fixedTo: to };
    case 3:
      return { ...count, newCount: pageCount, mayMove: true, dontUnmap: true };
    case 4:
      return { ...count, newCount: pageCount, mayMove: true, fixedTo: to, dontUnmap: true };
    default:
      return { ...count, newCount: pageCount, mayMove: true, fixedTo: to };
  }
}

/** Every other thread ends with a look at everything. */
function operations(chooser: Chooser, vmas: readonly InitialVma[], count: number, depth: number): Operation[] {
  const made = Array.from({ length: count }, () => operation(chooser, vmas, depth));
  return chooser.pick(2) === 0 ? made : [...made, { kind: "readAll" }];
}

function operation(chooser: Chooser, vmas: readonly InitialVma[], depth: number): Operation {
  const kind = chooser.pick(100);
  const { page, pageCount } = range(chooser, vmas);
  const inside = page + chooser.pick(pageCount);
  if (kind < 40) return { kind: "read", page: inside };
  if (kind < 60) return { kind: "write", page: inside };
  if (kind < 67) return { kind: "dontneed", page, pageCount };
  if (kind < 72) return { kind: "free", page, pageCount };
  if (kind < 76) return { kind: "munmap", page, pageCount };
  if (kind < 79) return { kind: "mmapFixed", page: Math.min(page, ARENA_PAGES), pageCount };
  if (kind < 85) {
    const protection = one<Protection>(chooser, ["read", "write", "write", "none"]);
    return { kind: "mprotect", page, pageCount, protection };
  }
  if (kind < 94) return mremap(chooser, vmas);
  if (kind < 98 && depth < 3) {
    const threads = Array.from({ length: 1 + chooser.pick(2) }, () =>
      operations(chooser, vmas, 1 + chooser.pick(6), depth + 1),
    );
    return { kind: "fork", threads };
  }
  if (kind === 99) return { kind: chooser.pick(3) === 0 ? "exec" : "exit" };
  return { kind: "read", page: inside };
}

/** A program that depends on the seed alone. */
export function generatePlan(seed: number): Plan {
  const chooser = new RandomChooser(seed);
  const vmas = initialVmas(chooser);
  const threads = Array.from({ length: 1 + chooser.pick(4) }, () => operations(chooser, vmas, 1 + chooser.pick(24), 0));
  return { vmas, threads, blockPages: one(chooser, [1, 4, 16]) };
}

/** Programs a little smaller than this one, the much smaller ones first. */
export function* smaller(plan: Plan): Generator<Plan> {
  for (const [i, thread] of plan.threads.entries()) {
    const others = plan.threads.filter((_, j) => j !== i);
    if (others.length > 0) yield { ...plan, threads: others };
    for (let size = thread.length; size >= 1; size >>= 1) {
      for (let at = 0; at < thread.length; at += size) {
        const rest = [...thread.slice(0, at), ...thread.slice(at + size)];
        yield { ...plan, threads: plan.threads.map((own, j) => (j === i ? rest : own)) };
      }
    }
    for (const [at, each] of thread.entries()) {
      if (each.kind !== "fork") continue;
      for (const child of smaller({ ...plan, threads: each.threads })) {
        const changed = thread.map((own, j) => (j === at ? { ...each, threads: child.threads } : own));
        yield { ...plan, threads: plan.threads.map((own, j) => (j === i ? changed : own)) };
      }
    }
  }
  for (const [i] of plan.vmas.entries()) {
    if (plan.vmas.length > 1) yield { ...plan, vmas: plan.vmas.filter((_, j) => j !== i) };
  }
}
