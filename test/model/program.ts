// What the threads of a simulated process do: operations as plain data, and their run on the simulated kernel with the
// oracle's verdict on every byte read. Not for making programs up (generate.ts) nor for who runs next (scheduler.ts).

import type { Protection } from "./memory";
import type { Machine, SimulatedProcess } from "./scheduler";
import type { AccessResult, Caller, Result, Running } from "./syscalls";

/** A page number; from MOVED on it counts from where the thread's last mremap() put its mapping. */
export const MOVED = 1e12;

export type Operation =
  | { readonly kind: "read" | "write"; readonly page: number }
  | { readonly kind: "dontneed" | "free" | "munmap" | "mmapFixed"; readonly page: number; readonly pageCount: number }
  | { readonly kind: "mprotect"; readonly page: number; readonly pageCount: number; readonly protection: Protection }
  | {
      readonly kind: "mremap";
      readonly page: number;
      readonly pageCount: number;
      readonly newCount: number;
      readonly mayMove: boolean;
      readonly fixedTo?: number;
      readonly dontUnmap?: boolean;
    }
  /** The child's threads; its first runs as soon as the fork is done. */
  | { readonly kind: "fork"; readonly threads: readonly (readonly Operation[])[] }
  /** Reads all that is mapped, page by page. */
  | { readonly kind: "readAll" }
  | { readonly kind: "exit" | "exec" };

/** What one operation gave, as the program sees it. A write gives the token it found and the one it left. */
export type OperationResult = Result | AccessResult | "forked" | "exited";

export interface Observer {
  /** Called when an operation is done, in the order in which they end. */
  done?(threadId: number, operation: Operation, result: OperationResult): void;
}

const beginsAtOnce = new Set<Operation["kind"]>(["read", "write", "readAll", "exit", "exec"]);

/** The body of a thread: its operations one after another. */
export function* runOperations(
  machine: Machine,
  process: SimulatedProcess,
  threadId: number,
  operations: readonly Operation[],
  observer: Observer = {},
): Running<void> {
  const caller: Caller = { threadId, killed: () => process.killed };
  let moved = 0;
  for (const [i, operation] of operations.entries()) {
    // Others may run between two operations; most system calls let them by themselves when they begin.
    if (i > 0 && beginsAtOnce.has(operation.kind)) yield undefined;
    if (process.killed) return;
    const at = "page" in operation ? resolve(operation.page, moved) : 0;
    const result = yield* runOperation(machine, process, caller, operation, at);
    if (operation.kind === "mremap" && typeof result === "number") moved = result;
    observer.done?.(threadId, operation, result);
    if (result === "exited") return;
  }
}

function resolve(page: number, moved: number): number {
  return page >= MOVED ? moved + (page - MOVED) : page;
}

export function* runOperation(
  machine: Machine,
  process: SimulatedProcess,
  caller: Caller,
  operation: Operation,
  at: number,
): Running<OperationResult> {
  const { kernel } = machine;
  const { space } = process;
  switch (operation.kind) {
    case "read":
    case "write":
      return yield* access(machine, process, caller, at, operation.kind === "write");
    case "dontneed":
    case "free":
      return yield* kernel.madvise(space, caller, operation.kind, at, at + operation.pageCount);
    case "munmap":
      return yield* kernel.munmap(space, caller, at, at + operation.pageCount);
    case "mmapFixed":
      return yield* kernel.mmapFixed(space, caller, at, at + operation.pageCount);
    case "mprotect":
      return yield* kernel.mprotect(space, at, at + operation.pageCount, operation.protection);
    case "mremap": {
      const { pageCount, newCount, mayMove, fixedTo, dontUnmap } = operation;
      return yield* kernel.mremap(space, caller, at, pageCount, newCount, { mayMove, fixedTo, dontUnmap });
    }
    case "fork":
      return yield* fork(machine, process, caller, operation.threads);
    case "readAll":
      return yield* readAll(machine, process, caller);
    case "exit":
      machine.kill(process);
      return "exited";
    case "exec":
      // The old space dies at once, but the process (and its pidfd) lives until its new program ends.
      machine.exec(process);
      return "exited";
  }
}

function* access(
  machine: Machine,
  process: SimulatedProcess,
  caller: Caller,
  page: number,
  write: boolean,
): Running<AccessResult> {
  const result = yield* machine.kernel.access(process.space, caller, page, write);
  if (result.kind !== "ok") return result;
  const wrong = process.space.judge(page, result.token);
  if (wrong !== undefined) machine.fail(`${wrong} (thread ${caller.threadId} of process ${process.pid})`);
  if (write) process.space.write(page, machine.kernel.newWrite());
  return result;
}

function* readAll(machine: Machine, process: SimulatedProcess, caller: Caller): Running<OperationResult> {
  const pages = process.space.vmas.flatMap(({ start, end }) =>
    Array.from({ length: end - start }, (_, i) => start + i),
  );
  for (const page of pages) {
    if ((yield* access(machine, process, caller, page, false)).kind === "killed") return "EINTR";
    yield undefined;
  }
  return 0;
}

function* fork(
  machine: Machine,
  process: SimulatedProcess,
  caller: Caller,
  threads: readonly (readonly Operation[])[],
): Running<OperationResult> {
  const space = yield* machine.kernel.fork(process.space, caller);
  if (space === "EINTR") return "EINTR";
  const child = machine.startProcess(space);
  for (const operations of threads)
    machine.startThread(child, (threadId) => runOperations(machine, child, threadId, operations));
  return "forked";
}
