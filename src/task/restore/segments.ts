// System V shared memory: segments made again with the same id and key, and where each task attaches them. Ids and keys
// are of the whole IPC namespace, so a segment that outlived the program is used again if it is still the same.
import { FaultlineError } from "../../errors";
import type { IpcShmEntry } from "../../images/messages";
import { native } from "../../native";
import { pageSize, protection, syscalls } from "../constants";
import { type SegmentFacts, segmentMode } from "../segments";
import type { AgentHost } from "./agentHost";
import type { Masters } from "./descriptors";
import { openFlag, segmentKey } from "./files/context";
import { Script } from "./script";
import { workbench } from "./sharedMemory";
import type { Mapping } from "./spacePlan";

const ipcCreate = 0o1000;
const ipcExclusive = 0o2000;
const ipcSet = 1;
const shmLock = 11;
const shmReadOnly = 0o10000;
/** MADV_REMOVE: zeros, as the image leaves zero pages out. */
const adviceRemove = 9;
const shmidBytes = 112; // struct shmid64_ds
const ownerOffset = 4;
const modeOffset = 20;

/** Where one task has (or had) a whole segment attached: parts of it may be unmapped or otherwise protected since. */
export interface Attachment {
  readonly id: number;
  /** The attachment's range, bytes. */
  readonly start: number;
  readonly end: number;
  readonly readOnly: boolean;
  /** The parts that are mapped, in order. */
  readonly parts: readonly Mapping[];
}

export interface SegmentPlan {
  readonly id: number;
  readonly entry: IpcShmEntry;
  /** It is still there, and unattached: only its content is set. */
  readonly exists: boolean;
}

const wholePages = (bytes: number): number => Math.ceil(bytes / pageSize) * pageSize;

/** Groups a space's mappings of segments by the attachment that they are parts of. */
export function planAttachments(
  mappings: readonly Mapping[],
  segments: ReadonlyMap<number, IpcShmEntry>,
  problems: string[],
): Attachment[] {
  const groups = new Map<string, Mapping[]>();
  for (const mapping of mappings) {
    if (mapping.kind !== "segment") continue;
    const { vma, start } = mapping;
    const base = start - Number(vma.pgoff);
    const key = `${base} ${vma.shmid}`;
    groups.set(key, [...(groups.get(key) ?? []), mapping]);
  }
  return [...groups].flatMap(([key, parts]) => {
    const [base, id] = key.split(" ").map(Number) as [number, number];
    const entry = segments.get(id);
    if (entry === undefined) {
      problems.push(`System V segment ${id} is not in the image`);
      return [];
    }
    const end = base + wholePages(Number(entry.size));
    const inside = mappings.filter((other) => other.kind === "segment" && other.start < end && other.end > base);
    if (base < 0 || inside.some((other) => !parts.includes(other)) || parts.some((part) => part.end > end)) {
      problems.push(`System V segment ${id}: attached over another one at ${base.toString(16)}`);
      return [];
    }
    const readOnly = parts.every(({ vma }) => (vma.fdflags ?? 2) === 0);
    return [{ id, start: base, end, readOnly, parts }];
  });
}

/** Which segments are to be made, and whether that can be. `present`: those of this machine. */
export function planSegments(
  wanted: readonly Attachment[],
  segments: ReadonlyMap<number, IpcShmEntry>,
  present: ReadonlyMap<number, SegmentFacts>,
  problems: string[],
): SegmentPlan[] {
  const byKey = new Map([...present.values()].map((facts) => [facts.key, facts]));
  return [...new Set(wanted.map((attachment) => attachment.id))].flatMap((id) => {
    const entry = segments.get(id) as IpcShmEntry;
    const facts = present.get(id);
    const refuse = (why: string): SegmentPlan[] => {
      problems.push(`System V segment ${id}: ${why}`);
      return [];
    };
    if ((entry.hugetlb_flag ?? 0) !== 0) return refuse("of huge pages");
    if (facts === undefined) {
      const other = entry.desc.key === 0 ? undefined : byKey.get(entry.desc.key);
      if (other !== undefined) return refuse(`its key is taken by segment ${other.id} (see ipcs -m)`);
    } else {
      if (facts.key !== entry.desc.key || facts.bytes !== Number(entry.size))
        return refuse("its id is taken by another segment (see ipcs -m)");
      if (facts.attached > 0) return refuse("it is attached by processes of outside (see ipcs -mp)");
    }
    return [{ id, entry, exists: facts !== undefined }];
  });
}

/** Makes the segments, with masters for their contents. */
export class SegmentMaker {
  readonly #plans: readonly SegmentPlan[];
  readonly #made: number[] = [];

  constructor(plans: readonly SegmentPlan[]) {
    this.#plans = plans;
  }

  make(host: AgentHost, masters: Masters): void {
    for (const plan of this.#plans) {
      if (!plan.exists) this.#create(host, plan);
      const script = new Script();
      configure(script, plan);
      openContent(script, plan, masters.of(segmentKey(plan.id)));
      host.run(script);
    }
  }

  /** The next segment gets the id that /proc/sys/kernel/shm_next_id says, where that is free. */
  #create(host: AgentHost, { id, entry }: SegmentPlan): void {
    const script = new Script();
    const batch = script.room(4, 96);
    batch.call(
      syscalls.openat,
      [-100, batch.text("/proc/sys/kernel/shm_next_id"), openFlag.writeOnly | openFlag.closeOnExec],
      {
        purpose: "choosing a segment's id",
      },
    );
    const text = Buffer.from(String(id));
    batch.call(syscalls.write, [0, batch.place(text), text.length], { purpose: "choosing a segment's id" });
    batch.call(syscalls.close, [0]);
    const flags = ipcCreate | ipcExclusive | (entry.desc.mode & segmentMode.permissions);
    const call = batch.call(syscalls.shmget, [entry.desc.key, Number(entry.size), flags], {
      purpose: `making System V segment ${id}`,
    });
    const got = host.run(script)[0]?.value(call) ?? -1;
    this.#made.push(got);
    if (got !== id) throw new FaultlineError("BUSY", `the id of System V segment ${id} was taken just now`);
  }

  /** When all tasks have attached: segments that were marked to be removed are so again. */
  finish(): void {
    for (const { id, entry } of this.#plans) {
      if ((entry.desc.mode & segmentMode.removed) !== 0) native.removeSegment(id);
    }
  }

  /** After a failure: those made here go away again. */
  undo(): void {
    for (const id of this.#made) native.removeSegment(id);
  }
}

/** Owner, permissions and whether it is locked into memory; the creator's ids stay ours (shmctl(2)). */
function configure(script: Script, { id, entry }: SegmentPlan): void {
  const { uid, gid, mode } = entry.desc;
  const settings = Buffer.alloc(shmidBytes);
  settings.writeUInt32LE(uid, ownerOffset);
  settings.writeUInt32LE(gid, ownerOffset + 4);
  settings.writeUInt32LE(mode & segmentMode.permissions, modeOffset);
  const batch = script.room(2, shmidBytes + 16);
  batch.call(syscalls.shmctl, [id, ipcSet, batch.place(settings)], { purpose: `the owner of System V segment ${id}` });
  if ((mode & segmentMode.locked) !== 0) batch.call(syscalls.shmctl, [id, shmLock, 0]);
}

/** A descriptor of the segment's file, by which its content is written. */
function openContent(script: Script, { id, entry, exists }: SegmentPlan, master: number): void {
  const bytes = wholePages(Number(entry.size));
  const batch = script.room(6, 128);
  batch.call(syscalls.shmat, [id, workbench, 0], { purpose: `attaching System V segment ${id}` });
  if (exists) batch.call(syscalls.madvise, [workbench, bytes, adviceRemove], { purpose: "emptying a segment" });
  const path = batch.text(`/proc/self/map_files/${workbench.toString(16)}-${(workbench + bytes).toString(16)}`);
  batch.call(syscalls.openat, [-100, path, openFlag.readWrite | openFlag.closeOnExec], {
    purpose: `opening System V segment ${id}`,
  });
  batch.call(syscalls.shmdt, [workbench]);
  batch.call(syscalls.dup3, [0, master, openFlag.closeOnExec]);
  batch.call(syscalls.close, [0]);
}

/** Attaches the segments of a task, in an empty space: before all other mappings, which may lie in their holes. */
export function attachSegments(script: Script, attachments: readonly Attachment[]): void {
  for (const { id, start, end, readOnly, parts } of attachments) {
    const batch = script.room(2 + parts.length * 2);
    batch.call(syscalls.shmat, [id, start, readOnly ? shmReadOnly : 0], {
      purpose: `attaching System V segment ${id} at ${start.toString(16)}`,
    });
    const given = readOnly ? protection.read : protection.read | protection.write;
    let at = start;
    for (const part of parts) {
      if (part.start > at) batch.call(syscalls.munmap, [at, part.start - at]);
      if (part.protection !== given) {
        batch.call(syscalls.mprotect, [part.start, part.end - part.start, part.protection]);
      }
      at = part.end;
    }
    if (end > at) batch.call(syscalls.munmap, [at, end - at]);
  }
}
