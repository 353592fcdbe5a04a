// dump(): freezes a process tree into an image directory. The order of things is here; what each thing is, elsewhere.
//
// All or nothing: until the images are complete under their final name the tree is only ever stopped, and on any failure
// it runs on. See docs/dump.md for what happens when this process itself is killed.
import { FaultlineError } from "../../errors";
import { BackgroundHold } from "../../optimizer";
import { signals } from "../constants";
import { parseFields, readProc } from "../proc";
import { type Collected, collect } from "./collect";
import { FrozenTree, treeOf } from "./freeze";
import { folderError, ImageFolder } from "./imageFolder";
import type { ImageSet } from "./imageSet";
import { findObstacles, type ObstacleOptions, throwObstacles } from "./obstacles";
import { type Compression, type PageImageSummary, writePageImages } from "./pageImages";
import { PageStore } from "./pageStore";
import { Rehearsal } from "./rehearsal";

export const ghostLimitBytesDefault = 1024 * 1024;
export const freezeTimeoutMsDefault = 10_000;
/** Room beyond what is resident now, for what the tree touches until it is frozen. */
const reserveFactor = 1.05;
const reserveSlackBytes = 4 * 1024 * 1024;

/** What becomes of the tree after a successful dump. */
export type AfterDump = "kill" | "run" | "stop";

export type DumpPhase = "check" | "prepare" | "freeze" | "collect" | "write" | "done";

export interface DumpOptions {
  /** The root of the tree. */
  readonly pid: number;
  /** Where the images go: a directory that does not exist or is empty. */
  readonly directory: string;
  /** Default "kill". */
  readonly after?: AfterDump;
  /** Default "lz4": packed page files. "lz4-hc": smaller ones that take longer. "none": raw ones, which CRIU reads. */
  readonly compress?: Compression;
  /** The tree belongs to a shell: its session leader and terminal are outside. */
  readonly shellJob?: boolean;
  /** TCP connections are restored closed. */
  readonly tcpClose?: boolean;
  readonly tcpEstablished?: boolean;
  readonly fileLocks?: boolean;
  /** A file that lost its name but has another (a hard link) gets one beside it, which the restore takes away. */
  readonly linkRemap?: boolean;
  /** Datagram unix sockets that are connected to a name outside of the tree are connected to that name again. */
  readonly externalUnix?: boolean;
  /** TCP connections that are not accepted yet are let go. */
  readonly skipWaiting?: boolean;
  /** Largest deleted file that is taken along, bytes. */
  readonly ghostLimitBytes?: number;
  /** How long a thread may take to stop, milliseconds. */
  readonly freezeTimeoutMs?: number;
  /** Aborting before the images are complete lets the tree run on. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: { readonly phase: DumpPhase; readonly elapsedMs: number }) => void;
}

export interface DumpResult {
  readonly directory: string;
  readonly pid: number;
  readonly taskCount: number;
  readonly threadCount: number;
  readonly pageCount: number;
  readonly lazyPageCount: number;
  readonly zeroPageCount: number;
  /** Bytes of the page files. */
  readonly pageFileBytes: number;
  /** From the first stop until every thread stood, microseconds. */
  readonly freezingUs: number;
  /** From the first stop until everything was read out of the tree, microseconds: the pause of a --leave-running dump. */
  readonly frozenUs: number;
  readonly writeUs: number;
  readonly totalUs: number;
  readonly warnings: readonly string[];
}

interface Timeline {
  readonly start: bigint;
  frozen: bigint;
  copied: bigint;
}

const now = (): bigint => process.hrtime.bigint();
const micros = (from: bigint, to: bigint): number => Number((to - from) / 1000n);

export async function dump(options: DumpOptions): Promise<DumpResult> {
  const started = now();
  const progress = (phase: DumpPhase): void => {
    options.onProgress?.({ phase, elapsedMs: micros(started, now()) / 1000 });
  };
  const check = (): void => {
    if (options.signal?.aborted) {
      throw new FaultlineError("ABORTED", "the dump was given up; the program runs on", { pid: options.pid });
    }
  };
  const wanted = obstacleOptions(options);
  check();
  progress("check");
  using background = new BackgroundHold();
  using rehearsal = new Rehearsal();
  throwObstacles(findObstacles(options.pid, wanted));
  progress("prepare");
  const folder = new ImageFolder(options.directory);
  try {
    using store = new PageStore();
    store.reserve(residentBytes(options.pid) * reserveFactor + reserveSlackBytes);
    rehearsal.run(wanted);
    store.ready();
    await new Promise((resume) => setImmediate(resume)); // lets an abort be heard before the freeze
    check();
    progress("freeze");
    const time: Timeline = { start: now(), frozen: 0n, copied: 0n };
    using tree = FrozenTree.freeze(options.pid, options.freezeTimeoutMs ?? freezeTimeoutMsDefault);
    time.frozen = now();
    const collected = collect(tree, store, wanted);
    using connections = collected.connections;
    using links = collected.links;
    const after = options.after ?? "kill";
    if (after === "run") takeConnections(collected, after);
    time.copied = now();
    if (after === "run") tree.release();
    background[Symbol.dispose]();
    progress("write");
    const [pages] = await bothDone(
      writePages(folder, collected, options.compress ?? "lz4", check),
      writeImages(folder, collected.images, check), // this thread has little to do with the pages
    );
    if (after !== "run") takeConnections(collected, after);
    addStatistics(collected, pages, time);
    await writeImages(folder, collected.images, check);
    check();
    await folder.commit();
    links.keep();
    if (after === "kill") {
      tree.kill();
      connections.forget();
    }
    if (after === "stop") stopTree(tree);
    progress("done");
    return summary(options, tree, collected, pages, time, started);
  } finally {
    folder.abandon();
  }
}

function obstacleOptions(options: DumpOptions): ObstacleOptions {
  return {
    shellJob: options.shellJob ?? false,
    tcpEstablished: options.tcpEstablished ?? false,
    tcpClose: options.tcpClose ?? false,
    fileLocks: options.fileLocks ?? false,
    linkRemap: options.linkRemap ?? false,
    externalUnix: options.externalUnix ?? false,
    skipWaiting: options.skipWaiting ?? false,
    ghostLimitBytes: options.ghostLimitBytes ?? ghostLimitBytesDefault,
  };
}

/** About how many bytes are to be copied: files that are mapped lie on the disk. */
function residentBytes(root: number): number {
  return treeOf(root).reduce((sum, pid) => sum + ownBytes(pid), 0);
}

function ownBytes(pid: number): number {
  try {
    const status = parseFields(readProc(pid, "status"));
    const kib = ["RssAnon", "RssShmem", "VmSwap"].map((name) => Number.parseInt(status.get(name) ?? "0", 10));
    return kib.reduce((sum, each) => sum + each, 0) * 1024;
  } catch (error) {
    if (error instanceof FaultlineError && error.code === "NOT_FOUND") return 0; // ended meanwhile
    throw error;
  }
}

/**
 * Reads the TCP connections. A tree that ends keeps them held until it has: what a peer sends meanwhile is not
 * acknowledged, so that nothing is lost between this and the restored connection.
 */
function takeConnections({ connections, images }: Collected, after: AfterDump): void {
  connections.hold();
  connections.write(images);
  if (after === "run") connections[Symbol.dispose]();
}

async function writePages(
  folder: ImageFolder,
  collected: Collected,
  compression: Compression,
  check: () => void,
): Promise<PageImageSummary> {
  const total = { pageCount: 0, lazyPageCount: 0, zeroPageCount: 0, fileBytes: 0 };
  for (const [index, { name, runs }] of collected.pageSets.entries()) {
    const one = await writePageImages(folder.path, name, index + 1, runs, compression, check).catch((cause) => {
      throw folderError(cause, "the pages cannot be written", folder.target);
    });
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += one[key];
  }
  return total;
}

/** Both results, or the first error; not before both have ended. */
async function bothDone<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  return [await first, await second];
}

/** Writes the images that are complete; what is written on the pool meanwhile is fed between one and the next. */
async function writeImages(folder: ImageFolder, images: ImageSet, check: () => void): Promise<void> {
  for (const { name, bytes } of images.take()) {
    check();
    folder.write(name, bytes);
    await new Promise((resume) => setImmediate(resume));
  }
}

function addStatistics(collected: Collected, total: PageImageSummary, time: Timeline): void {
  collected.images.add("stats-dump", "STATS", {
    dump: {
      freezing_time: micros(time.start, time.frozen),
      frozen_time: micros(time.start, time.copied),
      memdump_time: micros(time.frozen, time.copied),
      memwrite_time: micros(time.copied, now()),
      pages_scanned: BigInt(collected.pagesScanned),
      pages_skipped_parent: 0n,
      pages_written: BigInt(total.pageCount),
      irmap_resolve: 0,
      pages_lazy: BigInt(total.lazyPageCount),
    },
  });
}

/** Leaves every process stopped as by SIGSTOP. */
function stopTree(tree: FrozenTree): void {
  for (const task of tree.tasks) {
    if (task.state === "alive") process.kill(task.pid, signals.SIGSTOP);
  }
  tree.release();
}

function summary(
  options: DumpOptions,
  tree: FrozenTree,
  collected: Collected,
  pages: PageImageSummary,
  time: Timeline,
  started: bigint,
): DumpResult {
  return {
    directory: options.directory,
    pid: options.pid,
    taskCount: tree.tasks.length,
    threadCount: tree.tasks.reduce((sum, task) => sum + task.threads.length, 0),
    pageCount: pages.pageCount,
    lazyPageCount: pages.lazyPageCount,
    zeroPageCount: pages.zeroPageCount,
    pageFileBytes: pages.fileBytes,
    freezingUs: micros(time.start, time.frozen),
    frozenUs: micros(time.start, time.copied),
    writeUs: micros(time.copied, now()),
    totalUs: micros(started, now()),
    warnings: collected.warnings,
  };
}
