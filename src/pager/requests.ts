// What callers ask of a pager and what it reports: plain data, so that it crosses threads. No behaviour.

/**
 * What happens to a task whose missing pages cannot be read any more. A task never runs on with zeros where it had
 * data: `kill` ends it by SIGKILL, `poison` makes later touches raise SIGBUS, `wait` leaves the touching threads parked.
 */
export const errorPolicies = ["kill", "poison", "wait"] as const;
export type ErrorPolicy = (typeof errorPolicies)[number];

export interface PagerOptions {
  /** Never drain: pages come only when touched. */
  readonly stayLazy: boolean;
  /** Most bytes drained in a second over all tasks; Infinity: as fast as it goes. Faults are never slowed. */
  readonly drainRateBytes: number;
  readonly onError: ErrorPolicy;
  /** How long a wait polls after activity before it sleeps, microseconds. */
  readonly spinUs: number;
  /** Each fault and event with its time, one JSON object a line, is appended here. */
  readonly traceFile?: string | undefined;
  /** The socket of the watchdog (watchdog.ts), which is told of every context that comes and goes. */
  readonly watchdogSocket?: number | undefined;
}

/** Which pages of a directory a layout entry takes: a task's own memory, or a shared anonymous segment. */
export interface SourceName {
  readonly kind: "task" | "shmem";
  /** The pid, or the shmid, as the images name it. */
  readonly id: number;
}

/** A restore: contexts that are served from one directory, drained together and reported together. */
export interface SessionRequest {
  readonly sessionId: number;
  readonly imagesDir: string;
  /** Note which pages are touched, and merge them into the directory's working sets. Then none is used. */
  readonly record?: boolean | undefined;
  /** Install the working sets that the directory has, ahead of the touches. Default: yes. */
  readonly workingSet?: boolean | undefined;
}

/** One address space to serve. The pager owns the descriptors from now on. */
export interface ContextRequest {
  readonly sessionId: number;
  /** A userfaultfd that has its UFFDIO_API behind it, O_NONBLOCK, with FORK, REMAP, REMOVE and UNMAP events. */
  readonly uffd: number;
  /** The task's pid in the images, which names its pagemap. */
  readonly imagePid: number;
  /** The task's real pid, for messages; 0 where unknown. */
  readonly pid: number;
  /** A pidfd of the task, by which its exit is seen and by which it is killed; -1 where there is none. */
  readonly pidfd: number;
  /**
   * What is missing: four numbers an entry, in address order: first page, page count, index into `sources` (or
   * LAYOUT_ZERO, LAYOUT_PRESENT of src/space), first page in the source; a later entry holds over an earlier one. Without it: what `criu restore --lazy-pages` leaves to its daemon.
   */
  readonly layout?: Float64Array | undefined;
  /** Default: the task's own memory only. */
  readonly sources?: readonly SourceName[] | undefined;
  /**
   * Everything is mapped and registered already: the working set may be installed before the task runs. (CRIU hands its
   * userfaultfd over earlier than that.)
   */
  readonly registered?: boolean | undefined;
}

/** Latencies of answered faults, from the read of the message to the wake, microseconds. */
export interface LatencyReport {
  readonly count: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

export interface ContextReport {
  readonly imagePid: number;
  readonly pid: number;
  /** Copies made by fork(2) say so. */
  readonly forked: boolean;
  readonly state: "served" | "done" | "exited" | "failed";
  readonly missingPages: number;
}

export interface PagerCounts {
  /** Pages with image bytes, installed because touched (with their neighbours), and in the background. */
  readonly faultedPages: number;
  readonly drainedPages: number;
  /** Pages with image bytes of the recorded working set, installed ahead of the touches. */
  readonly prefetchedPages: number;
  readonly zeroPages: number;
  readonly missingPages: number;
  readonly faults: number;
  /** Faults that could not be answered at once, because the layout was changing. */
  readonly deferredFaults: number;
  readonly layoutEvents: number;
  readonly forks: number;
  /** Bytes installed, by how the page file stores them. */
  readonly rawBytes: number;
  readonly lz4Bytes: number;
  /** Image pages that no registered VMA holds any more although no event said so: never installed. */
  readonly lostPages: number;
}

export interface SessionReport extends PagerCounts {
  readonly sessionId: number;
  readonly imagesDir: string;
  /** done: every page was installed or its task has gone. failed: the policy had to be applied. */
  readonly state: "serving" | "draining" | "done" | "failed";
  readonly contexts: readonly ContextReport[];
  /** From openSession to the end, or to now, microseconds. */
  readonly elapsedUs: number;
  readonly latency: LatencyReport;
  /** The first failure, as one line. */
  readonly error?: string | undefined;
}

export interface PagerReport {
  readonly sessions: readonly SessionReport[];
  /** CPU time of the pager thread, microseconds. */
  readonly cpuUs: number;
  /** Time that restored threads were blocked on faults, microseconds, by thread id, where the kernel names threads. */
  readonly blockedUsByThread: Readonly<Record<string, number>>;
  /** Fault latencies as counts below each of `latencyBoundsUs`, not cumulative; one more for those above all. */
  readonly latencyBoundsUs: readonly number[];
  readonly latencyCounts: readonly number[];
  readonly latencySumUs: number;
}

export const defaultPagerOptions: PagerOptions = {
  stayLazy: false,
  drainRateBytes: Number.POSITIVE_INFINITY,
  onError: "kill",
  spinUs: 80,
};
