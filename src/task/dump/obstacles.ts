// What stands in the way of a dump, found before anything is touched: every obstacle with pid, descriptor and reason.
// Reads /proc and duplicates descriptors; stops nothing.
import { closeSync, existsSync, openSync, readlinkSync, readSync, statSync } from "node:fs";
import { FaultlineError } from "../../errors";
import { native } from "../../native";
import { bridgeRoom, noRoom } from "../bridge";
import { kcmpType } from "../constants";
import { listProc, type Mapping, parseFields, parseMappings, pathText, readProc, readStat, threadsOf } from "../proc";
import { buildId } from "./buildId";
import { fanotifyObstacle } from "./descriptors/fanotify";
import { inetFacts, isUdp, rawType, tcpState, unreadBytes } from "./descriptors/inetSocket";
import { netlinkObstacle } from "./descriptors/netlinkSocket";
import { connectedStates } from "./descriptors/tcpConnections";
import { isConsole, isHungUp } from "./descriptors/terminals";
import { hasSent, isReachable, unixSockets } from "./descriptors/unixSockets";
import { hasBreakingLease } from "./fileLocks";
import { socketDescriptor, typeOf } from "./filesTable";
import { hasOtherThreads, isForking, pause, treeOf } from "./freeze";
import { modeType, OpenFile } from "./openFile";
import { allocatedBytes, deadProcess, hasOtherName, heldFile, pathState } from "./regularFiles";
import { isDeleted, mappingObstacle } from "./vmas";

export interface Obstacle {
  readonly pid: number;
  /** The descriptor that it is about. */
  readonly fd?: number | undefined;
  readonly reason: string;
}

export interface ObstacleOptions {
  readonly shellJob: boolean;
  readonly tcpEstablished: boolean;
  readonly tcpClose: boolean;
  readonly fileLocks: boolean;
  /** A file that lost its name but has another gets one for the restore. */
  readonly linkRemap: boolean;
  readonly externalUnix: boolean;
  readonly skipWaiting: boolean;
  readonly ghostLimitBytes: number;
}

const namespaces = [
  "cgroup",
  "ipc",
  "mnt",
  "net",
  "pid",
  "pid_for_children",
  "time",
  "time_for_children",
  "user",
  "uts",
] as const;
const streamType = 1;

/** A terminal that is no pair's master. */
interface HeldTerminal {
  readonly pid: number;
  readonly fd: number;
  /** Its number, of a pseudo-terminal. */
  readonly index: number | undefined;
}

/** What is seen of the descriptors of all tasks, and judged when all have been looked at. */
interface Survey {
  readonly pids: readonly number[];
  /** Numbers of the pseudo-terminals whose master is there. */
  readonly masters: Set<number>;
  readonly terminals: HeldTerminal[];
  readonly unix: Map<number, { pid: number; fd: number }>;
}

/** A line for people: "pid 12 fd 3: reason". */
export function obstacleText({ pid, fd, reason }: Obstacle): string {
  return `pid ${pid}${fd === undefined ? "" : ` fd ${fd}`}: ${reason}`;
}

/** Throws UNSUPPORTED with every obstacle in one message. */
export function throwObstacles(found: readonly Obstacle[]): void {
  if (found.length === 0) return;
  const text = found.map(obstacleText).join("; ");
  throw new FaultlineError("UNSUPPORTED", `cannot dump: ${text}`, { advice: "nothing was touched" });
}

/** Every obstacle in the tree below `root`. Throws NOT_FOUND where there is no such process. */
export function findObstacles(root: number, options: ObstacleOptions): Obstacle[] {
  if ((readStat(root).flags & kernelThread) !== 0) return [{ pid: root, reason: "a thread of the kernel" }];
  const pids = treeOf(root);
  const found: Obstacle[] = [];
  if (pids.includes(process.pid)) {
    found.push({ pid: process.pid, reason: "Faultline itself is in the tree; run it from outside" });
    return found;
  }
  found.push(...strangeSharing(pids), ...lastingVforks(root));
  const survey: Survey = { pids, masters: new Set(), terminals: [], unix: new Map() };
  for (const pid of pids) {
    found.push(
      ...whileItLasts(pid, pid === root, () => {
        const stat = readStat(pid);
        const ofSession = sessionObstacles(stat, pids, options);
        if (stat.state === "Z") return [...ofSession, ...leaderlessObstacles(pid)];
        return [
          ...ofSession,
          ...taskObstacles(pid),
          ...memoryObstacles(pid, options),
          ...descriptorObstacles(pid, options, survey),
        ];
      }),
    );
  }
  for (const { pid, fd, index } of survey.terminals) {
    const isPair = index !== undefined && survey.masters.has(index);
    if (!isPair && !options.shellJob) found.push({ pid, fd, reason: "a terminal of outside; use --shell-job" });
  }
  return [...found, ...unixObstacles(survey.unix, options)];
}

const triesMax = 100;
const triesPauseMs = 2;

/**
 * What `look` finds at a process that goes on meanwhile: things vanish when it ends (then nothing is found, or what there is to
 * find at a zombie) or starts another program (then it looks again). Of a process that has just ended, /proc answers almost
 * any error, EACCES too.
 */
function whileItLasts<T>(pid: number, isRoot: boolean, look: () => T[]): T[] {
  for (let tries = 1; ; tries++) {
    try {
      return look();
    } catch (error) {
      const state = stateOf(pid);
      if (state === "gone" && !isRoot) return [];
      if (tries === triesMax || (!isGone(error) && state === "lives")) throw error;
      pause(triesPauseMs);
    }
  }
}

function stateOf(pid: number): "lives" | "zombie" | "gone" {
  try {
    const { state } = readStat(pid);
    return state === "X" ? "gone" : state === "Z" ? "zombie" : "lives";
  } catch (error) {
    if (isGone(error)) return "gone";
    throw error;
  }
}

/** A process whose first thread called pthread_exit(3): it looks like a zombie. */
function leaderlessObstacles(pid: number): Obstacle[] {
  for (let tries = 1; tries < triesMax; tries++) {
    if (!hasOtherThreads(pid)) return [];
    pause(triesPauseMs); // it may be just ending as a whole
  }
  return [{ pid, reason: "its first thread has ended, and others go on" }];
}

/** What tasks can share without being threads (clone(2)), and how an obstacle names it. */
const shareable = { memory: kcmpType.vm, descriptors: kcmpType.files, directories: kcmpType.fs } as const;

/**
 * Tasks that share something with another that is not their parent: a restore can only hand it on from parent to child.
 * What has ended has nothing, which is equal.
 */
function strangeSharing(tree: readonly number[]): Obstacle[] {
  const pids = tree.filter(hasMemory);
  return Object.entries(shareable).flatMap(([what, type]) => {
    const same = (one: number, other: number): boolean => native.kcmp(one, other, type, 0, 0) === 0;
    return pids.flatMap((pid, index) => {
      const other = pids.slice(0, index).find((before) => same(before, pid));
      if (other === undefined || whileItLasts(pid, false, () => (same(readStat(pid).ppid, pid) ? [1] : [])).length > 0)
        return [];
      // By now it may have started a program, as a vfork child does, or ended: looked at again.
      if (!same(other, pid) || !hasMemory(pid)) return [];
      return [{ pid, reason: `it shares its ${what} with pid ${other}, which is not its parent (clone(2))` }];
    });
  });
}

/** A task stands in vfork until its child has started a program, which is a moment for most. */
function lastingVforks(root: number): Obstacle[] {
  let lasting = treeOf(root).filter(isForking);
  for (let tries = 1; lasting.length > 0 && tries < triesMax; tries++) {
    pause(triesPauseMs);
    lasting = lasting.filter(isForking);
  }
  return lasting.map((pid) => ({ pid, reason: "it waits for its vfork child, and cannot be stopped until then" }));
}

/** Unix sockets whose other end is not in the tree. */
function unixObstacles(held: ReadonlyMap<number, { pid: number; fd: number }>, options: ObstacleOptions): Obstacle[] {
  if (held.size === 0) return [];
  const all = unixSockets();
  return [...held].flatMap(([inode, { pid, fd }]) => {
    const facts = all.get(inode);
    if (facts === undefined) return [{ pid, fd, reason: "a unix socket of another network namespace" }];
    const stranger = facts.waiting.find((waiting) => waiting !== 0 && !held.has(waiting));
    if (stranger !== undefined) {
      return [{ pid, fd, reason: `a unix connection from outside of the tree (inode ${stranger}), not accepted yet` }];
    }
    // What it has sent lies where only accept(2) leads.
    if (all.get(facts.peer)?.waiting.includes(inode) === true && sendsAlready(pid, fd)) {
      return [{ pid, fd, reason: "a unix connection that is not accepted yet, and has sent something" }];
    }
    if (facts.peer === 0 || held.has(facts.peer)) return [];
    const isNamed = isReachable(all.get(facts.peer));
    if (isNamed && options.externalUnix) return [];
    if (isNamed)
      return [{ pid, fd, reason: "a unix socket connected to a name outside of the tree; use --ext-unix-sk" }];
    return [{ pid, fd, reason: `a unix socket connected to one outside of the tree (inode ${facts.peer})` }];
  });
}

function sendsAlready(pid: number, fd: number): boolean {
  try {
    return new OpenFile(pid, fd).withCopy(hasSent);
  } catch (error) {
    if (isGone(error)) return false; // closed meanwhile
    throw error;
  }
}

function hasMemory(pid: number): boolean {
  try {
    return !readProc(pid, "statm").startsWith("0 ");
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

function sessionObstacles(
  stat: ReturnType<typeof readStat>,
  pids: readonly number[],
  options: ObstacleOptions,
): Obstacle[] {
  if (options.shellJob || pids.includes(stat.session) || stat.pid !== pids[0]) return [];
  return [{ pid: stat.pid, reason: `its session leader ${stat.session} is outside of the tree; use --shell-job` }];
}

/** PF_KTHREAD (include/linux/sched.h), in the flags of /proc/PID/stat. Such a task has no program and no memory. */
const kernelThread = 0x00200000;

function taskObstacles(pid: number): Obstacle[] {
  if ((readStat(pid).flags & kernelThread) !== 0) return [{ pid, reason: "a thread of the kernel" }];
  const found: Obstacle[] = [];
  const add = (reason: string): void => {
    found.push({ pid, reason });
  };
  for (const tid of threadsOf(pid)) {
    const status = parseFields(readProc(pid, `task/${tid}/status`));
    const tracer = status.get("TracerPid");
    if (tracer !== undefined && tracer !== "0") add(`thread ${tid} is traced by ${tracer}`);
  }
  for (const name of namespaces) {
    if (namespaceOf(pid, name) !== namespaceOf("self", name)) add(`another ${name} namespace`);
  }
  if (isCompat(pid)) add("a 32-bit program");
  else if (lacksRoom(pid)) add(noRoom);
  return found;
}

/** Whether the task has no room for a dump's instructions; it may just be starting a program, or ending. */
function lacksRoom(pid: number): boolean {
  for (let tries = 1; tries < triesMax; tries++) {
    if (!hasMemory(pid) || bridgeRoom(pid) !== undefined) return false;
    pause(triesPauseMs);
  }
  return true;
}

function namespaceOf(pid: number | "self", name: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/${name}`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return ""; // the kernel has no such namespaces, or the task is just ending
    throw new FaultlineError("PERMISSION", "the task's namespaces cannot be read", {
      pid: pid === "self" ? process.pid : pid,
      advice: "run as root, or with CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE",
      cause: error,
    });
  }
}

function isCompat(pid: number): boolean {
  const fd = openProgram(pid);
  try {
    const header = Buffer.alloc(5);
    readSync(fd, header, 0, 5, 0);
    return header[4] === 1; // ELFCLASS32
  } finally {
    closeSync(fd);
  }
}

function openProgram(pid: number): number {
  const file = `/proc/${pid}/exe`;
  try {
    return openSync(file, "r");
  } catch (cause) {
    const gone = (cause as NodeJS.ErrnoException).code === "ENOENT"; // it is ending: it has no memory any more
    throw new FaultlineError(gone ? "NOT_FOUND" : "SYSTEM", "the task's program cannot be read", { pid, file, cause });
  }
}

function rangeOf({ start, end }: Mapping): string {
  return `${start.toString(16)}-${end.toString(16)}`;
}

/** Of a file with a path, not of memory without one: that has no path either, and is called deleted too. */
function isLostName(mapping: Mapping): boolean {
  return isDeleted(mapping) && mapping.inode !== 0 && !/^\/(memfd:|anon_hugepage|SYSV|dev\/zero)/.test(mapping.path);
}

function mappedHasOtherName(pid: number, mapping: Mapping): boolean {
  const stat = statSync(`/proc/${pid}/map_files/${rangeOf(mapping)}`, { bigint: true, throwIfNoEntry: false });
  return stat !== undefined && hasOtherName(stat);
}

/** Also reads the build id, which is remembered for the time when the tree is frozen. */
function wasReplaced(pid: number, name: string): boolean {
  try {
    const held = heldFile(pid, name);
    if ((Number(held.stat.mode) & modeType.mask) === modeType.regular) buildId(held.procPath, held.stat);
    return pathState(held) === "replaced";
  } catch (error) {
    if (isGone(error) || (error as NodeJS.ErrnoException).code === "ENOENT") return false; // unmapped meanwhile
    throw error;
  }
}

function memoryObstacles(pid: number, options: ObstacleOptions): Obstacle[] {
  const reasons = new Set<string>();
  for (const mapping of parseMappings(readProc(pid, "smaps"))) {
    const reason = mappingObstacle(mapping);
    const path = pathText(mapping.path);
    if (reason !== undefined) reasons.add(reason);
    else if (path.startsWith("socket:[") && socketDescriptor(pid, mapping.inode) === undefined) {
      reasons.add(`the ring of a packet socket that is closed, ${path}`);
    } else if (isLostName(mapping)) {
      if (!options.linkRemap && mappedHasOtherName(pid, mapping)) {
        reasons.add(`a mapping of ${path}, which still has another name; use --link-remap`);
      }
    } else if (path.startsWith("/") && !isDeleted(mapping) && mapping.inode !== 0) {
      if (wasReplaced(pid, `map_files/${rangeOf(mapping)}`)) reasons.add(`${path} was replaced since it was mapped`);
    }
  }
  return [...reasons].map((reason) => ({ pid, reason }));
}

function descriptorObstacles(pid: number, options: ObstacleOptions, survey: Survey): Obstacle[] {
  const found: Obstacle[] = [];
  for (const name of listProc(pid, "fd")) {
    const fd = Number(name);
    try {
      const file = new OpenFile(pid, fd);
      const type = typeOf(file);
      const reason = type === undefined ? `no support for ${file.link}` : descriptorObstacle(file, type, options);
      if (reason !== undefined) found.push({ pid, fd, reason });
      if (type === "UNIXSK") survey.unix.set(file.inode, { pid, fd });
      if (type === "PIDFD" && isOfStranger(file, survey.pids)) {
        found.push({ pid, fd, reason: `a descriptor of process ${file.fields.get("Pid")}, which is not in the tree` });
      }
      if (type === "TTY") noteTerminal(file, survey);
      if (hasBreakingLease(file.info)) found.push({ pid, fd, reason: "a lease that is just being broken" });
      if (/^lock:/m.test(file.info) && !options.fileLocks)
        found.push({ pid, fd, reason: "a file lock; use --file-locks" });
    } catch (error) {
      if (!isGone(error)) throw error; // closed meanwhile: the program runs
    }
  }
  return found;
}

const badDescriptor = 9; // EBADF

function isGone(error: unknown): boolean {
  return error instanceof FaultlineError && (error.code === "NOT_FOUND" || error.details.errno === badDescriptor);
}

/** A pidfd of a process outside of the tree; those that have ended, and belong to nobody, come along. */
function isOfStranger(file: OpenFile, tree: readonly number[]): boolean {
  const pid = Number(file.fields.get("Pid") ?? "-1");
  return pid > 0 && !tree.some((known) => known === pid || existsSync(`/proc/${known}/task/${pid}`));
}

function noteTerminal(file: OpenFile, { masters, terminals }: Survey): void {
  const master = file.fields.get("tty-index");
  if (master !== undefined) {
    masters.add(Number(master));
    return;
  }
  if (isHungUp(file) || (isConsole(file) && readStat(file.pid).tty !== Number(file.stat.rdev))) return;
  const slave = /^\/dev\/pts\/(\d+)/.exec(file.link);
  terminals.push({ pid: file.pid, fd: file.fd, index: slave === null ? undefined : Number(slave[1]) });
}

function descriptorObstacle(file: OpenFile, type: string, options: ObstacleOptions): string | undefined {
  if (type === "INETSK") return file.withCopy((fd) => inetObstacle(fd, options));
  if (type === "FANOTIFY") return fanotifyObstacle(file.info);
  if (type === "NETLINKSK") return file.withCopy(netlinkObstacle);
  if (type !== "REG" && type !== "FIFO") return undefined;
  const held = heldFile(file.pid, `fd/${file.fd}`);
  const state = pathState(held);
  if (state === "deleted" && deadProcess(held) !== undefined) return undefined;
  if (state === "replaced") return `${file.link} leads to another file now`;
  const isRegular = file.type === modeType.regular;
  if (state === "deleted" && hasOtherName(file.stat)) {
    return options.linkRemap ? undefined : `${file.link}, which still has another name; use --link-remap`;
  }
  if (state === "deleted" && isRegular && allocatedBytes(file.stat) > options.ghostLimitBytes) {
    return `a deleted file of ${allocatedBytes(file.stat)} bytes; raise --ghost-limit`;
  }
  return undefined;
}

function inetObstacle(fd: number, options: ObstacleOptions): string | undefined {
  const facts = inetFacts(fd);
  if (facts.type === rawType) return undefined; // what nobody has read of a network's packets is lost, as packets are
  if (isUdp(facts)) return undefined;
  if (facts.type !== streamType)
    return unreadBytes(fd) > 0 ? "a socket for echo requests with unread answers" : undefined;
  if (facts.state === tcpState.closed || options.tcpClose) return undefined;
  if (facts.state === tcpState.listen) {
    if (facts.waiting === 0 || options.skipWaiting) return undefined;
    return `${facts.waiting} TCP connections not accepted yet; use --skip-in-flight to let them go`;
  }
  if (!options.tcpEstablished) {
    return "a TCP connection; use --tcp-established to take it along, --tcp-close to restore it closed";
  }
  return connectedStates.has(facts.state) ? undefined : "a TCP connection that is just opening";
}
