// Shared anonymous memory: objects that several mappings, often of several tasks, show parts of. Each object is made
// once, as a descriptor of the kernel's own shmem file, so that every mapping of it in the tree is the same memory and
// looks like what mmap(MAP_SHARED | MAP_ANONYMOUS) made. Pure.
import { mapFlag, pageSize, protection, syscalls } from "../constants";
import { type FileContext, openFlag, settle, sharedKey } from "./files/context";
import type { Mapping, SpacePlan } from "./spacePlan";

/** Where an object is mapped for the moment of its making: below all programs, above the agent's hole. */
export const workbench = 0x100000000000;

export interface SharedObject {
  /** shmid in the images; its contents are in pagemap-shmem-<id>. */
  readonly id: number;
  readonly bytes: number;
  /** Some part of it is in no lazy mapping, so that faults would not bring all of it. */
  readonly eager: boolean;
}

/** The shared objects of a tree, from all mappings. */
export function findSharedObjects(spaces: readonly SpacePlan[]): SharedObject[] {
  const sizes = new Map<number, number>();
  const mappings = spaces.flatMap((space) => space.mappings.filter((mapping) => mapping.kind === "shared"));
  for (const { vma, start, end } of mappings) {
    const id = Number(vma.shmid);
    sizes.set(id, Math.max(sizes.get(id) ?? 0, Number(vma.pgoff) + end - start));
  }
  return [...sizes].map(([id, bytes]) => {
    const parts = mappings.filter((mapping) => Number(mapping.vma.shmid) === id);
    return { id, bytes, eager: parts.some((part) => !part.lazy) || !covers(parts, bytes) };
  });
}

function covers(parts: readonly Mapping[], bytes: number): boolean {
  const sorted = [...parts].sort((a, b) => Number(a.vma.pgoff - b.vma.pgoff));
  let end = 0;
  for (const { vma, start, end: mappingEnd } of sorted) {
    if (Number(vma.pgoff) > end) return false;
    end = Math.max(end, Number(vma.pgoff) + mappingEnd - start);
  }
  return end >= bytes;
}

export function makeShared(context: FileContext, object: SharedObject): void {
  const batch = context.script.room(5, 128);
  const bytes = Math.ceil(object.bytes / pageSize) * pageSize;
  const flags = mapFlag.shared | mapFlag.anonymous | mapFlag.fixedNoReplace | mapFlag.noReserve;
  batch.call(syscalls.mmap, [workbench, bytes, protection.read | protection.write, flags, -1, 0], {
    purpose: `making shared memory ${object.id}`,
  });
  const range = `${workbench.toString(16)}-${(workbench + bytes).toString(16)}`;
  const path = batch.text(`/proc/self/map_files/${range}`);
  batch.call(syscalls.openat, [-100, path, openFlag.readWrite | openFlag.closeOnExec], {
    purpose: `opening shared memory ${object.id}`,
  });
  batch.call(syscalls.munmap, [workbench, bytes]);
  settle(context, batch, 0, sharedKey(object.id));
}
