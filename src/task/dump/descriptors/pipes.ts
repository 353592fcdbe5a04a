// Pipes and FIFOs with what is unread in them. The bytes stay in the pipe: they are teed (tee(2)).
import { closeSync, openSync } from "node:fs";
import { checked } from "../../../errors";
import { native } from "../../../native";
import type { ImageSet } from "../imageSet";
import { modeType, type OpenFile, openFlag } from "../openFile";

/** A packet takes a page of the pipe at least. */
const pageSize = 4096;
const getPipeSize = 1032; // F_GETPIPE_SZ
const defaultPipeBytes = 65536;
const readNonBlocking = 0o4000;

/** Writes pipe entries, and each pipe's content once. */
export class Pipes {
  readonly #images: ImageSet;
  readonly #dumped = new Set<string>();
  readonly #ends = new Map<number, { pid: number; fd: number; reads: boolean; writes: boolean }>();

  constructor(images: ImageSet) {
    this.#images = images;
  }

  /** What a restored tree finds different: pipes of which it has one end only. */
  warnings(): string[] {
    return [...this.#ends].flatMap(([inode, { pid, fd, reads, writes }]) => {
      if (reads && writes) return [];
      const missing = reads ? "no writing" : "no reading";
      return [`pid ${pid} fd ${fd}: the tree has ${missing} end of pipe ${inode}; a restored one is closed there`];
    });
  }

  #noteEnds({ pid, fd, inode, flags }: OpenFile): void {
    const mode = flags & openFlag.accessMode;
    const known = this.#ends.get(inode) ?? { pid, fd, reads: false, writes: false };
    known.reads ||= mode !== openFlag.writeOnly;
    known.writes ||= mode !== 0;
    this.#ends.set(inode, known);
  }

  addPipe(id: number, file: OpenFile): void {
    this.#noteEnds(file);
    this.#images.addFile("PIPE", { id, pipe: { id, pipe_id: file.inode, flags: file.flags, fown: file.owner() } });
    this.#addContent("pipes-data.img", "PIPES_DATA", file);
  }

  /** `regularId`: the reg_file entry that holds the FIFO's path. */
  addFifo(id: number, file: OpenFile, regularId: number): void {
    this.#images.addFile("FIFO", { id, fifo: { id, pipe_id: file.inode, regf_id: regularId } });
    this.#addContent("fifo-data.img", "FIFO_DATA", file);
  }

  #addContent(image: string, kind: "PIPES_DATA" | "FIFO_DATA", file: OpenFile): void {
    const key = `${image}:${file.stat.dev}:${file.stat.ino}`;
    if (this.#dumped.has(key) || (file.flags & openFlag.path) !== 0) return;
    this.#dumped.add(key);
    const { packets, size } = pipeContent(file);
    if (packets.length === 0 && size === defaultPipeBytes) return;
    // One record for each packet; CRIU, which refuses pipes in packet mode, has one for all bytes.
    for (const bytes of packets.length === 0 ? [Buffer.alloc(0)] : packets) {
      this.#images.add(image, kind, { pipe_id: file.inode, bytes: bytes.length, size }, { kind: "bytes", bytes });
    }
  }
}

/**
 * What is unread in a pipe, packet by packet where it is in packet mode, and its capacity. A write end is reopened for
 * reading, which changes nothing for others.
 */
function pipeContent(file: OpenFile): { packets: Buffer[]; size: number } {
  return file.withCopy((copy) => {
    const size = checked(native.fcntlNumber(copy, getPipeSize, 0), "fcntl", "cannot ask for a pipe's size", {
      pid: file.pid,
    });
    const buffer = Buffer.alloc(size);
    const isWriter = (file.flags & openFlag.accessMode) === openFlag.writeOnly;
    const reader = isWriter ? openSync(`/proc/self/fd/${copy}`, readNonBlocking) : copy;
    try {
      const reads = new Int32Array(1 + Math.ceil(size / pageSize));
      const got = native.pipePeek(reader, buffer, reads);
      checked(got, "tee", "cannot copy a pipe's content", { pid: file.pid });
      let at = 0;
      const packets = Array.from(reads.subarray(1, 1 + (reads[0] as number)), (length) => {
        at += length;
        return Buffer.from(buffer.subarray(at - length, at));
      });
      return { packets, size };
    } finally {
      if (reader !== copy) closeSync(reader);
    }
  });
}

export function isFifo(file: OpenFile): boolean {
  return file.type === modeType.fifo && !file.link.startsWith("pipe:");
}
