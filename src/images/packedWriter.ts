// Writes a packed page file in one pass: blocks are encoded on libuv's pool as pages come in, written in order, and
// followed by the index and trailer. Used by pack and by dump. Naming and renaming the file is the caller's matter.
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { FaultlineError } from "../errors";
import { BLOCK_PAGES_MAX, PAGE_BYTES } from "../limits";
import { native } from "../native";
import { fileError } from "./openFile";
import { encodeIndex, encodeTrailer, versionOf } from "./packedIndex";

/** Pages in a block unless asked otherwise: 64 KiB. See docs/packed.md for the measurement. */
export const DEFAULT_PAGES_PER_BLOCK = 16;

/** Pages encoded by one native call: long enough to hide its cost, short enough to keep every core busy. */
const JOB_PAGES = 512;

/** Jobs per core under way at a time: the pool goes on while the main thread is busy with something else for some milliseconds. */
const JOBS_PER_CORE = 4;

/** Bytes that are handed to the disk at a time. */
const WRITE_BEHIND_BYTES = 16 * 1024 * 1024;

export interface PackedWriterOptions {
  /** Most pages in a block, 1 to 1024. Default 16. */
  readonly pagesPerBlock?: number | undefined;
  /** 0: LZ4 (default). 1 to 12: LZ4-HC of that level. */
  readonly level?: number | undefined;
}

export interface PackedSummary {
  /** Whole pages written. */
  readonly pageCount: number;
  readonly blockCount: number;
  /** Blocks that are all zero, and blocks stored raw. */
  readonly zeroBlocks: number;
  readonly rawBlocks: number;
  /** Bytes of the raw pages, with the tail. */
  readonly rawBytes: number;
  /** Bytes of the packed file, with index and trailer. */
  readonly fileBytes: number;
}

/** How blocks that were added out of page order lie in the raw file. */
export interface StorageOrder {
  /** Pages of each run, in page order. */
  readonly runPages: Float64Array;
  /** The blocks that were added first, in that order, by their numbers in page order; the others followed in page order. */
  readonly firstBlocks: Uint32Array;
}

/** A list of numbers in a typed array that doubles when full. */
class NumberList<T extends Float64Array | Uint32Array> {
  length = 0;
  constructor(
    private values: T,
    private readonly make: (length: number) => T,
  ) {}

  push(value: number): void {
    if (this.length === this.values.length) {
      const larger = this.make(this.length * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.length++] = value;
  }

  get array(): T {
    return this.values.subarray(0, this.length) as T;
  }
}

const uint32List = () => new NumberList<Uint32Array>(new Uint32Array(256), (length) => new Uint32Array(length));
const float64List = () => new NumberList<Float64Array>(new Float64Array(256), (length) => new Float64Array(length));

/**
 * A batch of whole blocks for one native call: in the caller's memory, or copied into the job's own, or read there from
 * [offset, ...) of `fd`.
 */
class Job {
  source: Uint8Array;
  private own: Buffer | undefined;
  /** Where in `source` each block is, bytes. */
  readonly starts: Float64Array;
  readonly out: Buffer;
  readonly blockPages: Uint32Array;
  readonly sizes: Uint32Array;
  readonly sums: Uint32Array;
  blockCount = 0;
  pageCount = 0;
  fd = -1;
  offset = 0;
  /** The caller's memory, where the blocks are there. */
  steady: ArrayBufferLike | undefined;

  constructor(readonly capacityPages: number) {
    this.source = empty;
    this.starts = new Float64Array(capacityPages);
    this.out = Buffer.allocUnsafeSlow(capacityPages * PAGE_BYTES);
    this.blockPages = new Uint32Array(capacityPages);
    this.sizes = new Uint32Array(capacityPages);
    this.sums = new Uint32Array(capacityPages);
  }

  /** For blocks that are copied or read: memory of the job's own. */
  useOwn(): void {
    this.own ??= Buffer.allocUnsafeSlow(this.capacityPages * PAGE_BYTES);
    this.source = this.own;
  }
}

const empty = new Uint8Array(0);

/**
 * Streams pages into a packed file. Calls must not overlap: await each before the next. Memory: a few MiB, whatever the
 * amount of pages, and 8 bytes per block and per run.
 */
export class PackedPagesWriter {
  private readonly sizes = uint32List();
  private readonly sums = uint32List();
  private readonly runs = float64List();
  private readonly free: Job[] = [];
  private readonly jobsMax = JOBS_PER_CORE * availableParallelism();
  private jobCount = 0;
  private current: Job | undefined;
  private wake: (() => void) | undefined;
  private writes: Promise<void> = Promise.resolve();
  private failure: unknown;
  private failed = false;
  private offset = 0;
  private sentBytes = 0;
  private pageCount = 0;
  private zeroBlocks = 0;
  private rawBlocks = 0;

  private constructor(
    readonly file: string,
    private readonly handle: FileHandle,
    readonly pagesPerBlock: number,
    private readonly level: number,
  ) {}

  /** Creates `file`, which must not exist. Throws RangeError for bad options, FaultlineError for the file. */
  static async create(file: string, options: PackedWriterOptions = {}): Promise<PackedPagesWriter> {
    const { pagesPerBlock = DEFAULT_PAGES_PER_BLOCK, level = 0 } = options;
    if (!Number.isInteger(pagesPerBlock) || pagesPerBlock < 1 || pagesPerBlock > BLOCK_PAGES_MAX) {
      throw new RangeError(`pagesPerBlock must be 1 to ${BLOCK_PAGES_MAX}, not ${pagesPerBlock}`);
    }
    if (!Number.isInteger(level) || level < 0 || level > 12)
      throw new RangeError(`level must be 0 to 12, not ${level}`);
    try {
      const handle = await open(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
      return new PackedPagesWriter(file, handle, pagesPerBlock, level);
    } catch (cause) {
      throw fileError(cause, "cannot create the packed page file", file);
    }
  }

  /** Bytes written so far, for progress. */
  get storedBytes(): number {
    return this.offset;
  }

  /**
   * Adds a run of `pageCount` pages at the start of `pages`, which may be reused when the promise resolves. No block
   * crosses the border to the next run. A run too long for one buffer may come in pieces, each but the last a multiple of
   * pagesPerBlock pages long: its blocks are the same.
   */
  async addRun(pages: Uint8Array, pageCount: number): Promise<void> {
    if (!Number.isInteger(pageCount) || pageCount < 0 || pages.length < pageCount * PAGE_BYTES) {
      throw new RangeError(`a run of ${pageCount} pages in ${pages.length} bytes`);
    }
    for (let done = 0; done < pageCount; ) {
      const blockPages = Math.min(this.pagesPerBlock, pageCount - done);
      const job = await this.room(blockPages, -1, 0);
      const start = job.pageCount * PAGE_BYTES;
      job.source.set(pages.subarray(done * PAGE_BYTES, (done + blockPages) * PAGE_BYTES), start);
      this.addBlock(job, blockPages, start);
      done += blockPages;
    }
    this.endRun(pageCount);
  }

  /** The same without a copy, for pages that stay as they are until finish(). */
  async addSteadyRun(pages: Uint8Array, pageCount: number): Promise<void> {
    if (!Number.isInteger(pageCount) || pageCount < 0 || pages.length < pageCount * PAGE_BYTES) {
      throw new RangeError(`a run of ${pageCount} pages in ${pages.length} bytes`);
    }
    for (let done = 0; done < pageCount; ) {
      const blockPages = Math.min(this.pagesPerBlock, pageCount - done);
      const job = await this.room(blockPages, -1, 0, pages);
      this.addBlock(job, blockPages, pages.byteOffset - job.source.byteOffset + done * PAGE_BYTES);
      done += blockPages;
    }
    this.endRun(pageCount);
  }

  /** The same for pages that lie in a file at `offset` bytes. They are read on the pool; `fd` must stay open till finish(). */
  async addFileRun(fd: number, offset: number, pageCount: number): Promise<void> {
    if (!Number.isInteger(pageCount) || pageCount < 0) throw new RangeError(`a run of ${pageCount} pages`);
    for (let done = 0; done < pageCount; ) {
      const blockPages = Math.min(this.pagesPerBlock, pageCount - done);
      const job = await this.room(blockPages, fd, offset + done * PAGE_BYTES);
      this.addBlock(job, blockPages, job.pageCount * PAGE_BYTES);
      done += blockPages;
    }
    this.endRun(pageCount);
  }

  /**
   * Writes what is left, the index and the trailer, syncs the file and closes it. `tail`: what the raw file holds after its
   * last whole page, fewer than 4096 bytes. `order`: where runs were not added in page order, what they are in it.
   */
  async finish(tail: Uint8Array = new Uint8Array(0), order?: StorageOrder): Promise<PackedSummary> {
    if (tail.length >= PAGE_BYTES) throw new RangeError(`a tail of ${tail.length} bytes`);
    if (this.current !== undefined) this.dispatch(this.current);
    this.current = undefined;
    await this.writes;
    this.throwFailure();
    const firstBlocks = order?.firstBlocks;
    const index = encodeIndex({
      pagesPerBlock: this.pagesPerBlock,
      pageCount: this.pageCount,
      storedBytes: this.sizes.array,
      checksums: this.sums.array,
      runPages: order?.runPages ?? this.runs.array,
      firstBlocks,
      tail,
    });
    const indexChecksum = native.xxh32(index, 0, index.length);
    const trailer = encodeTrailer(
      { indexOffset: this.offset, indexBytes: index.length, indexChecksum },
      versionOf(firstBlocks),
    );
    try {
      await this.write(index, index.length);
      await this.write(trailer, trailer.length);
      await this.handle.sync();
      await this.handle.close();
    } catch (cause) {
      throw fileError(cause, "cannot write the packed page file", this.file);
    }
    return {
      pageCount: this.pageCount,
      blockCount: this.sizes.length,
      zeroBlocks: this.zeroBlocks,
      rawBlocks: this.rawBlocks,
      rawBytes: this.pageCount * PAGE_BYTES + tail.length,
      fileBytes: this.offset,
    };
  }

  /** Gives up: waits for work under way and closes the file, which is left as it is. Safe after any failure. */
  async abort(): Promise<void> {
    this.current = undefined;
    await this.writes;
    await this.handle.close();
  }

  private endRun(pageCount: number): void {
    if (pageCount > 0) this.runs.push(pageCount);
    this.pageCount += pageCount;
  }

  private addBlock(job: Job, pageCount: number, start: number): void {
    job.starts[job.blockCount] = start;
    job.blockPages[job.blockCount++] = pageCount;
    job.pageCount += pageCount;
  }

  /** The job that the next block goes into: the current one where it fits and comes from the same place. */
  private async room(blockPages: number, fd: number, offset: number, steady?: Uint8Array): Promise<Job> {
    const job = this.current;
    if (job !== undefined) {
      const follows =
        job.steady === steady?.buffer &&
        job.fd === fd &&
        (fd < 0 || job.offset + job.pageCount * PAGE_BYTES === offset);
      if (follows && job.pageCount + blockPages <= job.capacityPages) return job;
      this.dispatch(job);
      this.current = undefined;
    }
    const next = await this.freeJob();
    this.throwFailure();
    next.fd = fd;
    next.offset = offset;
    next.steady = steady?.buffer;
    if (steady === undefined) next.useOwn();
    else next.source = new Uint8Array(steady.buffer);
    this.current = next;
    return next;
  }

  private async freeJob(): Promise<Job> {
    for (;;) {
      const job = this.free.pop();
      if (job !== undefined) return job;
      if (this.jobCount < this.jobsMax) {
        this.jobCount++;
        return new Job(Math.max(JOB_PAGES, this.pagesPerBlock));
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Starts encoding a job; it is written when all jobs before it are. */
  private dispatch(job: Job): void {
    const { fd, offset, source, starts, blockPages, blockCount, out, sizes, sums } = job;
    const encoded = native.packBlocks(fd, offset, source, starts, blockPages, blockCount, this.level, out, sizes, sums);
    this.writes = this.writes.then(() => this.store(job, encoded));
  }

  private async store(job: Job, encoded: Promise<number>): Promise<void> {
    try {
      const length = await encoded;
      if (!this.failed) {
        if (length < 0) throw sourceError(-length, job.offset);
        await this.write(job.out, length);
        this.count(job);
      }
    } catch (error) {
      if (!this.failed) this.failure = error instanceof FaultlineError ? error : this.writeError(error);
      this.failed = true;
    }
    job.blockCount = 0;
    job.pageCount = 0;
    this.free.push(job);
    this.wake?.();
    this.wake = undefined;
  }

  private count(job: Job): void {
    for (let i = 0; i < job.blockCount; i++) {
      const size = job.sizes[i]!;
      if (size === 0) this.zeroBlocks++;
      else if (size === job.blockPages[i]! * PAGE_BYTES) this.rawBlocks++;
      this.sizes.push(size);
      this.sums.push(job.sums[i]!);
    }
  }

  private writeError(cause: unknown): FaultlineError {
    return fileError(cause, "cannot write the packed page file", this.file);
  }

  private throwFailure(): void {
    if (this.failed) throw this.failure;
  }

  private async write(bytes: Uint8Array, length: number): Promise<void> {
    let done = 0;
    while (done < length) {
      const { bytesWritten } = await this.handle.write(bytes, done, length - done, this.offset);
      done += bytesWritten;
      this.offset += bytesWritten;
    }
    this.writeBehind();
  }

  /** Lets the disk start on what is written while more is encoded: the sync at the end then waits for the last piece only. */
  private writeBehind(): void {
    const bytes = this.offset - this.sentBytes;
    if (bytes < WRITE_BEHIND_BYTES) return;
    native.writeBehind(this.handle.fd, this.sentBytes, bytes); // an error of the disk is told by the sync
    this.sentBytes = this.offset;
  }
}

const ENODATA = 61;

function sourceError(errno: number, offset: number): FaultlineError {
  if (errno === ENODATA) {
    return new FaultlineError("IMAGE_TRUNCATED", "a page file shrank while it was packed", { offset });
  }
  return new FaultlineError("SYSTEM", "a page file cannot be read", { offset, syscall: "pread", errno });
}
