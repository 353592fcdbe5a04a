// The process tree of a checkpoint: who is whose child, threads, command lines, sizes. Not for what is mapped where.

import type { TaskNode } from "../images/directory";
import type { CoreEntry, MmEntry } from "../images/messages";
import { decodeText } from "../images/text";
import { PAGE_BYTES } from "../limits";
import type { Checkpoint } from "./checkpoint";
import { type Memory, readMemory } from "./memory";

/** Numbers of task_core_node.task_state: docs/images.md. */
const states: Readonly<Record<number, TaskState>> = { 1: "alive", 2: "dead", 3: "stopped", 6: "dead" };
export type TaskState = "alive" | "dead" | "stopped";

export interface Thread {
  readonly threadId: number;
  readonly name: string;
}

export interface Task {
  readonly pid: number;
  readonly parentPid: number;
  readonly processGroup: number;
  readonly session: number;
  readonly state: TaskState;
  /** How a dead task ended: the status that wait(2) gives its parent; undefined for others. */
  readonly exitStatus: number | undefined;
  readonly command: string;
  /** argv as it was in memory; empty where that memory is not in the image. */
  readonly commandLine: readonly string[];
  readonly userId: number | undefined;
  readonly threads: readonly Thread[];
  /** Bytes of all mappings. */
  readonly virtualBytes: number;
  /** Bytes of the pages that belong to the image, wherever they are stored. */
  readonly pagesBytes: number;
  /** Of those, bytes that a restore may leave for later. */
  readonly lazyBytes: number;
  /** Bytes those pages take in this directory's files. */
  readonly storedBytes: number;
  /** How deep in the tree: 0 for a root. */
  readonly depth: number;
}

/** Most bytes of arguments or environment that are read: what execve(2) itself allows is 6 MiB with default limits. */
const stringBytesMax = 8 * 1024 * 1024;
const pagesEnd = 2 ** 52;

/** Every task, parents before their children and each child right below its parent. */
export function listTasks(checkpoint: Checkpoint): Task[] {
  const tasks: Task[] = [];
  const stack = checkpoint.directory.roots.map((node) => ({ node, depth: 0 })).reverse();
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { node, depth } = next;
    tasks.push(describeTask(checkpoint, node, depth));
    for (const child of node.children.toReversed()) stack.push({ node: child, depth: depth + 1 });
  }
  return tasks;
}

function describeTask(checkpoint: Checkpoint, node: TaskNode, depth: number): Task {
  const core = checkpoint.core(node.pid);
  const state = taskState(core);
  const mm = checkpoint.mm(node.pid);
  const memory = checkpoint.memory(node.pid);
  const sizes = memorySizes(memory);
  return {
    pid: node.pid,
    parentPid: node.ppid,
    processGroup: node.pgid,
    session: node.sid,
    state,
    exitStatus: state === "dead" ? core.tc?.exit_code : undefined,
    command: core.tc?.comm ?? "?",
    commandLine: mm === undefined ? [] : commandLine(mm, memory),
    userId: core.thread_core?.creds?.uid,
    threads: state === "dead" ? [] : node.threads.map((threadId) => threadOf(checkpoint, threadId)),
    virtualBytes: mm === undefined ? 0 : virtualBytes(mm),
    pagesBytes: sizes.pages * PAGE_BYTES,
    lazyBytes: sizes.lazy * PAGE_BYTES,
    storedBytes: sizes.storedBytes,
    depth,
  };
}

export function taskState(core: CoreEntry): TaskState {
  return states[core.tc?.task_state ?? 1] ?? "alive";
}

function threadOf(checkpoint: Checkpoint, threadId: number): Thread {
  const core = checkpoint.core(threadId);
  return { threadId, name: core.thread_core?.comm ?? core.tc?.comm ?? "?" };
}

function virtualBytes(mm: MmEntry): number {
  let bytes = 0n;
  for (const vma of mm.vmas) bytes += vma.end - vma.start;
  return Number(bytes);
}

interface MemorySizes {
  readonly pages: number;
  readonly lazy: number;
  readonly storedBytes: number;
}

/** Counted over the blocks' descriptions; nothing is read. */
export function memorySizes(memory: Memory, firstPage = 0, endPage = pagesEnd): MemorySizes {
  let [pages, lazy, storedBytes] = [0, 0, 0];
  for (const piece of memory.pieces(firstPage, endPage)) {
    pages += piece.pageCount;
    if (piece.lazy) lazy += piece.pageCount;
    if (piece.block !== undefined && piece.origin === "here") {
      storedBytes += (piece.block.storedBytes * piece.pageCount) / piece.block.pageCount;
    }
  }
  return { pages, lazy, storedBytes: Math.round(storedBytes) };
}

export function commandLine(mm: MmEntry, memory: Memory): string[] {
  return strings(memory, mm.mm_arg_start, mm.mm_arg_end);
}

/** The environment as it was given to execve(2) and changed in place since: "NAME=value" each. */
export function environment(checkpoint: Checkpoint, pid: number): string[] {
  const mm = checkpoint.mm(pid);
  return mm === undefined ? [] : strings(checkpoint.memory(pid), mm.mm_env_start, mm.mm_env_end);
}

/** The NUL-ended strings of [start, end). Empty where the range makes no sense or is not in the image. */
function strings(memory: Memory, start: bigint, end: bigint): string[] {
  const length = Number(end - start);
  if (length <= 0 || length > stringBytesMax || end > 2n ** 53n) return [];
  const bytes = Buffer.alloc(length);
  if (!readMemory(memory, Number(start), bytes)) return [];
  const last = bytes.lastIndexOf(0);
  const text = decodeText(bytes.subarray(0, last === length - 1 ? last : length));
  // A program that writes its own title over argv (setproctitle) leaves zeros behind it: they are no arguments.
  const meant = text.replace(/\0\0+$/, "");
  return meant === "" ? [] : meant.split("\0");
}
