// The address space of one task as system calls: mappings with their final protection, advice, guards, the vdso and
// the mm fields; and which of its ranges can be filled lazily. Pure; contents are somebody else's concern.
//
// The order of KERNEL-NOTES' "mm" batch: everything but the agent is unmapped, then all mappings are made at once with
// MAP_FIXED_NOREPLACE. Pages come from outside, so no protection is ever widened for the time of the restore.
import type { IpcShmEntry, MmEntry, VmaEntry } from "../../images/messages";
import { vmaStatus } from "../../images/vmaStatus";
import type { Batch } from "../batch";
import { mapFlag, pageSize, prctlOperation, syscalls } from "../constants";
import { type AioRing, isRing, planRings } from "./aioRings";
import type { Range } from "./layout";
import { agentBytes } from "./layout";
import type { Script } from "./script";
import { type Attachment, attachSegments, planAttachments } from "./segments";

/** The first address that no program of 47-bit address space can map, less one page (TASK_SIZE on x86-64). */
export const addressEnd = 0x7ffffffff000;
const archMapVdso64 = 0x2003;
const prSetMmMap = 14;
const prSetMmMapBytes = 104;
/** In place of a descriptor: the executable stays. */
const noExecutable = -1;
const madviseGuardInstall = 102;
/** madvise(2) numbers that stay with a mapping; others in the image's bit set are refused. */
const lastingAdvice = [2, 1, 10, 12, 14, 15, 16, 18];
/** That of merging equal pages (KSM) allocates; the others only set flags of a mapping. */
const madviseMergeable = 12;
const enomem = 12;
const protGrowsDownMask = 7;

/** Where this machine's kernel maps the vdso, relative to the start of its data pages. */
export interface VdsoShape {
  readonly dataBytes: number;
  readonly codeBytes: number;
}

export interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly protection: number;
  readonly kind: "private" | "shared" | "segment" | "file-private" | "file-shared";
  readonly grows: boolean;
  readonly locked: boolean;
  /** What userfaultfd can serve, and nothing but memory accesses can see. */
  readonly lazy: boolean;
  readonly vma: VmaEntry;
}

export interface SpacePlan {
  readonly mappings: readonly Mapping[];
  readonly guards: readonly Range[];
  /** Its contexts of asynchronous I/O, which are no mappings of the plan. */
  readonly rings: readonly AioRing[];
  /** Its System V segments; the mappings have kind "segment" there. */
  readonly attachments: readonly Attachment[];
  /** Start of the vdso's data pages, or undefined where the task has none. */
  readonly vdso: number | undefined;
  readonly mm: MmEntry;
}

const has = (vma: VmaEntry, bit: number): boolean => (vma.status & bit) !== 0;

function kindOf(vma: VmaEntry): Mapping["kind"] | undefined {
  if (has(vma, vmaStatus.sysvIpc)) return "segment";
  if (has(vma, vmaStatus.socket)) return (vma.flags & mapFlag.shared) !== 0 ? "file-shared" : "file-private";
  if (has(vma, vmaStatus.anonPrivate)) return "private";
  if (has(vma, vmaStatus.anonShared)) return "shared";
  if (has(vma, vmaStatus.filePrivate)) return "file-private";
  if (has(vma, vmaStatus.fileShared)) return "file-shared";
  return undefined;
}

/** CRIU's rule (can_be_lazy), and shared anonymous memory: private or shared anonymous, neither locked, huge nor droppable. */
function canBeLazy(vma: VmaEntry, kind: Mapping["kind"]): boolean {
  if (kind !== "private" && kind !== "shared") return false;
  return (vma.flags & (mapFlag.locked | mapFlag.hugeTlb | (kind === "private" ? mapFlag.droppable : 0))) === 0;
}

function checkRange(vma: VmaEntry, problems: string[]): boolean {
  const page = BigInt(pageSize);
  const text = `mapping ${vma.start.toString(16)}-${vma.end.toString(16)}`;
  if (vma.start % page !== 0n || vma.end % page !== 0n || vma.start >= vma.end || vma.end > BigInt(addressEnd)) {
    problems.push(`${text}: not a range of pages below ${addressEnd.toString(16)}`);
    return false;
  }
  if (vma.pgoff % page !== 0n || vma.pgoff > BigInt(Number.MAX_SAFE_INTEGER)) {
    problems.push(`${text}: offset ${vma.pgoff} is not a page's`);
    return false;
  }
  return true;
}

/** Reads the mappings of one address space. What cannot be restored is added to `problems`, all of it. */
export function planSpace(
  mm: MmEntry,
  vdsoShape: VdsoShape,
  problems: string[],
  segments: ReadonlyMap<number, IpcShmEntry> = new Map(),
): SpacePlan {
  const mappings: Mapping[] = [];
  const guards: Range[] = [];
  let dataStart: number | undefined;
  let codeRange: Range | undefined;
  for (const vma of mm.vmas) {
    if (has(vma, vmaStatus.vsyscall) || vma.start >= 0xffffffffff000000n) continue;
    if (!checkRange(vma, problems)) continue;
    const start = Number(vma.start);
    const end = Number(vma.end);
    if (isRing(vma)) continue;
    if (has(vma, vmaStatus.guard)) guards.push({ start, end });
    else if (has(vma, vmaStatus.vvar)) dataStart = Math.min(dataStart ?? start, start);
    else if (has(vma, vmaStatus.vdso)) codeRange = { start, end };
    else {
      const refused = refusal(vma);
      const kind = kindOf(vma);
      if (refused !== undefined || kind === undefined) {
        problems.push(`mapping ${start.toString(16)}-${end.toString(16)}: ${refused ?? "of no kind known"}`);
        continue;
      }
      mappings.push({
        start,
        end,
        protection: vma.prot & protGrowsDownMask,
        kind,
        grows: (vma.flags & mapFlag.growsDown) !== 0,
        locked: (vma.flags & mapFlag.locked) !== 0,
        lazy: canBeLazy(vma, kind),
        vma,
      });
    }
  }
  mappings.sort((a, b) => a.start - b.start);
  checkOverlap(mappings, problems);
  const vdso = planVdso(dataStart, codeRange, vdsoShape, problems);
  checkFields(mm, problems);
  const attachments = planAttachments(mappings, segments, problems);
  return { mappings, guards, rings: planRings(mm, problems), attachments, vdso, mm };
}

function refusal(vma: VmaEntry): string | undefined {
  if (has(vma, vmaStatus.shadowStack)) return "a shadow stack";
  if (has(vma, vmaStatus.uprobes)) return "a uprobes page";
  if (has(vma, vmaStatus.plugin)) return "a CRIU plugin's mapping";
  const other = adviceOf(vma).find((advice) => !lastingAdvice.includes(advice));
  return other === undefined ? undefined : `advice ${other}`;
}

/** The madvise(2) numbers in a mapping's bit set; most have none. */
function adviceOf(vma: VmaEntry): number[] {
  const found: number[] = [];
  // Division, not shifts: exact up to 2^53, and much quicker than bigints in a space of many mappings.
  for (let bit = 0, rest = Number(vma.madv ?? 0n); rest > 0; bit++, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) found.push(bit);
  }
  return found;
}

function checkOverlap(mappings: readonly Mapping[], problems: string[]): void {
  for (let index = 1; index < mappings.length; index++) {
    const before = mappings[index - 1] as Mapping;
    const here = mappings[index] as Mapping;
    if (here.start < before.end) problems.push(`mapping ${here.start.toString(16)}: overlaps the one before it`);
  }
}

function planVdso(
  dataStart: number | undefined,
  code: Range | undefined,
  shape: VdsoShape,
  problems: string[],
): number | undefined {
  if (code === undefined && dataStart === undefined) return undefined;
  const start = dataStart ?? code?.start ?? 0;
  const fits =
    code !== undefined && code.start - start === shape.dataBytes && code.end - code.start === shape.codeBytes;
  if (!fits) problems.push("the vdso has another layout than this kernel's: the image is from another kernel");
  return start;
}

function checkFields(mm: MmEntry, problems: string[]): void {
  if (mm.mm_start_code >= mm.mm_end_code && mm.mm_end_code !== 0n) problems.push("mm: the code ends before it starts");
  if (mm.mm_brk < mm.mm_start_brk) problems.push("mm: the heap ends before it starts");
  if (mm.mm_saved_auxv.length > 64) problems.push(`mm: an auxiliary vector of ${mm.mm_saved_auxv.length} words`);
}

/** Descriptors that the mappings need, in the task: by what they map. */
export interface SpaceDescriptors {
  /** The descriptor of a file mapping's file. */
  mapped(vma: VmaEntry): number;
  /** The descriptor of a shared anonymous object, by its id. */
  shared(id: number): number;
}

/**
 * Unmaps everything but the agent at `hole`, so that the space is empty. The fields go first to where nothing is: whoever
 * reads /proc/PID/cmdline has the kernel touch the pages between them, and a page of the program's that is touched before
 * its range is registered with userfaultfd is a page of zeros for ever (UFFDIO_COPY finds it present).
 */
export function clearSpace(script: Script, hole: number): void {
  const batch = script.room(3, prSetMmMapBytes);
  const nowhere = new BigUint64Array(11).fill(BigInt(hole));
  nowhere[1] = BigInt(hole + 1); // the code must not be empty
  placeFields(batch, nowhere, new BigUint64Array(), noExecutable);
  batch.call(syscalls.munmap, [0, hole]);
  batch.call(syscalls.munmap, [hole + agentBytes, addressEnd - hole - agentBytes]);
}

/** Makes all mappings of the plan; the agent is at `hole`. */
export function makeMappings(script: Script, plan: SpacePlan, descriptors: SpaceDescriptors, hole: number): void {
  if (plan.vdso !== undefined) {
    script.room(1).call(syscalls.arch_prctl, [archMapVdso64, plan.vdso], { purpose: "mapping the vdso" });
  }
  attachSegments(script, plan.attachments);
  for (const mapping of plan.mappings) if (mapping.kind !== "segment") mapOne(script, mapping, descriptors);
  advise(script, plan, hole);
  for (const guard of plan.guards) {
    script.room(1).call(syscalls.madvise, [guard.start, guard.end - guard.start, madviseGuardInstall], {
      purpose: `guard pages at ${guard.start.toString(16)}`,
    });
  }
}

interface Advised {
  readonly advice: number;
  readonly start: number;
  end: number;
  /** There is nothing mapped between some of its mappings. */
  gaps: boolean;
}

/**
 * Gives all advice, to neighbours by one call: V8's heap is hundreds of small mappings with the same. A call goes over what is
 * not mapped, and says ENOMEM when it has done the rest (madvise(2)).
 */
function advise(script: Script, plan: SpacePlan, hole: number): void {
  let open: Advised[] = [];
  let before = 0;
  const give = ({ advice, start, end, gaps }: Advised): void => {
    const purpose = `madvise ${advice} of ${start.toString(16)}-${end.toString(16)}`;
    const options = gaps ? { purpose, accept: enomem } : { purpose };
    script.room(1).call(syscalls.madvise, [start, end - start, advice], options);
  };
  for (const mapping of plan.mappings) {
    const { start, end } = mapping;
    const gap = start > before;
    const apart = isTaken(before, start, plan, hole);
    const now: Advised[] = adviceOf(mapping.vma).map((advice) => {
      const known = open.find((other) => other.advice === advice);
      if (known === undefined || apart || (gap && advice === madviseMergeable))
        return { advice, start, end, gaps: false };
      known.end = end;
      known.gaps ||= gap;
      return known;
    });
    for (const ended of open) if (!now.includes(ended)) give(ended);
    open = now;
    before = end;
  }
  for (const ended of open) give(ended);
}

/** Whether the agent or the vdso lies in [from, to), where the plan has no mapping. */
function isTaken(from: number, to: number, { vdso }: SpacePlan, hole: number): boolean {
  return [vdso, hole].some((start) => start !== undefined && from <= start && start < to);
}

function mapOne(script: Script, mapping: Mapping, descriptors: SpaceDescriptors): void {
  const { vma, start } = mapping;
  const kept = mapFlag.noReserve | mapFlag.growsDown | mapFlag.stack | mapFlag.hugeTlb | 0xfc000000;
  let flags = (vma.flags & kept) | mapFlag.fixedNoReplace;
  let descriptor = -1;
  let offset = 0;
  if (mapping.kind === "private") {
    flags |= mapFlag.anonymous;
    flags |= (vma.flags & mapFlag.droppable) === 0 ? mapFlag.private : mapFlag.droppable;
  } else {
    flags |= mapping.kind === "file-private" ? mapFlag.private : mapFlag.shared;
    offset = Number(vma.pgoff);
    const id = Number(vma.shmid);
    descriptor = mapping.kind === "shared" ? descriptors.shared(id) : descriptors.mapped(vma);
  }
  const length = mapping.end - start;
  script.room(1).call(syscalls.mmap, [start, length, mapping.protection, flags >>> 0, descriptor, offset], {
    purpose: `mapping ${start.toString(16)}-${mapping.end.toString(16)}`,
  });
}

/**
 * Sets the mm's fields: heap, stack, arguments, auxiliary vector and the executable (prctl(2), PR_SET_MM_MAP). Only when
 * the lazy ranges are registered: see clearSpace.
 */
export function setFields(script: Script, mm: MmEntry, executable: number): void {
  const auxv = new BigUint64Array(mm.mm_saved_auxv);
  const batch = script.room(2, prSetMmMapBytes + auxv.byteLength);
  const words = [
    mm.mm_start_code,
    mm.mm_end_code,
    mm.mm_start_data,
    mm.mm_end_data,
    mm.mm_start_brk,
    mm.mm_brk,
    mm.mm_start_stack,
    mm.mm_arg_start,
    mm.mm_arg_end,
    mm.mm_env_start,
    mm.mm_env_end,
  ];
  placeFields(batch, new BigUint64Array(words), auxv, executable);
  if (mm.thp_disabled === true) batch.call(syscalls.prctl, [prctlOperation.setThpDisable, 1, 0, 0, 0]);
}

function placeFields(batch: Batch, words: BigUint64Array, auxv: BigUint64Array, executable: number): void {
  const fields = new DataView(new ArrayBuffer(prSetMmMapBytes));
  words.forEach((word, index) => {
    fields.setBigUint64(index * 8, word, true);
  });
  fields.setUint32(96, auxv.byteLength, true);
  fields.setInt32(100, executable, true);
  const auxvSlot = batch.place(new Uint8Array(auxv.buffer));
  const slot = batch.place(new Uint8Array(fields.buffer));
  if (auxv.length > 0) batch.point(slot, 88, auxvSlot);
  batch.call(syscalls.prctl, [prctlOperation.setMm, prSetMmMap, slot, prSetMmMapBytes, 0], {
    purpose: "setting the fields of the address space",
  });
}

/**
 * The spans to register with userfaultfd: every lazy mapping, whole. Joined where nothing but lazy mappings lies between them,
 * or nothing at all: the kernel registers the mappings that are there, and each call for hundreds of them costs a microsecond.
 */
export function lazySpans(plan: SpacePlan, hole: number): Range[] {
  const spans: { start: number; end: number }[] = [];
  let last: { start: number; end: number } | undefined;
  for (const { start, end, lazy } of plan.mappings) {
    if (!lazy) last = undefined;
    else if (last !== undefined && !isTaken(last.end, start, plan, hole)) last.end = end;
    else {
      last = { start, end };
      spans.push(last);
    }
  }
  return spans;
}
