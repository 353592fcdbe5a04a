// Where the pages of a frozen tree are copied to: populated buffers made before the freeze, so that the copy is one
// process_vm_readv(2) at memory speed. Not for deciding which pages; see memory.ts.
import { closeSync, openSync } from "node:fs";
import { checked, FaultlineError } from "../../errors";
import { native } from "../../native";
import { pageSize } from "../constants";

/** Bytes of one buffer: typed arrays stay well below their limit. */
const bufferBytes = 256 * 1024 * 1024;

/** Pages that lie together in the task and in a buffer. `address` in bytes. */
export interface CopiedRun {
  readonly address: number;
  readonly pageCount: number;
  readonly bytes: Uint8Array;
}

export class PageStore implements Disposable {
  readonly #buffers: Uint8Array[] = [];
  #used = 0;
  #current = 0;
  #copy: Batch | undefined;
  #population: number | undefined;

  /** Begins to make room ahead of time, for about `bytes`: threads do, and ready() waits for them. */
  reserve(bytes: number): void {
    const fresh: ArrayBuffer[] = [];
    for (let left = bytes; left > 0; left -= bufferBytes) {
      const length = Math.min(left, bufferBytes);
      fresh.push(allocated(native.mapPages(rounded(length)), length));
    }
    for (const buffer of fresh) this.#buffers.push(new Uint8Array(buffer));
    this.#population = native.startPopulation(fresh);
  }

  /** Waits until what was reserved is there. */
  ready(): void {
    const population = this.#population;
    this.#population = undefined;
    if (population === undefined) return;
    checked(native.endPopulation(population), "madvise", "no memory for a copy of the pages");
  }

  #grow(bytes: number): void {
    this.#buffers.push(new Uint8Array(allocated(native.allocatePages(rounded(bytes)), bytes)));
  }

  /** A piece of at most `bytes` (a multiple of the page size), never empty. */
  #take(bytes: number): Uint8Array {
    for (;;) {
      const buffer = this.#buffers[this.#current];
      if (buffer === undefined) {
        this.#grow(Math.min(Math.max(bytes, 16 * 1024 * 1024), bufferBytes));
        continue;
      }
      const left = buffer.length - this.#used;
      if (left < pageSize) {
        this.#current += 1;
        this.#used = 0;
        continue;
      }
      const length = Math.min(bytes, left);
      const piece = buffer.subarray(this.#used, this.#used + length);
      this.#used += length;
      return piece;
    }
  }

  /**
   * Copies page runs of a stopped process: (address, bytes) pairs in address order. The bytes are there after settle(): until
   * then the caller may do anything with the process but let it write to its memory.
   */
  copyMemory(pid: number, runs: readonly { readonly address: number; readonly bytes: number }[]): CopiedRun[] {
    const copied: CopiedRun[] = [];
    let batch: CopiedRun[] = [];
    let batchStart: { buffer: ArrayBufferLike; offset: number } | undefined;
    const flush = (): void => {
      if (batch.length === 0 || batchStart === undefined) return;
      this.settle();
      this.#copy = startBatch(pid, batch, batchStart);
      copied.push(...batch);
      batch = [];
      batchStart = undefined;
    };
    for (const run of runs) {
      for (let done = 0; done < run.bytes; ) {
        const bytes = this.#take(run.bytes - done);
        if (batchStart !== undefined && batchStart.buffer !== bytes.buffer) flush();
        batchStart ??= { buffer: bytes.buffer, offset: bytes.byteOffset };
        batch.push({ address: run.address + done, pageCount: bytes.length / pageSize, bytes });
        done += bytes.length;
      }
    }
    flush();
    return copied;
  }

  /** Waits for the copy that is under way. Throws where a page could not be copied. */
  settle(): void {
    const copy = this.#copy;
    this.#copy = undefined;
    if (copy !== undefined) endBatch(copy);
  }

  /** Ends what is under way, whatever comes of it. */
  [Symbol.dispose](): void {
    if (this.#population !== undefined) native.endPopulation(this.#population);
    this.#population = undefined;
    if (this.#copy !== undefined) native.endCopy(this.#copy.id);
    this.#copy = undefined;
  }

  /** Copies pages that process_vm_readv(2) refuses (PROT_NONE) through /proc/PID/mem, or any file at its offsets. */
  copyFile(
    path: string,
    pid: number,
    runs: readonly { readonly address: number; readonly bytes: number }[],
  ): CopiedRun[] {
    if (runs.length === 0) return [];
    const fd = openSync(path, "r");
    try {
      return runs.flatMap((run) => {
        const pieces: CopiedRun[] = [];
        for (let done = 0; done < run.bytes; ) {
          const bytes = this.#take(run.bytes - done);
          fillFrom(fd, path, pid, run.address + done, bytes);
          pieces.push({ address: run.address + done, pageCount: bytes.length / pageSize, bytes });
          done += bytes.length;
        }
        return pieces;
      });
    } finally {
      closeSync(fd);
    }
  }
}

function rounded(bytes: number): number {
  return Math.max(pageSize, Math.ceil(bytes / pageSize) * pageSize);
}

function allocated(got: ArrayBuffer | number, bytes: number): ArrayBuffer {
  if (typeof got !== "number") return got;
  throw new FaultlineError("SYSTEM", `no memory for a copy of ${bytes} bytes`, { syscall: "mmap", errno: -got });
}

/** One copy at a time: several would only share the processors. */
interface Batch {
  readonly id: number;
  readonly pid: number;
  readonly runs: readonly CopiedRun[];
}

function startBatch(
  pid: number,
  runs: readonly CopiedRun[],
  start: { buffer: ArrayBufferLike; offset: number },
): Batch {
  const pairs = new Float64Array(runs.length * 2);
  let total = 0;
  runs.forEach((run, index) => {
    pairs[index * 2] = run.address;
    pairs[index * 2 + 1] = run.bytes.length;
    total += run.bytes.length;
  });
  const target = new Uint8Array(start.buffer, start.offset, total);
  return { id: copied(native.startCopy(pid, pairs, target), pid), pid, runs };
}

function copied(got: number, pid: number): number {
  return checked(got, "process_vm_readv", "cannot copy the task's memory", { pid });
}

function endBatch({ id, pid, runs }: Batch): void {
  const got = copied(native.endCopy(id), pid);
  let passed = 0;
  const failed = runs.find((run) => {
    passed += run.bytes.length;
    return passed > got;
  });
  if (failed === undefined) return;
  throw new FaultlineError("SYSTEM", "a page of the task cannot be copied", { pid, address: failed.address });
}

/** What lies beyond the end of the file stays zero. */
function fillFrom(fd: number, path: string, pid: number, offset: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const got = checked(
      native.readAt(fd, offset + done, bytes.subarray(done)),
      "pread",
      "cannot copy the task's memory",
      {
        pid,
        file: path,
        address: offset + done,
      },
    );
    if (got === 0) {
      bytes.fill(0, done);
      return;
    }
    done += got;
  }
}
