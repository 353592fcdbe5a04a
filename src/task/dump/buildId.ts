// The build id of an ELF file: the note by which a restore sees that a mapped file is still the same (elf(5)).
import { type BigIntStats, closeSync, openSync, readSync } from "node:fs";

const elfMagic = 0x464c457f;
const class64 = 2;
const programNote = 4;
const noteGnuBuildId = 3;
const headerBytes = 64;
const programHeaderBytes = 56;
const noteBytesMax = 64 * 1024;

const cache = new Map<string, number[]>();

/** The build id as little-endian words, as CRIU writes it; empty where the file has none. */
export function buildId(path: string, stat: BigIntStats): number[] {
  const key = `${stat.dev}:${stat.ino}:${stat.mtimeNs}:${stat.size}`;
  let found = cache.get(key);
  if (found === undefined) {
    found = readBuildId(path);
    cache.set(key, found);
  }
  return found;
}

function readBuildId(path: string): number[] {
  const fd = openSync(path, "r");
  try {
    const header = Buffer.alloc(headerBytes);
    if (readSync(fd, header, 0, headerBytes, 0) < headerBytes) return [];
    if (header.readUInt32LE(0) !== elfMagic || header[4] !== class64) return [];
    const offset = Number(header.readBigUInt64LE(32));
    const count = header.readUInt16LE(56);
    const table = Buffer.alloc(count * programHeaderBytes);
    readSync(fd, table, 0, table.length, offset);
    for (let at = 0; at < table.length; at += programHeaderBytes) {
      if (table.readUInt32LE(at) !== programNote) continue;
      const notes = Buffer.alloc(Math.min(Number(table.readBigUInt64LE(at + 32)), noteBytesMax));
      readSync(fd, notes, 0, notes.length, Number(table.readBigUInt64LE(at + 8)));
      const id = findNote(notes);
      if (id !== undefined) return id;
    }
    return [];
  } finally {
    closeSync(fd);
  }
}

function findNote(notes: Buffer): number[] | undefined {
  const padded = (length: number): number => (length + 3) & ~3;
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameBytes = notes.readUInt32LE(at);
    const valueBytes = notes.readUInt32LE(at + 4);
    const value = at + 12 + padded(nameBytes);
    if (value + valueBytes > notes.length) return undefined;
    if (notes.readUInt32LE(at + 8) === noteGnuBuildId && notes.toString("latin1", at + 12, at + 15) === "GNU") {
      const words = Buffer.alloc(padded(valueBytes));
      notes.copy(words, 0, value, value + valueBytes);
      return Array.from({ length: words.length / 4 }, (_, index) => words.readUInt32LE(index * 4));
    }
    at = value + padded(valueBytes);
  }
  return undefined;
}
