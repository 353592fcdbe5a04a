// All open files of a tree as calls in the root's stub, and what each task does with them afterwards: copy them to its
// numbers, fill its epoll sets, close the masters. Pure. The kinds are in files/.
import type { FileEntry, PipeEntry } from "../../images/messages";
import { FdTypes } from "../../images/messages";
import { syscalls } from "../constants";
import { Masters } from "./descriptors";
import { type FileContext, fileKey, openFlag, sharedKey } from "./files/context";
import { makeEpoll, makeEventfd, makeSignalfd, makeTimerfd, watchFiles } from "./files/event";
import { inetObstacle, makeInet } from "./files/inet";
import { makePipe } from "./files/pipe";
import { makeRegular, regularObstacle } from "./files/regular";
import { Script } from "./script";
import type { SharedObject } from "./sharedMemory";
import { makeShared } from "./sharedMemory";
import { area } from "./spacePlan";
import type { TaskImage, TreeImage } from "./treeImage";

export interface FilePlan {
  /** Makes everything at its master; run in the root's stub before it forks. */
  readonly make: Script;
  readonly masters: Masters;
  /** The master of a file by its id in the image. */
  file(id: number): number;
  /** The master of a shared memory object. */
  shared(id: number): number;
}

/** The ids of all files that tasks, mappings and descriptors in flight refer to. */
export function usedFiles(tree: TreeImage): Set<number> {
  const used = new Set<number>();
  for (const task of tree.tasks) {
    for (const descriptor of task.descriptors) used.add(descriptor.id);
    if (task.mm !== undefined) used.add(task.mm.exe_file_id);
    if (task.fs !== undefined) {
      used.add(task.fs.cwd_id);
      used.add(task.fs.root_id);
    }
    for (const vma of task.mm?.vmas ?? []) {
      if ((vma.status & (area.filePrivate | area.fileShared)) !== 0) used.add(Number(vma.shmid));
    }
  }
  for (const packets of tree.packets.values()) {
    for (const packet of packets) for (const scm of packet.entry.scm) for (const id of scm.rights) used.add(id);
  }
  return used;
}

export function planFiles(tree: TreeImage, sharedObjects: readonly SharedObject[], problems: string[]): FilePlan {
  const numbers = tree.tasks.flatMap((task) => task.descriptors.map((descriptor) => descriptor.fd));
  const masters = new Masters(numbers);
  const make = new Script();
  const context: FileContext = { tree, script: make, masters, problems };
  const pipes = new Map<number, PipeEntry[]>();
  for (const id of usedFiles(tree)) {
    const file = tree.files.get(id);
    if (file === undefined) {
      problems.push(`file ${id} is not in files.img`);
      continue;
    }
    if (file.pipe !== undefined) {
      const ends = pipes.get(file.pipe.pipe_id) ?? [];
      ends.push(file.pipe);
      pipes.set(file.pipe.pipe_id, ends);
    } else makeFile(context, file);
  }
  for (const [pipeId, ends] of pipes) makePipe(context, ends, tree.pipeContents.get(pipeId));
  for (const object of sharedObjects) makeShared(context, object);
  return {
    make,
    masters,
    file: (id) => masters.of(fileKey(id)),
    shared: (id) => masters.of(sharedKey(id)),
  };
}

function makeFile(context: FileContext, file: FileEntry): void {
  const refuse = (why: string): void => {
    context.problems.push(`file ${file.id}: ${why}`);
  };
  if (file.reg !== undefined) {
    const obstacle = regularObstacle(file.reg);
    if (obstacle !== undefined) refuse(obstacle);
    else makeRegular(context, file.reg);
  } else if (file.efd !== undefined) makeEventfd(context, file.efd);
  else if (file.tfd !== undefined) makeTimerfd(context, file.tfd);
  else if (file.sgfd !== undefined) makeSignalfd(context, file.sgfd);
  else if (file.epfd !== undefined) makeEpoll(context, file.epfd);
  else if (file.isk !== undefined) {
    const obstacle = inetObstacle(file.isk);
    if (obstacle !== undefined) refuse(obstacle);
    else makeInet(context, file.isk);
  } else refuse(`descriptors of type ${typeName(file.type)}`);
}

function typeName(type: number): string {
  const found = Object.entries(FdTypes).find(([, value]) => value === type);
  return found === undefined ? String(type) : found[0];
}

/** Gives the task its descriptors: copies of the masters under the image's numbers; then its masters are closed. */
export function placeDescriptors(script: Script, plan: FilePlan, task: TaskImage, tree: TreeImage): void {
  for (const descriptor of task.descriptors) {
    const flags = (descriptor.flags & 1) !== 0 ? openFlag.closeOnExec : 0;
    script.room(1).call(syscalls.dup3, [plan.file(descriptor.id), descriptor.fd, flags], {
      purpose: `placing descriptor ${descriptor.fd}`,
    });
  }
  const watched = new Set<number>();
  for (const descriptor of task.descriptors) {
    const epoll = tree.files.get(descriptor.id)?.epfd;
    if (epoll === undefined || watched.has(epoll.id)) continue;
    watched.add(epoll.id);
    watchFiles(script, descriptor.fd, epoll);
  }
}

export function closeMasters(script: Script, plan: FilePlan): void {
  for (const { first, last } of plan.masters.runs()) script.room(1).call(syscalls.close_range, [first, last, 0]);
}
