// Pipes and FIFOs with what is unread in them. The bytes stay in the pipe: they are teed (tee(2)).
import { closeSync, openSync } from "node:fs";
import { checked } from "../../../errors";
import { native } from "../../../native";
import type { ImageSet } from "../imageSet";
import { modeType, type OpenFile, openFlag } from "../openFile";

const getPipeSize = 1032; // F_GETPIPE_SZ
const defaultPipeBytes = 65536;
const readNonBlocking = 0o4000;

/** Writes pipe entries, and each pipe's content once. */
export class Pipes {
  readonly #images: ImageSet;
  readonly #dumped = new Set<string>();

  constructor(images: ImageSet) {
    this.#images = images;
  }

  addPipe(id: number, file: OpenFile): void {
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
    const { bytes, size } = pipeContent(file);
    if (bytes.length === 0 && size === defaultPipeBytes) return;
    this.#images.add(image, kind, { pipe_id: file.inode, bytes: bytes.length, size }, { kind: "bytes", bytes });
  }
}

/** The unread bytes of a pipe and its capacity. A write end is reopened for reading, which changes nothing for others. */
export function pipeContent(file: OpenFile): { bytes: Buffer; size: number } {
  return file.withCopy((copy) => {
    const size = checked(native.fcntlNumber(copy, getPipeSize, 0), "fcntl", "cannot ask for a pipe's size", {
      pid: file.pid,
    });
    const buffer = Buffer.alloc(size);
    const isWriter = (file.flags & openFlag.accessMode) === openFlag.writeOnly;
    const reader = isWriter ? openSync(`/proc/self/fd/${copy}`, readNonBlocking) : copy;
    try {
      const got = checked(native.pipePeek(reader, buffer), "tee", "cannot copy a pipe's content", { pid: file.pid });
      return { bytes: Buffer.from(buffer.subarray(0, got)), size };
    } finally {
      if (reader !== copy) closeSync(reader);
    }
  });
}

export function isFifo(file: OpenFile): boolean {
  return file.type === modeType.fifo && !file.link.startsWith("pipe:");
}
