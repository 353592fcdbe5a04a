// What changed from one checkpoint to another: tasks, threads, mappings, descriptors, pages. Tasks are matched by pid, pages
// by address. Not for printing: textDiff.ts.

import type { MmEntry, VmaEntry } from "../images/messages";
import { PAGE_BYTES } from "../limits";
import type { Checkpoint } from "./checkpoint";
import { type Descriptor, taskDescriptors } from "./descriptors";
import { describeVma, stackPointers, storedPages } from "./mappings";
import type { Memory } from "./memory";
import { noChanges, type PageChanges, PageComparer } from "./pageDiff";
import { listTasks, type Task } from "./tasks";

export type Change = "added" | "gone" | "changed" | "same";

export interface MappingDiff {
  readonly start: number;
  readonly end: number;
  readonly protection: string;
  readonly name: string;
  readonly change: Change;
  /** What is new about the mapping itself, in words; "" where nothing is. */
  readonly detail: string;
  readonly pages: PageChanges;
}

export interface DescriptorDiff {
  readonly fd: number;
  readonly change: Change;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

export interface TaskDiff {
  readonly pid: number;
  readonly command: string;
  readonly change: Change;
  readonly threadsAdded: readonly number[];
  readonly threadsGone: readonly number[];
  readonly mappings: readonly MappingDiff[];
  /** Only those that differ. */
  readonly descriptors: readonly DescriptorDiff[];
  readonly pages: PageChanges;
}

export interface CheckpointDiff {
  readonly before: string;
  readonly after: string;
  readonly tasks: readonly TaskDiff[];
  readonly pages: PageChanges;
  /** Whether anything at all differs. */
  readonly different: boolean;
}

export interface DiffOptions {
  /** Compare bytes even where checksums agree. */
  readonly allBytes?: boolean;
}

export function diffCheckpoints(before: Checkpoint, after: Checkpoint, options: DiffOptions = {}): CheckpointDiff {
  const comparer = new PageComparer(options.allBytes === true);
  const [oldTasks, newTasks] = [byPid(listTasks(before)), byPid(listTasks(after))];
  const [oldFds, newFds] = [descriptorsByPid(before), descriptorsByPid(after)];
  const pids = [...new Set([...oldTasks.keys(), ...newTasks.keys()])].sort((a, b) => a - b);
  const tasks = pids.map((pid) => {
    const [oldTask, newTask] = [oldTasks.get(pid), newTasks.get(pid)];
    const mappings = diffMappings(before, after, pid, comparer);
    const descriptors = diffDescriptors(oldFds.get(pid) ?? [], newFds.get(pid) ?? []);
    return taskDiff(pid, oldTask, newTask, mappings, descriptors);
  });
  return {
    before: before.path,
    after: after.path,
    tasks,
    pages: sum(tasks.map((task) => task.pages)),
    different: tasks.some((task) => task.change !== "same"),
  };
}

function byPid(tasks: readonly Task[]): Map<number, Task> {
  return new Map(tasks.map((task) => [task.pid, task]));
}

function taskDiff(
  pid: number,
  before: Task | undefined,
  after: Task | undefined,
  mappings: readonly MappingDiff[],
  descriptors: readonly DescriptorDiff[],
): TaskDiff {
  const oldThreads = before?.threads.map((thread) => thread.threadId) ?? [];
  const newThreads = after?.threads.map((thread) => thread.threadId) ?? [];
  const threadsAdded = newThreads.filter((id) => !oldThreads.includes(id));
  const threadsGone = oldThreads.filter((id) => !newThreads.includes(id));
  const pages = sum(mappings.map((mapping) => mapping.pages));
  const alike =
    threadsAdded.length + threadsGone.length + descriptors.length === 0 &&
    before?.state === after?.state &&
    before?.command === after?.command &&
    mappings.every((mapping) => mapping.change === "same");
  const change = before === undefined ? "added" : after === undefined ? "gone" : alike ? "same" : "changed";
  const command = after?.command ?? before?.command ?? "?";
  return { pid, command, change, threadsAdded, threadsGone, mappings, descriptors, pages };
}

function sum(changes: readonly PageChanges[]): PageChanges {
  const total = { ...noChanges };
  for (const each of changes) {
    total.changed += each.changed;
    total.added += each.added;
    total.gone += each.gone;
    total.same += each.same;
    total.unknown += each.unknown;
  }
  return total;
}

function present(checkpoint: Checkpoint, pid: number): boolean {
  return checkpoint.tasks.some((task) => task.pid === pid);
}

/** One side of a comparison: a task's mappings and what is stored for each. */
class Side {
  readonly vmas: readonly VmaEntry[];
  private readonly memory: Memory | undefined;
  private readonly stacks;
  constructor(
    private readonly checkpoint: Checkpoint,
    pid: number,
    private readonly mm: MmEntry | undefined = present(checkpoint, pid) ? checkpoint.mm(pid) : undefined,
  ) {
    this.vmas = mm === undefined ? [] : [...mm.vmas].sort((a, b) => (a.start < b.start ? -1 : 1));
    this.memory = mm === undefined ? undefined : checkpoint.memory(pid);
    this.stacks = mm === undefined ? [] : stackPointers(checkpoint, pid);
  }

  facts(vma: VmaEntry) {
    return describeVma(this.checkpoint, this.mm!, vma, this.stacks);
  }

  pages(vma: VmaEntry | undefined): Memory | undefined {
    return vma === undefined || this.memory === undefined ? undefined : storedPages(this.checkpoint, this.memory, vma);
  }
}

/** A stretch of addresses that one VMA covers in each side, or in one. */
interface Stretch {
  readonly start: bigint;
  readonly end: bigint;
  readonly before: VmaEntry | undefined;
  readonly after: VmaEntry | undefined;
}

/** Cuts the address space wherever a VMA of either side begins or ends. Guard ranges lie within others and are left out. */
function* stretches(before: readonly VmaEntry[], after: readonly VmaEntry[]): Generator<Stretch> {
  const borders = [...new Set([...before, ...after].flatMap((vma) => [vma.start, vma.end]))];
  borders.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  let [i, j] = [0, 0];
  for (let at = 0; at + 1 < borders.length; at++) {
    const start = borders[at]!;
    while (i < before.length && before[i]!.end <= start) i++;
    while (j < after.length && after[j]!.end <= start) j++;
    const covering = (vma: VmaEntry | undefined) => (vma !== undefined && vma.start <= start ? vma : undefined);
    const stretch = { start, end: borders[at + 1]!, before: covering(before[i]), after: covering(after[j]) };
    if (stretch.before !== undefined || stretch.after !== undefined) yield stretch;
  }
}

function diffMappings(before: Checkpoint, after: Checkpoint, pid: number, comparer: PageComparer): MappingDiff[] {
  const [left, right] = [new Side(before, pid), new Side(after, pid)];
  const found: MappingDiff[] = [];
  for (const stretch of stretches(left.vmas, right.vmas)) {
    const owner = stretch.after === undefined ? left.facts(stretch.before!) : right.facts(stretch.after);
    const earlier = stretch.before === undefined ? undefined : left.facts(stretch.before);
    const detail = stretch.after === undefined || earlier === undefined ? "" : changeText(earlier, owner);
    const [first, end] = [Number(stretch.start) / PAGE_BYTES, Number(stretch.end) / PAGE_BYTES];
    const pages = comparer.compare(left.pages(stretch.before), right.pages(stretch.after), first, end);
    const touched = pages.changed + pages.added + pages.gone > 0;
    const change: Change =
      stretch.before === undefined
        ? "added"
        : stretch.after === undefined
          ? "gone"
          : touched || detail !== ""
            ? "changed"
            : "same";
    const { protection, name } = owner;
    found.push({ start: Number(stretch.start), end: Number(stretch.end), protection, name, change, detail, pages });
  }
  return found;
}

type Facts = ReturnType<typeof describeVma>;

function changeText(before: Facts, after: Facts): string {
  const parts: string[] = [];
  if (before.protection !== after.protection) parts.push(`was ${before.protection}`);
  if (before.name !== after.name) parts.push(`was ${before.name === "" ? "anonymous" : before.name}`);
  return parts.join(", ");
}

function descriptorsByPid(checkpoint: Checkpoint): Map<number, readonly Descriptor[]> {
  return new Map(taskDescriptors(checkpoint).map((task) => [task.pid, task.descriptors]));
}

function diffDescriptors(before: readonly Descriptor[], after: readonly Descriptor[]): DescriptorDiff[] {
  const [old, now] = [descriptorTexts(before), descriptorTexts(after)];
  const fds = [...new Set([...old.keys(), ...now.keys()])].sort((a, b) => a - b);
  return fds.flatMap((fd) => {
    const [was, is] = [old.get(fd), now.get(fd)];
    if (was === is) return [];
    const change = was === undefined ? "added" : is === undefined ? "gone" : "changed";
    return [{ fd, change, before: was, after: is } as const];
  });
}

function descriptorTexts(descriptors: readonly Descriptor[]): Map<number, string> {
  return new Map(
    descriptors.map(({ fd, target, access, position, queuedBytes, closeOnExec }) => {
      const parts = [target, access];
      if (position !== undefined && position !== 0) parts.push(`at ${position}`);
      if (queuedBytes > 0) parts.push(`${queuedBytes} bytes queued`);
      if (closeOnExec) parts.push("close-on-exec");
      return [fd, parts.filter((part) => part !== "").join(", ")];
    }),
  );
}
