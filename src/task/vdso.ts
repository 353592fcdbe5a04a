// The vdso of a task, and the bytes in it that nobody uses: room for a few instructions before the task has any memory of
// ours. Facts of ELF (elf(5)); nothing is written here.
import { readFileSync } from "node:fs";
import { FaultlineError } from "../errors";
import { peekMemory } from "./taskMemory";

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

/** A task's vdso as it is mapped. UNSUPPORTED where it has none. */
export function readVdso(pid: number): { readonly start: number; readonly bytes: Uint8Array } {
  const range = findVdso(readFileSync(`/proc/${pid}/maps`, "latin1"));
  if (range === undefined) throw new FaultlineError("UNSUPPORTED", "the task has no vdso", { pid });
  return { start: range.start, bytes: peekMemory(pid, range.start, range.end - range.start) };
}
