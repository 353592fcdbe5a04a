// Gathers the whole state of a frozen tree into image records and copied pages. Runs from freeze to release without a
// pause; writes nothing.
import { FaultlineError } from "../../errors";
import type { Init } from "../../images/message";
import type { TaskKobjIdsEntry } from "../../images/messages";
import { listProc, parseMappings, readProc } from "../proc";
import { coreImages, zombieCore } from "./coreImage";
import { MemoryFiles } from "./descriptors/memoryFiles";
import type { TcpConnections } from "./descriptors/tcpConnections";
import { lockKind, parseFileLocks } from "./fileLocks";
import { FilesTables } from "./filesTable";
import type { FrozenTask, FrozenTree } from "./freeze";
import { ImageSet } from "./imageSet";
import { RemapLinks } from "./linkRemap";
import { copyAddressSpace, copySharedObject, type ImageRun, imageRuns } from "./memory";
import type { ObstacleOptions } from "./obstacles";
import { OpenFile } from "./openFile";
import type { PageStore } from "./pageStore";
import { heldFile, RegularFiles } from "./regularFiles";
import { SeccompFilters } from "./seccompImage";
import { Segments } from "./segments";
import { SharedIds, type TaskIds } from "./sharedIds";
import { type SharedObject, spaceImage } from "./spaceImage";
import { askState, TaskAgent, type TaskState } from "./taskState";
import { classifyMappings } from "./vmas";

/** Ids of the namespaces that the dump runs in, as CRIU numbers them; tasks of other namespaces are refused. */
const namespaceIds = {
  pid_ns_id: 1,
  net_ns_id: 2,
  ipc_ns_id: 3,
  uts_ns_id: 4,
  time_ns_id: 5,
  mnt_ns_id: 6,
  user_ns_id: 7,
  cgroup_ns_id: 8,
} as const;
const imageVersion = 2;

/** One pagemap image to be written. */
export interface PageSet {
  readonly name: string;
  readonly runs: readonly ImageRun[];
}

export interface Collected {
  readonly images: ImageSet;
  readonly pageSets: readonly PageSet[];
  readonly pagesScanned: number;
  /** What a restored tree will find different, for people. */
  readonly warnings: readonly string[];
  /** TCP connections, not yet read: the last thing before the tree goes on or ends. */
  readonly connections: TcpConnections;
  /** Names given to files, to be kept once the images are complete. */
  readonly links: RemapLinks;
}

interface Collector {
  readonly images: ImageSet;
  readonly store: PageStore;
  readonly regular: RegularFiles;
  readonly memory: MemoryFiles;
  readonly segments: Segments;
  readonly tables: FilesTables;
  readonly seccomp: SeccompFilters;
  readonly shared: Map<number, SharedObject>;
  readonly pageSets: PageSet[];
  readonly knownLocks: Set<string>;
  pagesScanned: number;
}

export function collect(tree: FrozenTree, store: PageStore, options: ObstacleOptions): Collected {
  const images = new ImageSet();
  const links = new RemapLinks();
  const regular = new RegularFiles(images, options.ghostLimitBytes, links);
  const memory = new MemoryFiles(
    images,
    tree.tasks.map(({ pid }) => pid),
  );
  const collector: Collector = {
    ...{ images, store, regular, memory },
    segments: new Segments(images, namespaceIds.ipc_ns_id),
    tables: new FilesTables(images, regular, memory, { ...options, frozenNs: tree.frozenNs }),
    seccomp: new SeccompFilters(),
    shared: new Map(),
    pageSets: [],
    knownLocks: new Set(),
    pagesScanned: 0,
  };
  try {
    gather(collector, tree, options);
  } catch (error) {
    collector.tables.connections[Symbol.dispose]();
    links[Symbol.dispose]();
    throw error;
  }
  const { tables } = collector;
  const { pageSets, pagesScanned } = collector;
  return {
    images,
    pageSets,
    pagesScanned,
    warnings: [...tables.warnings(), ...collector.segments.warnings()],
    connections: tables.connections,
    links,
  };
}

function gather(collector: Collector, tree: FrozenTree, options: ObstacleOptions): void {
  const { images } = collector;
  const ids = new SharedIds();
  addInventory(images);
  for (const task of tree.tasks) {
    addToTree(images, task, tree.root);
    if (task.state === "zombie") images.add(`core-${task.pid}.img`, "CORE", zombieCore(task));
    else addTask(collector, task, tree.frozenNs, ids.of(task.pid), options);
  }
  collector.tables.unix.addExternals();
  addSharedObjects(collector);
  collector.store.settle();
  collector.seccomp.write(images);
  addClocks(images);
}

function addInventory(images: ImageSet): void {
  images.add("inventory.img", "INVENTORY", {
    img_version: imageVersion,
    fdinfo_per_id: true,
    root_ids: { vm_id: 1, files_id: 1, fs_id: 1, sighand_id: 1, ...namespaceIds },
    ns_per_id: true,
    root_cg_set: 1,
    lsmtype: 0,
    network_lock_method: 0,
    plugins_entry: {},
  });
}

function addToTree(images: ImageSet, task: FrozenTask, root: number): void {
  images.add("pstree.img", "PSTREE", {
    pid: task.pid,
    ppid: task.pid === root ? 0 : task.stat.ppid,
    pgid: task.stat.pgrp,
    sid: task.stat.session,
    threads: task.state === "zombie" ? [task.pid] : task.threads.map((thread) => thread.tid),
  });
}

/** Asks the task itself, and puts it back as it was whatever happens. */
function askTask(task: FrozenTask, frozenNs: bigint): TaskState {
  const agent = new TaskAgent(task);
  try {
    agent.open();
    return askState(agent, frozenNs);
  } finally {
    agent.close();
  }
}

function addTask(
  collector: Collector,
  task: FrozenTask,
  frozenNs: bigint,
  ids: TaskIds,
  options: ObstacleOptions,
): void {
  const { images, regular } = collector;
  const { pid } = task;
  // What is asked runs inside the task, whose memory may be that of the one before (CLONE_VM).
  collector.store.settle();
  const state = askTask(task, frozenNs);
  if (ids.first.vm) {
    const copy = copyAddressSpace(pid, collector.store);
    const vmas = classifyMappings(parseMappings(readProc(pid, "smaps")));
    collector.pagesScanned += copy.pagesScanned;
    collector.pageSets.push({ name: `pagemap-${pid}.img`, runs: imageRuns(copy.runs, vmas) });
    const { memory, segments, shared, tables } = collector;
    const files = { regular, memory, segments, shared, tables };
    images.add(`mm-${pid}.img`, "MM", spaceImage(task, state, vmas, copy.guards, files));
  }
  for (const { tid, core } of coreImages(task, state, (tracee) => collector.seccomp.of(tracee))) {
    images.add(`core-${tid}.img`, "CORE", core);
  }
  images.add(`ids-${pid}.img`, "IDS", kernelIds(ids));
  if (ids.first.files) {
    collector.tables.addTable(pid, ids.files);
    if (options.fileLocks) addLocks(collector, pid);
  }
  const folder = (name: string): number => regular.add(heldFile(pid, name), { flags: 0, position: 0n });
  images.add(`fs-${pid}.img`, "FS", { cwd_id: folder("cwd"), root_id: folder("root"), umask: state.umask });
}

function kernelIds(ids: TaskIds): Init<TaskKobjIdsEntry> {
  return { vm_id: ids.vm, files_id: ids.files, fs_id: ids.fs, sighand_id: ids.sighand, ...namespaceIds };
}

function addLocks(collector: Collector, pid: number): void {
  const { images, knownLocks: known, tables } = collector;
  for (const fd of listProc(pid, "fd").map(Number)) {
    const file = new OpenFile(pid, fd);
    for (const lock of parseFileLocks(file.info, pid, fd)) {
      // A POSIX lock is the process's and shows at each descriptor of the file; the others are the open file's.
      const owner = lock.flag === lockKind.posix ? `${pid}:${file.stat.dev}:${file.stat.ino}` : tables.idOf(file);
      const key = `${owner}:${lock.flag}:${lock.type}:${lock.start}:${lock.len}`;
      if (known.has(key)) continue;
      known.add(key);
      images.add("filelocks.img", "FILE_LOCKS", lock);
    }
  }
}

function addSharedObjects(collector: Collector): void {
  const { shared, memory, segments } = collector;
  const used = new Set<number>();
  for (const [shmid, { path, pid }] of [...shared, ...memory.contents, ...segments.contents]) {
    // Inodes' numbers and segments' ids are not of one kind, but name the same images.
    if (used.has(shmid))
      throw new FaultlineError("UNSUPPORTED", `two shared memory objects have number ${shmid}`, { pid });
    used.add(shmid);
    const runs = copySharedObject(path, pid, collector.store);
    collector.pagesScanned += runs.reduce((sum, run) => sum + run.pageCount, 0);
    collector.pageSets.push({ name: `pagemap-shmem-${shmid}.img`, runs });
  }
}

function addClocks(images: ImageSet): void {
  const now = process.hrtime.bigint();
  const time = { tv_sec: now / 1_000_000_000n, tv_nsec: now % 1_000_000_000n };
  images.add("timens-0.img", "TIMENS", { monotonic: time, boottime: time });
}
