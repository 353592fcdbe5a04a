// The bytes of a task's vdso, or of its program's text, that nobody uses: room for a few instructions before the task has any
// memory of ours. Facts of ELF (elf(5)); nothing is written here.
import { FaultlineError } from "../errors";
import { native } from "../native";
import { pageSize } from "./constants";
import { readProc } from "./proc";

/** Offsets in struct Elf64_Ehdr, and in struct Elf64_Phdr. */
const programTableOffset = 0x20;
const sectionTableOffset = 0x28;
const programEntryBytes = 0x36;
const programCount = 0x38;
const sectionEntryBytes = 0x3a;
const sectionCount = 0x3c;
const segmentOffset = 8;
const segmentFileBytes = 32;
const headerBytes = 64;
const alignment = 16;

/** The address range of a task's vdso, bytes; undefined where it has none (vdso=0, or unmapped by the program). */
export function findVdso(maps: string): { start: number; end: number } | undefined {
  const line = maps.split("\n").find((text) => text.endsWith("[vdso]"));
  const range = line?.match(/^([0-9a-f]+)-([0-9a-f]+) /);
  if (range === null || range === undefined) return undefined;
  return { start: Number.parseInt(range[1] as string, 16), end: Number.parseInt(range[2] as string, 16) };
}

/**
 * Where `needed` unused bytes are in a mapped vdso, an offset aligned to 16 bytes: behind the end of the ELF file, up to the
 * page's end; or else from its section headers on, which no program reads at run time. Undefined where neither will do.
 */
export function unusedRoom(elf: Uint8Array, needed: number): number | undefined {
  if (elf.length < headerBytes) return undefined;
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  const programs = Number(view.getBigUint64(programTableOffset, true));
  const programBytes = view.getUint16(programEntryBytes, true);
  let used = headerBytes;
  for (let index = 0; index < view.getUint16(programCount, true); index++) {
    const entry = programs + index * programBytes;
    if (entry + segmentFileBytes + 8 > elf.length) return undefined;
    const end = view.getBigUint64(entry + segmentOffset, true) + view.getBigUint64(entry + segmentFileBytes, true);
    used = Math.max(used, entry + programBytes, Number(end));
  }
  const sections = Number(view.getBigUint64(sectionTableOffset, true));
  const sectionsEnd = sections + view.getUint16(sectionEntryBytes, true) * view.getUint16(sectionCount, true);
  const candidates = [Math.max(used, sectionsEnd), ...(sections >= used ? [sections] : [])];
  return candidates
    .map((offset) => Math.ceil(offset / alignment) * alignment)
    .find((offset) => offset + needed <= elf.length);
}

/** Unused bytes of a task in executable memory, and what is there now. */
export interface UnusedRoom {
  readonly address: number;
  readonly before: Uint8Array;
}

/**
 * Room for `needed` bytes in a task's vdso; where it has none (it can be unmapped), at the end of a text segment, which a
 * linker fills up with zeros. Undefined where there is neither. `leftOver`: how what a killed dumper left there begins.
 */
export function findUnusedRoom(pid: number, needed: number, leftOver: Uint8Array): UnusedRoom | undefined {
  const maps = readProc(pid, "maps");
  const vdso = findVdso(maps);
  if (vdso === undefined) return paddingRoom(pid, maps, needed, leftOver);
  const bytes = new Uint8Array(vdso.end - vdso.start);
  if (native.vmRead(pid, vdso.start, bytes) !== bytes.length) {
    throw new FaultlineError("NOT_FOUND", "the task's vdso is gone meanwhile", { pid });
  }
  const offset = unusedRoom(bytes, needed);
  if (offset === undefined) return undefined;
  return { address: vdso.start + offset, before: bytes.slice(offset, offset + needed) };
}

function paddingRoom(pid: number, maps: string, needed: number, leftOver: Uint8Array): UnusedRoom | undefined {
  for (const line of maps.split("\n")) {
    const range = /^[0-9a-f]+-([0-9a-f]+) r-xp .* \//.exec(line);
    if (range === null) continue;
    const end = Number.parseInt(range[1] as string, 16);
    const page = new Uint8Array(pageSize);
    // A mapping may be longer than its file, where nothing can be read.
    if (native.vmRead(pid, end - pageSize, page) !== pageSize) continue;
    const offset = Math.floor((pageSize - needed) / alignment) * alignment;
    const before = page.slice(offset, offset + needed);
    const isOurs = leftOver.every((byte, index) => before[index] === byte);
    // More of them, so that what is code does not lead into it.
    const isPadding = page.subarray(offset - alignment, isOurs ? offset : pageSize).every((byte) => byte === 0);
    if (isPadding) return { address: end - pageSize + offset, before };
  }
  return undefined;
}
