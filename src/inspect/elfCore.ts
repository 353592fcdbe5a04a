// The head of an ELF core file: header, notes and program headers, as Linux writes them for x86-64, from plain values.
// Not for reading images or for writing the memory itself: src/inspect/coreFile.ts does that.
//
// Sources: elf(5), core(5); fs/binfmt_elf.c (elf_core_dump, fill_thread_core_info, fill_files_note);
// include/linux/elfcore.h (elf_prstatus, elf_prpsinfo); arch/x86/include/asm/user_64.h; the XSAVE area's standard form
// as in the Intel SDM, volume 1, chapter 13.
const pageBytes = 4096;
const headerBytes = 64;
const programHeaderBytes = 56;
const sectionHeaderBytes = 64;

const typeCore = 4;
const machineX86_64 = 62;
const segmentLoad = 1;
const segmentNote = 4;
/** e_phnum's mark for "the count is in section header 0" (elf(5), PN_XNUM). */
const manyProgramHeaders = 0xffff;

const notePrstatus = 1;
const noteFpregset = 2;
const notePrpsinfo = 3;
const noteAuxv = 6;
const noteX86Xstate = 0x202;
const noteFile = 0x46494c45;
const noteSiginfo = 0x53494749;

/** The general registers in the order of the kernel's user_regs_struct, which is also the order of the core note. */
export const registerNames = [
  ...(["r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"] as const),
  ...(["orig_ax", "ip", "cs", "flags", "sp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"] as const),
] as const;

export type RegisterName = (typeof registerNames)[number];

/** The x87, SSE and extended state. Arrays shorter than the hardware's are zero beyond their end. */
export interface FloatingState {
  readonly controlWord: number;
  readonly statusWord: number;
  readonly tagWord: number;
  readonly opcode: number;
  readonly instructionPointer: bigint;
  readonly dataPointer: bigint;
  readonly mxcsr: number;
  readonly mxcsrMask: number;
  /** st0 to st7, 32 words. */
  readonly x87: readonly number[];
  /** xmm0 to xmm15, 64 words. */
  readonly sse: readonly number[];
  /** What XSAVE held beyond that; undefined where the image has none. */
  readonly extended: ExtendedState | undefined;
}

export interface ExtendedState {
  readonly xstateBv: bigint;
  /** Upper halves of ymm0 to ymm15, 64 words. */
  readonly ymmHigh: readonly number[];
  readonly boundRegisters: readonly bigint[];
  readonly boundControl: readonly bigint[];
  readonly opmask: readonly bigint[];
  readonly zmmHigh: readonly bigint[];
  readonly zmmHigh16: readonly bigint[];
  readonly pkru: readonly number[];
}

export interface CoreThread {
  readonly threadId: number;
  readonly registers: Readonly<Record<RegisterName, bigint>>;
  readonly floating: FloatingState;
  /** Blocked signals: bit n-1 for signal n. */
  readonly blockedSignals: bigint;
}

export interface CoreProcess {
  readonly pid: number;
  readonly parentPid: number;
  readonly processGroup: number;
  readonly session: number;
  readonly userId: number;
  readonly groupId: number;
  readonly nice: number;
  readonly flags: number;
  readonly command: string;
  /** Arguments joined by spaces; cut to the 79 bytes that the note holds. */
  readonly commandLine: string;
  /** Pairs of type and value (getauxval(3)); the closing AT_NULL is added where it is missing. */
  readonly auxiliaryVector: readonly bigint[];
}

/** A part of a mapping that became one PT_LOAD: with its bytes in the core, or (`stored` false) without. */
export interface CoreSegment {
  readonly firstPage: number;
  readonly pageCount: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly stored: boolean;
}

/** One line of NT_FILE: what of which file is mapped where. */
export interface CoreFileMapping {
  readonly firstPage: number;
  readonly pageCount: number;
  /** Where in the file the mapping starts, in pages. */
  readonly filePage: number;
  readonly path: string;
}

export interface CoreHead {
  /** Everything before the memory: ELF header, program headers, section header (rarely), notes. */
  readonly bytes: Buffer;
  /** For each segment, where its bytes start in the file; the file ends at `fileBytes`. */
  readonly offsets: readonly number[];
  readonly fileBytes: number;
}

/** Lays out a core file. Threads[0] is the one that a debugger shows first. */
export function coreHead(
  process: CoreProcess,
  threads: readonly CoreThread[],
  files: readonly CoreFileMapping[],
  segments: readonly CoreSegment[],
): CoreHead {
  const notes = coreNotes(process, threads, files);
  const headerCount = segments.length + 1;
  const extended = headerCount >= manyProgramHeaders;
  const sectionOffset = headerBytes + headerCount * programHeaderBytes;
  const notesOffset = sectionOffset + (extended ? sectionHeaderBytes : 0);
  const memoryOffset = Math.ceil((notesOffset + notes.length) / pageBytes) * pageBytes;

  const bytes = Buffer.alloc(memoryOffset);
  writeElfHeader(bytes, extended ? manyProgramHeaders : headerCount, extended ? sectionOffset : 0);
  if (extended) {
    bytes.writeUInt32LE(headerCount, sectionOffset + 44); // sh_info of section 0 holds the real count
    bytes.writeBigUInt64LE(1n, sectionOffset + 32); // sh_size: the number of section headers
  }
  writeProgramHeader(bytes, headerBytes, {
    type: segmentNote,
    flags: 0,
    offset: notesOffset,
    address: 0n,
    fileSize: notes.length,
    memorySize: 0,
    align: 4,
  });
  notes.copy(bytes, notesOffset);

  const offsets: number[] = [];
  let end = memoryOffset;
  segments.forEach((segment, index) => {
    const size = segment.pageCount * pageBytes;
    offsets.push(end);
    writeProgramHeader(bytes, headerBytes + (index + 1) * programHeaderBytes, {
      type: segmentLoad,
      flags: (segment.readable ? 4 : 0) | (segment.writable ? 2 : 0) | (segment.executable ? 1 : 0),
      offset: end,
      address: BigInt(segment.firstPage) * BigInt(pageBytes),
      fileSize: segment.stored ? size : 0,
      memorySize: size,
      align: pageBytes,
    });
    if (segment.stored) end += size;
  });
  return { bytes, offsets, fileBytes: end };
}

function writeElfHeader(bytes: Buffer, headerCount: number, sectionOffset: number): void {
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
  bytes.writeUInt16LE(typeCore, 16);
  bytes.writeUInt16LE(machineX86_64, 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(BigInt(headerBytes), 32);
  bytes.writeBigUInt64LE(BigInt(sectionOffset), 40);
  bytes.writeUInt16LE(headerBytes, 52);
  bytes.writeUInt16LE(programHeaderBytes, 54);
  bytes.writeUInt16LE(headerCount, 56);
  if (sectionOffset > 0) {
    bytes.writeUInt16LE(sectionHeaderBytes, 58);
    bytes.writeUInt16LE(1, 60);
  }
}

interface ProgramHeader {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: bigint;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
}

function writeProgramHeader(bytes: Buffer, at: number, header: ProgramHeader): void {
  bytes.writeUInt32LE(header.type, at);
  bytes.writeUInt32LE(header.flags, at + 4);
  bytes.writeBigUInt64LE(BigInt(header.offset), at + 8);
  bytes.writeBigUInt64LE(header.address, at + 16);
  bytes.writeBigUInt64LE(BigInt(header.fileSize), at + 32);
  bytes.writeBigUInt64LE(BigInt(header.memorySize), at + 40);
  bytes.writeBigUInt64LE(BigInt(header.align), at + 48);
}

/** All notes, in the kernel's order: the first thread's registers, the process, then the other threads. */
function coreNotes(process: CoreProcess, threads: readonly CoreThread[], files: readonly CoreFileMapping[]): Buffer {
  const parts: Buffer[] = [];
  threads.forEach((thread, index) => {
    parts.push(note("CORE", notePrstatus, prstatus(process, thread)));
    if (index === 0) {
      parts.push(note("CORE", notePrpsinfo, prpsinfo(process)));
      parts.push(note("CORE", noteSiginfo, Buffer.alloc(128))); // no signal ended this task
      parts.push(note("CORE", noteAuxv, auxiliaryVector(process.auxiliaryVector)));
      parts.push(note("CORE", noteFile, fileMappings(files)));
    }
    parts.push(note("CORE", noteFpregset, legacyFloating(thread.floating)));
    const { extended } = thread.floating;
    if (extended !== undefined) parts.push(note("LINUX", noteX86Xstate, xstate(thread.floating, extended)));
  });
  return Buffer.concat(parts);
}

function note(owner: string, type: number, description: Buffer): Buffer {
  const padded = (length: number) => (length + 3) & ~3;
  const nameBytes = owner.length + 1;
  const bytes = Buffer.alloc(12 + padded(nameBytes) + padded(description.length));
  bytes.writeUInt32LE(nameBytes, 0);
  bytes.writeUInt32LE(description.length, 4);
  bytes.writeUInt32LE(type, 8);
  bytes.write(owner, 12, "latin1");
  description.copy(bytes, 12 + padded(nameBytes));
  return bytes;
}

/** struct elf_prstatus: 336 bytes. */
function prstatus(process: CoreProcess, thread: CoreThread): Buffer {
  const bytes = Buffer.alloc(336);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, thread.blockedSignals), 24);
  bytes.writeUInt32LE(thread.threadId, 32);
  bytes.writeUInt32LE(process.parentPid, 36);
  bytes.writeUInt32LE(process.processGroup, 40);
  bytes.writeUInt32LE(process.session, 44);
  registerNames.forEach((name, index) => {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, thread.registers[name]), 112 + index * 8);
  });
  bytes.writeUInt32LE(1, 328); // pr_fpvalid
  return bytes;
}

/** struct elf_prpsinfo: 136 bytes. */
function prpsinfo(process: CoreProcess): Buffer {
  const bytes = Buffer.alloc(136);
  bytes.write("R", 1, "latin1");
  bytes.writeInt8(Math.max(-128, Math.min(127, process.nice)), 3);
  bytes.writeBigUInt64LE(BigInt(process.flags), 8);
  bytes.writeUInt32LE(process.userId, 16);
  bytes.writeUInt32LE(process.groupId, 20);
  bytes.writeUInt32LE(process.pid, 24);
  bytes.writeUInt32LE(process.parentPid, 28);
  bytes.writeUInt32LE(process.processGroup, 32);
  bytes.writeUInt32LE(process.session, 36);
  Buffer.from(process.command).copy(bytes, 40, 0, 15);
  Buffer.from(process.commandLine).copy(bytes, 56, 0, 79);
  return bytes;
}

function auxiliaryVector(pairs: readonly bigint[]): Buffer {
  const whole = pairs.slice(0, pairs.length & ~1);
  const ended = whole.some((value, index) => index % 2 === 0 && value === 0n);
  const values = ended ? whole : [...whole, 0n, 0n];
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, value), index * 8);
  });
  return bytes;
}

function fileMappings(files: readonly CoreFileMapping[]): Buffer {
  const table = Buffer.alloc(16 + files.length * 24);
  table.writeBigUInt64LE(BigInt(files.length), 0);
  table.writeBigUInt64LE(BigInt(pageBytes), 8);
  files.forEach((file, index) => {
    const at = 16 + index * 24;
    table.writeBigUInt64LE(BigInt(file.firstPage) * BigInt(pageBytes), at);
    table.writeBigUInt64LE(BigInt(file.firstPage + file.pageCount) * BigInt(pageBytes), at + 8);
    table.writeBigUInt64LE(BigInt(file.filePage), at + 16);
  });
  return Buffer.concat([table, ...files.map((file) => Buffer.from(`${file.path}\0`))]);
}

/** struct user_fpregs_struct, the FXSAVE image: 512 bytes. */
function legacyFloating(state: FloatingState): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.writeUInt16LE(state.controlWord & 0xffff, 0);
  bytes.writeUInt16LE(state.statusWord & 0xffff, 2);
  bytes.writeUInt16LE(state.tagWord & 0xffff, 4);
  bytes.writeUInt16LE(state.opcode & 0xffff, 6);
  bytes.writeBigUInt64LE(state.instructionPointer, 8);
  bytes.writeBigUInt64LE(state.dataPointer, 16);
  bytes.writeUInt32LE(state.mxcsr >>> 0, 24);
  bytes.writeUInt32LE(state.mxcsrMask >>> 0, 28);
  writeWords(bytes, 32, state.x87, 32);
  writeWords(bytes, 160, state.sse, 64);
  return bytes;
}

// Where each component lies in the standard form on Intel's parts. Debuggers tell the layout by mask and length together,
// so the note ends with the last component that it has.
const componentEnds = [576, 576, 832, 1024, 1088, 1152, 1664, 2688, 2688, 2696];
const xstateHeaderOffset = 512;
const xstateMaskOffset = 464; // where the kernel notes XCR0 in the legacy area's free bytes (struct _fpx_sw_bytes)

function xstate(state: FloatingState, extended: ExtendedState): Buffer {
  const bytes = Buffer.alloc(2696);
  legacyFloating(state).copy(bytes);
  let mask = 3n;
  const component = (bit: bigint, present: boolean) => {
    if (present) mask |= 1n << bit;
  };
  component(2n, writeWords(bytes, 576, extended.ymmHigh, 64));
  component(3n, writeLongs(bytes, 960, extended.boundRegisters, 8));
  component(4n, writeLongs(bytes, 1024, extended.boundControl, 2));
  component(5n, writeLongs(bytes, 1088, extended.opmask, 8));
  component(6n, writeLongs(bytes, 1152, extended.zmmHigh, 64));
  component(7n, writeLongs(bytes, 1664, extended.zmmHigh16, 128));
  component(9n, writeWords(bytes, 2688, extended.pkru, 2));
  const last = mask.toString(2).length - 1;
  bytes.writeBigUInt64LE(mask, xstateMaskOffset);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, extended.xstateBv), xstateHeaderOffset);
  return bytes.subarray(0, componentEnds[last]);
}

/** Writes at most `limit` words; says whether there were any. */
function writeWords(bytes: Buffer, at: number, words: readonly number[], limit: number): boolean {
  words.slice(0, limit).forEach((word, index) => {
    bytes.writeUInt32LE(word >>> 0, at + index * 4);
  });
  return words.length > 0;
}

function writeLongs(bytes: Buffer, at: number, longs: readonly bigint[], limit: number): boolean {
  longs.slice(0, limit).forEach((long, index) => {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, long), at + index * 8);
  });
  return longs.length > 0;
}
