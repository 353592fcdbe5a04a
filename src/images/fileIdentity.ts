// What files are, to tell whether they are still those that were read. Looks; decides nothing about what follows from it.
import type { Stats } from "node:fs";
import { native } from "../native";

/** Changes of a file this shortly before it is looked at may be followed by one with the same time stamp, milliseconds. */
const TIME_STAMP_MS = 50;

/** Numbers of an identity. */
const NUMBERS = 5;

/**
 * Device, inode, size and times of last change in milliseconds: another content has another of these, unless it came within
 * TIME_STAMP_MS.
 */
export type FileIdentity = Float64Array;

export function identityOf({ dev, ino, size, mtimeMs, ctimeMs }: Stats): FileIdentity {
  return Float64Array.of(dev, ino, size, mtimeMs, ctimeMs);
}

/** Undefined where there is no such file, or it cannot be looked at. */
export function findIdentity(file: string): FileIdentity | undefined {
  const identity = new Float64Array(NUMBERS);
  native.statAll(Buffer.from(`${file}\0`), identity);
  return identity[0]! < 0 ? undefined : identity;
}

export function isSameIdentity(one: FileIdentity, other: FileIdentity): boolean {
  return one.every((value, index) => value === other[index]);
}

/** Whether it was changed so shortly ago that another change might have the same time stamp. */
export function isFresh(identity: FileIdentity): boolean {
  const changedMs = Math.max(identity[3] ?? 0, identity[4] ?? 0);
  return changedMs > Date.now() - TIME_STAMP_MS;
}

/** Some files that are looked at together, in one call, again and again. */
export class FileGroup {
  readonly #paths: Buffer;
  readonly #known: Float64Array;
  readonly #now: Float64Array;

  /** The files, and what they were. */
  constructor(files: readonly (readonly [file: string, identity: FileIdentity])[]) {
    this.#paths = Buffer.from(files.map(([file]) => `${file}\0`).join(""));
    this.#known = new Float64Array(files.length * NUMBERS);
    this.#now = new Float64Array(files.length * NUMBERS);
    files.forEach(([, identity], index) => {
      this.#known.set(identity, index * NUMBERS);
    });
  }

  /** Whether each is there and still what it was. */
  isUnchanged(): boolean {
    native.statAll(this.#paths, this.#now);
    return Buffer.from(this.#now.buffer).equals(Buffer.from(this.#known.buffer));
  }
}
