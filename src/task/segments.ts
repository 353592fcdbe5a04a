// The System V shared memory segments of this IPC namespace, as /proc/sysvipc/shm lists them (proc_sysvipc(5)). Facts
// only.
import { readFileSync } from "node:fs";

/** Bits of a segment's mode beside the permissions (linux/shm.h). */
export const segmentMode = { permissions: 0o777, removed: 0o1000, locked: 0o2000 } as const;

export interface SegmentFacts {
  readonly id: number;
  readonly key: number;
  /** Permissions and the bits of segmentMode. */
  readonly mode: number;
  readonly bytes: number;
  readonly attached: number;
  readonly uid: number;
  readonly gid: number;
  readonly creatorUid: number;
  readonly creatorGid: number;
}

/** All segments, by id. */
export function systemVSegments(): Map<number, SegmentFacts> {
  return parseSegments(readFileSync("/proc/sysvipc/shm", "latin1"));
}

export function parseSegments(text: string): Map<number, SegmentFacts> {
  const [head = "", ...lines] = text.trimEnd().split("\n");
  const names = head.trim().split(/\s+/);
  const found = new Map<number, SegmentFacts>();
  for (const line of lines) {
    const words = line.trim().split(/\s+/);
    const word = (name: string): string => words[names.indexOf(name)] ?? "0";
    const value = (name: string): number => Number(word(name));
    const id = value("shmid");
    found.set(id, {
      id,
      key: value("key") >>> 0,
      mode: Number.parseInt(word("perms"), 8),
      bytes: value("size"),
      attached: value("nattch"),
      uid: value("uid"),
      gid: value("gid"),
      creatorUid: value("cuid"),
      creatorGid: value("cgid"),
    });
  }
  return found;
}
