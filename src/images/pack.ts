// pack and unpack: raw page files to packed ones and back, in a directory or into a copy of it. The order in which files
// come and go is the whole safety of it; directoryChange.ts has the means.
import {
  closeSync,
  copyFileSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { FaultlineError } from "../errors";
import { PAGE_BYTES } from "../limits";
import { native } from "../native";
import { BlockOrder, filePages } from "./blockOrder";
import {
  criuPagemap,
  EAGER_PAGES_OFFSET,
  EMPTY_PARENT,
  emptyPagemap,
  hasLazyPages,
  isEager,
  KEPT_PREFIX,
  PARENT_LINK,
} from "./criuPagemap";
import { ImageDirectory } from "./directory";
import { DirectoryChange, syncPath } from "./directoryChange";
import { copyDirectory } from "./directoryCopy";
import { decodeImageOf, readImageFile } from "./framing";
import { fileError, openImageFile } from "./openFile";
import { PackedPagesReader } from "./packed";
import { PackedPagesWriter } from "./packedWriter";
import { decodePagemap, PageFlag, type Pagemap } from "./pagemap";
import { readWorkingSet, type WorkingSet } from "./workingSet";

export interface PackOptions {
  /** Where the packed directory goes; must not exist. Default: in place. */
  readonly output?: string | undefined;
  /** 0: LZ4 (default); 1 to 12: LZ4-HC of that level. */
  readonly level?: number | undefined;
  /** Most pages in a block, 1 to 1024; default 16. */
  readonly pagesPerBlock?: number | undefined;
  /** Leave the pages that CRIU reads eagerly where it looks for them. */
  readonly forCriu?: boolean | undefined;
  /** Store the blocks of the recorded working sets first. */
  readonly byWorkingSet?: boolean | undefined;
  /** Bytes of page files done, of all. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
  /** Told in one line of a working set that cannot be used: its task's blocks stay in page order. */
  readonly onWarning?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type UnpackOptions = Pick<PackOptions, "output" | "onProgress" | "signal">;

export interface PackSummary {
  readonly directory: string;
  readonly files: number;
  /** Bytes of the raw page files and of the packed ones. */
  readonly rawBytes: number;
  readonly packedBytes: number;
  /** Bytes of page files left for CRIU beside the packed ones. */
  readonly eagerBytes: number;
}

/** A page file and the pagemaps that say what is in it. */
interface PageSet {
  readonly pagesId: number;
  readonly rawName: string;
  readonly packedName: string;
  readonly pagemaps: readonly { readonly name: string; readonly pagemap: Pagemap }[];
}

/** Packs an image directory. Throws BUSY where it is being changed, and FaultlineErrors about its files; nothing is lost then. */
export async function packDirectory(directory: string, options: PackOptions = {}): Promise<PackSummary> {
  const path = checkDirectory(directory);
  if (options.output !== undefined) {
    const { output, ...inPlace } = options;
    return copyDirectory(path, output, (copy) => packDirectory(copy, inPlace));
  }
  using change = DirectoryChange.begin(path);
  const kept = keptPagemaps(path);
  if (kept.length > 0) {
    throw new FaultlineError("BUSY", "the directory is packed for CRIU already", {
      file: join(path, kept[0]!),
      advice: "unpack it first",
    });
  }
  removeEmptyParent(path, change);
  const finished = finishPacking(path, change, options.forCriu === true);
  const sets = pageSets(path).filter((set) => hasFile(path, set.rawName));
  if (sets.length === 0 && finished !== undefined) return finished;
  if (sets.length === 0) {
    throw new FaultlineError("NOT_FOUND", "the directory has no raw page files", {
      file: path,
      advice: "it is packed already (`faultline unpack` undoes that), or holds no memory",
    });
  }
  if (options.forCriu === true) checkForCriu(path);
  return await new Packing(path, sets, change, options).run();
}

/** The opposite of packDirectory: every file as it was. */
export async function unpackDirectory(directory: string, options: UnpackOptions = {}): Promise<PackSummary> {
  const path = checkDirectory(directory);
  if (options.output !== undefined) {
    const { output, ...inPlace } = options;
    return copyDirectory(path, output, (copy) => unpackDirectory(copy, inPlace));
  }
  using change = DirectoryChange.begin(path);
  const names = namesOf(path).filter((name) => /^pagez-\d+\.img$/.test(name));
  if (names.length === 0) {
    throw new FaultlineError("NOT_FOUND", "the directory has no packed page files", {
      file: path,
      advice: "it is not packed",
    });
  }
  return await new Unpacking(path, names, change, options).run();
}

/** Names as they are now: a change makes and removes files. */
function namesOf(path: string): string[] {
  return readdirSync(path).sort();
}

function hasFile(path: string, name: string): boolean {
  return statSync(join(path, name), { throwIfNoEntry: false })?.isFile() === true;
}

function checkDirectory(directory: string): string {
  using images = ImageDirectory.open(directory);
  return images.path;
}

function keptPagemaps(path: string): string[] {
  return namesOf(path).filter((name) => name.startsWith(`${KEPT_PREFIX}pagemap-`));
}

function checkForCriu(path: string): void {
  if (!namesOf(path).includes(PARENT_LINK)) return;
  throw new FaultlineError("UNSUPPORTED", "an incremental dump cannot be packed for CRIU", {
    file: join(path, PARENT_LINK),
    advice: "its lazy pages would be taken from the parent image; pack it without --for-criu",
  });
}

/**
 * A crash after the packed file got its name and before the raw one went, or the same of unpack: both are whole. So the raw
 * one goes now; or the packed one, where CRIU is to find its eager pages. What that finished; undefined for nothing.
 */
function finishPacking(path: string, change: DirectoryChange, forCriu: boolean): PackSummary | undefined {
  let [files, rawBytes, packedBytes] = [0, 0, 0];
  for (const { packedName, rawName } of pageSets(path)) {
    if (!hasFile(path, packedName) || !hasFile(path, rawName)) continue;
    PackedPagesReader.open(join(path, packedName)).close();
    files += 1;
    rawBytes += statSync(join(path, rawName)).size;
    packedBytes += statSync(join(path, packedName)).size;
    change.remove(forCriu ? packedName : rawName);
  }
  change.sync();
  return files === 0 ? undefined : { directory: path, files, rawBytes, packedBytes, eagerBytes: 0 };
}

/** Removes the empty parent image and the link to it, each if it is there: a crash may have left one of them. */
function removeEmptyParent(path: string, change: DirectoryChange): void {
  const link = join(path, PARENT_LINK);
  if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() && readlinkSync(link) === EMPTY_PARENT) {
    change.remove(PARENT_LINK);
  }
  change.remove(EMPTY_PARENT);
}

function pageSets(path: string): PageSet[] {
  const byId = new Map<number, { name: string; pagemap: Pagemap }[]>();
  for (const name of namesOf(path)) {
    if (!/^pagemap-(shmem-)?-?\d+\.img$/.test(name)) continue;
    const file = join(path, name);
    const pagemap = decodePagemap(readImageFile(file), file);
    byId.set(pagemap.pagesId, [...(byId.get(pagemap.pagesId) ?? []), { name, pagemap }]);
  }
  return [...byId].map(([pagesId, pagemaps]) => ({
    pagesId,
    rawName: `pages-${pagesId}.img`,
    packedName: `pagez-${pagesId}.img`,
    pagemaps,
  }));
}

/** Where runs of a page file begin and end, in pages: the present entries of all its pagemaps, and what none mentions. */
function runBorders(set: PageSet, filePages: number): number[] {
  const borders = new Set<number>([0, filePages]);
  for (const { pagemap } of set.pagemaps) {
    for (let run = 0; run < pagemap.runCount; run++) {
      if ((pagemap.flags[run]! & PageFlag.Present) === 0) continue;
      borders.add(pagemap.filePages[run]!);
      borders.add(pagemap.filePages[run]! + pagemap.counts[run]!);
    }
  }
  return [...borders].filter((page) => page <= filePages).sort((a, b) => a - b);
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw new FaultlineError("ABORTED", "stopped; the directory is as it was", { cause: signal.reason });
  }
}

/** Pages handed to the writer between looks at the progress and the signal: 32 MiB. */
const STEP_PAGES = 8192;

class Packing {
  private doneBytes = 0;
  private rawBytes = 0;
  private packedBytes = 0;
  private eagerBytes = 0;
  private readonly totalBytes: number;

  constructor(
    private readonly path: string,
    private readonly sets: readonly PageSet[],
    private readonly change: DirectoryChange,
    private readonly options: PackOptions,
  ) {
    this.totalBytes = sets.reduce((sum, set) => sum + statSync(join(path, set.rawName)).size, 0);
  }

  async run(): Promise<PackSummary> {
    const { sets, change } = this;
    const chosen =
      this.options.forCriu === true
        ? sets.filter((set) => set.pagemaps.some((one) => hasLazyPages(one.pagemap)))
        : sets;
    const like = new Map<string, Stats>();
    for (const set of chosen) {
      like.set(set.rawName, statSync(join(this.path, set.rawName)));
      await this.writePacked(set);
      if (this.options.forCriu === true) this.writeForCriu(set);
    }
    throwIfAborted(this.options.signal);
    for (const set of chosen) change.commit(set.packedName, like.get(set.rawName)!);
    change.sync();
    if (this.options.forCriu === true) this.switchToCriu(chosen, like);
    for (const set of chosen) change.remove(set.rawName);
    change.sync();
    const { path: directory, rawBytes, packedBytes, eagerBytes } = this;
    return { directory, files: chosen.length, rawBytes, packedBytes, eagerBytes };
  }

  private async writePacked(set: PageSet): Promise<void> {
    const file = join(this.path, set.rawName);
    const fd = openImageFile(file);
    const { level, pagesPerBlock } = this.options;
    const target = this.change.temporary(set.packedName);
    const writer = await PackedPagesWriter.create(target, { level, pagesPerBlock });
    try {
      const { size } = fstatSync(fd);
      this.checkLength(set, size);
      const borders = runBorders(set, Math.floor(size / PAGE_BYTES));
      const order =
        this.options.byWorkingSet === true ? this.storageOrder(set, borders, writer.pagesPerBlock) : undefined;
      if (order === undefined) await this.addRuns(writer, fd, borders);
      else await this.addOrdered(writer, fd, order);
      const tail = Buffer.alloc(size % PAGE_BYTES);
      readSync(fd, tail, 0, tail.length, size - tail.length);
      const summary = await writer.finish(tail, order);
      this.rawBytes += size;
      this.packedBytes += summary.fileBytes;
    } catch (error) {
      await writer.abort();
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  private checkLength(set: PageSet, size: number): void {
    const needed = Math.max(...set.pagemaps.map(({ pagemap }) => pagemap.presentPages)) * PAGE_BYTES;
    if (size >= needed) return;
    throw new FaultlineError("IMAGE_TRUNCATED", `a pages file of ${size} bytes where its pagemap has ${needed}`, {
      file: join(this.path, set.rawName),
      offset: size,
      advice: "`faultline verify` says what else is wrong",
    });
  }

  private async addRuns(writer: PackedPagesWriter, fd: number, borders: readonly number[]): Promise<void> {
    const step = Math.floor(STEP_PAGES / writer.pagesPerBlock) * writer.pagesPerBlock;
    for (let run = 0; run + 1 < borders.length; run++) {
      const end = borders[run + 1]!;
      for (let page = borders[run]!; page < end; page += step) {
        throwIfAborted(this.options.signal);
        const pages = Math.min(step, end - page);
        await writer.addFileRun(fd, page * PAGE_BYTES, pages);
        this.doneBytes += pages * PAGE_BYTES;
        this.options.onProgress?.(this.doneBytes, this.totalBytes);
      }
    }
  }

  /**
   * The working sets of the page file's tasks as blocks, most wanted first; undefined where there are none. They are blocks
   * of their own: a set is scattered over many pages, and what lies around each would be read with it.
   */
  private storageOrder(set: PageSet, borders: readonly number[], pagesPerBlock: number): BlockOrder | undefined {
    const wanted = set.pagemaps.flatMap(({ name, pagemap }) => {
      const pid = /^pagemap-(\d+)\.img$/.exec(name)?.[1];
      const ranges = pid === undefined ? [] : (this.workingSet(Number(pid))?.ranges ?? []);
      return ranges.flatMap(({ firstPage, pageCount }) => [...filePages(pagemap, firstPage, firstPage + pageCount)]);
    });
    if (wanted.length === 0) return undefined;
    const cuts = [...new Set([...borders, ...wanted.flat()])].sort((a, b) => a - b);
    const blocks = new BlockOrder(cuts, pagesPerBlock);
    for (const [from, to] of wanted) blocks.want(from, to);
    return blocks;
  }

  /** It is a hint: one that cannot be read changes only the order. */
  private workingSet(pid: number): WorkingSet | undefined {
    try {
      return readWorkingSet(this.path, pid);
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
      this.options.onWarning?.(`the working set is not used: ${error.line()}`);
      return undefined;
    }
  }

  private async addOrdered(writer: PackedPagesWriter, fd: number, order: BlockOrder): Promise<void> {
    for (const [from, to] of order.stretches()) {
      throwIfAborted(this.options.signal);
      await writer.addFileRun(fd, from * PAGE_BYTES, to - from);
      this.doneBytes += (to - from) * PAGE_BYTES;
      this.options.onProgress?.(this.doneBytes, this.totalBytes);
    }
  }

  /** The eager pages in a file of their own, the pagemap that points at it, and the pagemap as it was. */
  private writeForCriu(set: PageSet): void {
    const source = join(this.path, set.rawName);
    const eagerName = `pages-${set.pagesId + EAGER_PAGES_OFFSET}.img`;
    if (set.pagemaps.length !== 1) {
      throw new FaultlineError("UNSUPPORTED", "several pagemaps share the pages file", {
        file: source,
        advice: "pack it without --for-criu",
      });
    }
    const { name, pagemap } = set.pagemaps[0]!;
    this.eagerBytes += copyEagerPages(source, this.change.temporary(eagerName), pagemap);
    const file = join(this.path, name);
    const bytes = readImageFile(file);
    this.change.write(KEPT_PREFIX + name, bytes);
    this.change.write(name, criuPagemap(decodeImageOf("PAGEMAP", bytes, file)));
  }

  /**
   * Faultline reads the kept pagemap from when it is there; CRIU's switches with the rename of the pagemap, whose pages file
   * is in place by then and whose old pages file is still there.
   */
  private switchToCriu(sets: readonly PageSet[], like: ReadonlyMap<string, Stats>): void {
    this.makeEmptyParent(sets);
    for (const set of sets) {
      const { name } = set.pagemaps[0]!;
      const pagemapLike = statSync(join(this.path, name));
      this.change.commit(KEPT_PREFIX + name, pagemapLike);
      this.change.commit(`pages-${set.pagesId + EAGER_PAGES_OFFSET}.img`, like.get(set.rawName)!);
      this.change.sync();
      this.change.commit(name, pagemapLike);
    }
    this.change.sync();
  }

  private makeEmptyParent(sets: readonly PageSet[]): void {
    const folder = this.change.temporary(EMPTY_PARENT);
    mkdirSync(folder, { mode: 0o700 });
    copyFileSync(join(this.path, "inventory.img"), join(folder, "inventory.img"));
    for (const set of sets) writeFileSync(join(folder, set.pagemaps[0]!.name), emptyPagemap(), { flush: true });
    writeFileSync(join(folder, "pages-1.img"), "", { flush: true });
    syncPath(folder);
    this.change.commitOther(EMPTY_PARENT);
    symlinkSync(EMPTY_PARENT, this.change.temporary(PARENT_LINK));
    this.change.commitOther(PARENT_LINK);
    this.change.sync();
  }
}

function copyEagerPages(source: string, target: string, pagemap: Pagemap): number {
  const from = openImageFile(source);
  let to = -1;
  let offset = 0;
  try {
    to = openSync(target, "wx", 0o600);
    const buffer = Buffer.allocUnsafe(256 * PAGE_BYTES);
    for (let run = 0; run < pagemap.runCount; run++) {
      if (!isEager(pagemap.flags[run]!)) continue;
      const start = pagemap.filePages[run]! * PAGE_BYTES;
      const length = pagemap.counts[run]! * PAGE_BYTES;
      for (let done = 0; done < length; ) {
        const got = readSync(from, buffer, 0, Math.min(buffer.length, length - done), start + done);
        if (got === 0)
          throw new FaultlineError("IMAGE_TRUNCATED", "a page file shrank while it was packed", {
            file: source,
            offset: start + done,
          });
        for (let written = 0; written < got; )
          written += writeSync(to, buffer, written, got - written, offset + written);
        offset += got;
        done += got;
      }
    }
    fsyncSync(to);
    return offset;
  } catch (cause) {
    if (cause instanceof FaultlineError) throw cause;
    throw fileError(cause, "cannot write the eager pages", target);
  } finally {
    closeSync(from);
    if (to >= 0) closeSync(to);
  }
}

class Unpacking {
  private doneBytes = 0;
  private rawBytes = 0;
  private packedBytes = 0;

  constructor(
    private readonly path: string,
    private readonly names: readonly string[],
    private readonly change: DirectoryChange,
    private readonly options: UnpackOptions,
  ) {}

  async run(): Promise<PackSummary> {
    const { path, names, change } = this;
    const readers = names.map((name) => PackedPagesReader.open(join(path, name)));
    try {
      const totalBytes = readers.reduce((sum, reader) => sum + reader.pageCount * PAGE_BYTES, 0);
      for (const [index, name] of names.entries()) await this.writeRaw(name, readers[index]!, totalBytes);
    } finally {
      for (const reader of readers) reader.close();
    }
    throwIfAborted(this.options.signal);
    for (const name of names) change.commit(rawNameOf(name), statSync(join(path, name)));
    change.sync();
    this.switchFromCriu();
    for (const name of names) change.remove(name);
    change.sync();
    const { rawBytes, packedBytes } = this;
    return { directory: path, files: names.length, rawBytes, packedBytes, eagerBytes: 0 };
  }

  private async writeRaw(name: string, reader: PackedPagesReader, totalBytes: number): Promise<void> {
    const target = this.change.temporary(rawNameOf(name));
    let fd = -1;
    try {
      fd = openSync(target, "wx", 0o600);
      await unpackTo(reader, fd, target, (bytes) => {
        this.doneBytes += bytes;
        this.options.onProgress?.(this.doneBytes, totalBytes);
        throwIfAborted(this.options.signal);
      });
    } catch (cause) {
      if (cause instanceof FaultlineError) throw cause;
      throw fileError(cause, "cannot write the page file", target);
    } finally {
      if (fd >= 0) closeSync(fd);
    }
    this.rawBytes += reader.pageCount * PAGE_BYTES + reader.index.tail.length;
    this.packedBytes += statSync(reader.file).size;
  }

  /** CRIU's pagemap is replaced by the one that was kept, whose pages file is in place by then. */
  private switchFromCriu(): void {
    for (const kept of keptPagemaps(this.path)) {
      const file = join(this.path, kept);
      const { pagesId } = decodePagemap(readImageFile(file), file);
      const name = kept.slice(KEPT_PREFIX.length);
      copyFileSync(file, this.change.temporary(name));
      this.change.commit(name, statSync(file));
      this.change.sync();
      // What was kept goes last: it is what tells a second run of the eager pages.
      const eager = `pages-${pagesId + EAGER_PAGES_OFFSET}.img`;
      if (hasFile(this.path, eager)) this.change.remove(eager);
      this.change.remove(kept);
    }
    removeEmptyParent(this.path, this.change);
  }
}

function rawNameOf(packedName: string): string {
  return packedName.replace("pagez-", "pages-");
}

/** Blocks decoded by one call: about 2 MiB of pages, two calls at a time to keep both cores busy. */
const UNPACK_BLOCKS = 32;

async function unpackTo(
  reader: PackedPagesReader,
  fd: number,
  target: string,
  onPages: (bytes: number) => void,
): Promise<void> {
  const { offsets, firstPages, checksums, blockCount, pageCount, tail, pagesPerBlock, places } = reader.index;
  ftruncateSync(fd, pageCount * PAGE_BYTES + tail.length);
  let next = 0;
  const lane = async (): Promise<void> => {
    const out = Buffer.allocUnsafeSlow(UNPACK_BLOCKS * pagesPerBlock * PAGE_BYTES);
    const stored = Buffer.allocUnsafeSlow(out.length);
    while (next < blockCount) {
      const first = next;
      const end = stretchEnd(places, first, Math.min(first + UNPACK_BLOCKS, blockCount));
      next = end;
      const place = places === undefined ? first : places[first]!;
      const count = end - first;
      const starts = offsets.subarray(place, place + count + 1);
      const pages = firstPages.subarray(first, end + 1);
      const sums = checksums.subarray(place, place + count);
      const done = await native.unpackBlocks(reader.fd, starts, pages, sums, 0, count, stored, out, fd);
      if (done < 0) throw unpackError(-done, reader, target, first, end);
      onPages((firstPages[end]! - firstPages[first]!) * PAGE_BYTES);
    }
  };
  const lanes = await Promise.allSettled([lane(), lane()]);
  for (const outcome of lanes) if (outcome.status === "rejected") throw outcome.reason;
  if (tail.length > 0) writeSync(fd, tail, 0, tail.length, pageCount * PAGE_BYTES);
  fsyncSync(fd);
}

/** Where the blocks from `first` on, at most to `end`, stop being stored one behind the other. */
function stretchEnd(places: Uint32Array | undefined, first: number, end: number): number {
  let block = first + 1;
  if (places === undefined) return end;
  while (block < end && places[block] === places[block - 1]! + 1) block++;
  return block;
}

const ENODATA = 61;
const EBADMSG = 74;
const EILSEQ = 84;
const ENOSPC = 28;

/** Finds which block it was, for the message. */
function unpackError(
  errno: number,
  reader: PackedPagesReader,
  target: string,
  first: number,
  end: number,
): FaultlineError {
  const { file } = reader;
  if (![ENODATA, EBADMSG, EILSEQ].includes(errno)) {
    return new FaultlineError("SYSTEM", "the page file cannot be written", {
      file: target,
      errno,
      advice: errno === ENOSPC ? "make room on that file system and run it again" : undefined,
    });
  }
  for (let block = first; block < end; block++) {
    const { pageCount } = reader.block(block);
    try {
      reader.readPages(reader.firstPage(block), pageCount, Buffer.allocUnsafe(pageCount * PAGE_BYTES));
    } catch (error) {
      if (error instanceof FaultlineError) return error;
      throw error;
    }
  }
  return new FaultlineError("IMAGE_CORRUPT", "a block does not decode", { file, offset: reader.block(first).offset });
}
