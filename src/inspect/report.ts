// All that the HTML report shows of a checkpoint, as plain data: tasks, mappings with a coarse picture of their pages,
// descriptors, totals. Not for HTML: htmlReport.ts.

import type { PagePiece } from "../images/pageIndex";
import { PAGE_BYTES } from "../limits";
import type { Checkpoint } from "./checkpoint";
import { type TaskDescriptors, taskDescriptors } from "./descriptors";
import { type Mapping, taskMappings } from "./mappings";
import { listTasks, type Task } from "./tasks";

/** What a cell counts, by index: pages of each entropy class, stored but not looked at, absent; and lazy ones again. */
export const cellKinds = ["zero", "low", "medium", "high", "random", "unmeasured", "absent", "lazy"] as const;
export const cellWidth = cellKinds.length;

/** A mapping cut into cells of equal length; cell i counts its pages of kind k at counts[i * cellWidth + k]. */
export interface PagePicture {
  readonly cellCount: number;
  readonly pageCount: number;
  readonly counts: Uint32Array;
}

export interface ReportMapping extends Mapping {
  readonly picture: PagePicture;
}

export interface ReportTask {
  readonly task: Task;
  readonly mappings: readonly ReportMapping[];
  readonly descriptors: TaskDescriptors["descriptors"];
}

export interface ReportTotals {
  readonly tasks: number;
  readonly threads: number;
  readonly mappings: number;
  readonly descriptors: number;
  readonly virtualBytes: number;
  readonly pagesBytes: number;
  readonly lazyBytes: number;
  readonly zeroBytes: number;
  readonly packedBytes: number;
  /** Bytes that the pages take in this directory's files as they are. */
  readonly storedBytes: number;
}

export interface Report {
  readonly path: string;
  readonly packed: boolean;
  readonly exact: boolean;
  readonly tasks: readonly ReportTask[];
  readonly totals: ReportTotals;
}

/** Cells in the picture of one mapping: more pages per cell the larger it is, so that the sizes of all can be told. */
export function cellCountOf(pageCount: number): number {
  return Math.max(1, Math.min(pageCount, Math.round(4 + 7 * Math.log2(pageCount))));
}

export function reportOf(checkpoint: Checkpoint, exact = false): Report {
  const descriptors = new Map(taskDescriptors(checkpoint).map((task) => [task.pid, task.descriptors]));
  let packed = false;
  const tasks = listTasks(checkpoint).map((task) => {
    const painter = new Painter(checkpoint, task.pid);
    const visit = (mapping: number, piece: PagePiece, classes: Uint8Array | undefined) => {
      packed ||= piece.block !== undefined && piece.block.checksum >= 0;
      painter.add(mapping, piece, classes);
    };
    const { mappings } = taskMappings(checkpoint, task.pid, { exact, visit });
    const pictured = mappings.map((mapping, index) => ({ ...mapping, picture: painter.pictures[index]! }));
    return { task, mappings: pictured, descriptors: descriptors.get(task.pid) ?? [] };
  });
  const allExact = tasks.every(({ mappings }) => mappings.every((mapping) => mapping.exact));
  return { path: checkpoint.path, packed, exact: allExact, tasks, totals: totalsOf(tasks, packed) };
}

/** Fills the pictures of one task's mappings as its pieces are visited. */
class Painter {
  readonly pictures: readonly PagePicture[];
  private readonly firstPages: readonly number[];

  constructor(checkpoint: Checkpoint, pid: number) {
    const vmas = checkpoint.mm(pid)?.vmas ?? [];
    this.firstPages = vmas.map((vma) => Number(vma.start) / PAGE_BYTES);
    this.pictures = vmas.map((vma) => {
      const pageCount = Number(vma.end - vma.start) / PAGE_BYTES;
      const cellCount = cellCountOf(pageCount);
      return { cellCount, pageCount, counts: new Uint32Array(cellCount * cellWidth) };
    });
  }

  add(mapping: number, piece: PagePiece, classes: Uint8Array | undefined): void {
    const { counts, cellCount, pageCount } = this.pictures[mapping]!;
    const before = piece.firstPage - this.firstPages[mapping]!;
    const kind = piece.block === undefined ? 6 : 5;
    for (let page = 0; page < piece.pageCount; page++) {
      const cell = Math.floor(((before + page) * cellCount) / pageCount) * cellWidth;
      counts[cell + (classes?.[page] ?? kind)]!++;
      if (piece.lazy) counts[cell + 7]!++;
    }
  }
}

/** Leaves out mappings that show the same part of a shared object as an earlier one: its pages are in the image once. */
function withoutRepeats(mappings: readonly Mapping[]): Mapping[] {
  const seen = new Set<string>();
  return mappings.filter(({ sharedObject, offset, pageCount }) => {
    if (sharedObject === undefined) return true;
    const part = `${sharedObject} ${offset} ${pageCount}`;
    return seen.size !== seen.add(part).size;
  });
}

function totalsOf(tasks: readonly ReportTask[], packed: boolean): ReportTotals {
  const sum = (of: (task: ReportTask) => number) => tasks.reduce((total, task) => total + of(task), 0);
  const once = withoutRepeats(tasks.flatMap(({ mappings }) => mappings));
  const overMappings = (of: (mapping: Mapping) => number) => once.reduce((total, mapping) => total + of(mapping), 0);
  const sharedBytes = once
    .filter(({ sharedObject }) => sharedObject !== undefined)
    .reduce((total, each) => total + (packed ? each.packedBytes : each.statistics.present * PAGE_BYTES), 0);
  return {
    tasks: tasks.length,
    threads: sum(({ task }) => task.threads.length),
    mappings: sum(({ mappings }) => mappings.length),
    descriptors: sum(({ descriptors }) => descriptors.length),
    virtualBytes: sum(({ task }) => task.virtualBytes),
    pagesBytes:
      overMappings(({ statistics }) => statistics.present + statistics.parent + statistics.absent) * PAGE_BYTES,
    lazyBytes: overMappings(({ statistics }) => statistics.lazy) * PAGE_BYTES,
    zeroBytes: overMappings(({ zeroPages }) => zeroPages) * PAGE_BYTES,
    packedBytes: overMappings(({ packedBytes }) => packedBytes),
    storedBytes: sum(({ task }) => task.storedBytes) + sharedBytes,
  };
}
