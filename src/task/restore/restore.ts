// restore(): an image directory becomes running processes again. This file is the order of things and the promises to
// the caller; how tasks are made is build.ts, how pages come later is the pager's.
import { checked, FaultlineError } from "../../errors";
import { native } from "../../native";
import { PagerThread } from "../../pager/pagerThread";
import type { PagerOptions, SessionReport, SessionRequest } from "../../pager/requests";
import { Watchdog } from "../../pager/watchdog";
import { Build } from "./build";
import { checkFiles } from "./fileCheck";
import { awaitFreePids } from "./freePids";
import { readOwnCredentials } from "./ownCredentials";
import type { PlanOptions } from "./plan";
import { PlanCache, type Prepared } from "./planCache";
import { warmUpRestore } from "./warmUp";

export interface RestoreOptions {
  readonly imagesDir: string;
  /** All pages are read before the tree runs; no userfaultfd, no pager. */
  readonly eager?: boolean | undefined;
  /** Goes on where a mapped file has changed since the dump. */
  readonly force?: boolean | undefined;
  /** The tree may be a part of a session that is not in the image; it joins ours. */
  readonly shellJob?: boolean | undefined;
  /** Established TCP connections are kept, or closed. */
  readonly tcpEstablished?: boolean | undefined;
  readonly tcpClose?: boolean | undefined;
  /** Unix sockets are connected to names outside of the image again. */
  readonly externalUnix?: boolean | undefined;
  /** Notes which pages are touched, for the working set of the next restore (docs/working-set.md). */
  readonly record?: boolean | undefined;
  /** Installs the recorded working sets ahead of the touches. Default: yes. */
  readonly workingSet?: boolean | undefined;
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
  /** Until the tree runs: ends everything made so far, with ABORTED. Afterwards it does nothing. */
  readonly signal?: AbortSignal | undefined;
  /** Told of what does no harm, in one line: a working set that is damaged. A Restorer has its own. */
  readonly onWarning?: ((line: string) => void) | undefined;
  /**
   * The pager has no thread of its own but this one, and serves while the result's serve() runs, which is to be called at
   * once: for a process that is there for nothing else, as starting a thread takes longer than a restore. A Restorer has
   * its own.
   */
  readonly pagerHere?: boolean | undefined;
}

export type RestoreProgress =
  | { readonly phase: "planned"; readonly tasks: number; readonly threads: number }
  | { readonly phase: "built"; readonly eagerPages: number; readonly missingPages: number }
  | { readonly phase: "running"; readonly pid: number }
  | { readonly phase: "pages"; readonly missingPages: number; readonly totalPages: number };

/** How the root of the tree ended. */
export type ExitStatus =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: number };

export interface RestoreTimes {
  /** Reading the images and planning, creating and filling the tasks up to where they run; milliseconds. */
  readonly planMs: number;
  readonly buildMs: number;
  readonly totalMs: number;
}

export interface RestoreResult {
  /** The root of the tree. */
  readonly pid: number;
  readonly pids: readonly number[];
  readonly lazy: boolean;
  readonly eagerPages: number;
  /** Pages left to the pager when the tree began to run. */
  readonly missingPages: number;
  readonly times: RestoreTimes;
  /** Resolves when the root has ended and is reaped. Waiting for it keeps the process alive; not waiting does not. */
  waitExit(): Promise<ExitStatus>;
  /** Resolves when every page is in, or the error policy was applied; undefined for an eager restore. */
  readonly pages: Promise<SessionReport | undefined>;
  /** With `pagerHere`: brings every page, and returns when all are in. Otherwise there is nothing to do. */
  readonly serve: () => void;
}

const progressIntervalMs = 200;

/** Not performance.now(): a short command would load perf_hooks for it. */
function nowMs(): number {
  return native.monotonicUs() / 1000;
}

/** A resident restorer: one pager thread and one watchdog for any number of restores, one after the other or at once. */
export class Restorer {
  readonly #options: Partial<PagerOptions>;
  readonly #warn: ((line: string) => void) | undefined;
  readonly #pagerHere: boolean;
  #watchdog: Watchdog | undefined;
  #pager: Promise<PagerThread> | undefined;
  /** The pager once it has started. */
  #running: PagerThread | undefined;
  #nextSession = 1;
  readonly #plans = new PlanCache();

  /** `warn` is told what does no harm, in one line: a working set that is damaged. */
  constructor(options: Partial<PagerOptions> = {}, warn?: (line: string) => void, pagerHere = false) {
    this.#options = options;
    this.#warn = warn;
    this.#pagerHere = pagerHere;
  }

  /**
   * Starts pager and watchdog and returns at once; without it the first lazy restore does it. With directories that will
   * be restored, also runs through their plans until V8 has compiled the way (some 100 ms each), so that the first restore
   * is about as quick as later ones; throws FaultlineErrors where one of them cannot be restored.
   */
  warmUp(imagesDirs: readonly string[] = [], options: PlanOptions = {}): this {
    for (const directory of imagesDirs) warmUpRestore(this.#plans, directory, options);
    this.#startPager();
    return this;
  }

  #startPager(): Promise<PagerThread> {
    if (this.#pager === undefined) {
      this.#watchdog = Watchdog.start(this.#options.onError ?? "kill");
      const options = { ...this.#options, watchdogSocket: this.#watchdog.socket };
      this.#pager = this.#pagerHere
        ? Promise.resolve(PagerThread.here(options, this.#warn))
        : PagerThread.start(options, this.#warn);
      // Whoever asks for it first gets the error.
      this.#pager.then(
        (pager) => {
          this.#running = pager;
          if (this.#pagerHere) return;
          const { keepCompiledCode } = require("../../optimizer") as typeof import("../../optimizer");
          keepCompiledCode();
        },
        () => undefined,
      );
    }
    return this.#pager;
  }

  async restore(options: RestoreOptions): Promise<RestoreResult> {
    // Where the pager's script is still to be loaded, its code cache would be refused under other flags.
    if (this.#running === undefined || this.#pagerHere) return this.#restore(options);
    const { BackgroundHold } = require("../../optimizer") as typeof import("../../optimizer");
    using _hold = new BackgroundHold();
    return await this.#restore(options);
  }

  async #restore(options: RestoreOptions): Promise<RestoreResult> {
    const startMs = nowMs();
    const starting = options.eager === true ? undefined : this.#startPager();
    const sessionId = this.#nextSession++;
    // A pager that is there already opens the directory while we plan.
    const early = starting === undefined ? undefined : this.#running;
    const session = early?.openSession(sessionRequest(sessionId, options));
    session?.catch(() => undefined);
    let prepared: Prepared | undefined;
    let pager: PagerThread | undefined;
    try {
      prepared = await prepare(this.#plans, options);
      pager = await starting;
    } catch (error) {
      prepared?.images.close();
      await early?.closeSession(sessionId, "the restore failed").catch(() => undefined);
      throw error;
    }
    return this.#finish(prepared, options, startMs, { sessionId, pager, session });
  }

  /** The pager thread, for its report; undefined where no lazy restore has been asked for yet. */
  async pager(): Promise<PagerThread | undefined> {
    return this.#pager;
  }

  /** Ends the pager and the watchdog. Tasks with pages missing get the error policy. */
  async close(): Promise<void> {
    try {
      await (await this.#pager)?.stop();
    } finally {
      this.#watchdog?.close();
      this.#pager = undefined;
      this.#running = undefined;
      this.#watchdog = undefined;
      this.#plans.clear();
    }
  }

  async #finish(
    { plan, images, composition }: Prepared,
    options: RestoreOptions,
    startMs: number,
    { sessionId, pager, session }: Serving,
  ): Promise<RestoreResult> {
    const planMs = nowMs();
    const build = new Build(composition, images);
    let rootPidfd: number;
    let serving: Promise<unknown> = Promise.resolve();
    try {
      throwIfAborted(options.signal);
      build.begin();
      if (pager !== undefined) {
        serving = this.#serve(
          pager,
          build,
          session ?? pager.openSession(sessionRequest(sessionId, options)),
          sessionId,
        );
        serving.catch(() => undefined);
      }
      build.complete();
      options.onProgress?.({ phase: "built", ...counts(build) });
      // Where the pager cannot serve, nothing may run: it would wait for ever.
      await serving;
      throwIfAborted(options.signal);
      rootPidfd = build.letGo();
    } catch (error) {
      build.end();
      // A pager that cannot serve a task kills it: its reason comes before "the task is gone".
      const cause = await serving.then(
        () => error,
        (refused: unknown) => refused,
      );
      await pager?.closeSession(sessionId, "the restore failed").catch(() => undefined);
      throw cause;
    } finally {
      images.close();
    }
    const { rootPid } = build.tree;
    const exit = watchExit(rootPid, rootPidfd);
    const runMs = nowMs();
    options.onProgress?.({ phase: "running", pid: rootPid });
    return {
      pid: rootPid,
      pids: plan.tree.tasks.map((task) => task.pid),
      lazy: pager !== undefined,
      ...counts(build),
      times: { planMs: planMs - startMs, buildMs: runMs - planMs, totalMs: runMs - startMs },
      waitExit: () => keepAlive(exit),
      serve: () => pager?.serve(),
      // At once, also where pages are served later: the page files are open then, and the directory may go.
      pages: pager === undefined ? Promise.resolve(undefined) : this.#drain(pager, sessionId, options),
    };
  }

  /** The watchdog first, then the pager: from the first answered fault on, somebody else holds the context too. */
  async #serve(pager: PagerThread, build: Build, session: Promise<void>, sessionId: number): Promise<void> {
    const link = this.#watchdog?.link();
    build.handedOver = true;
    const asked = [session];
    for (const { task, uffd, layout } of build.lazyTasks) {
      link?.add(uffd.id, uffd.id, task.pid);
      const pidfd = checked(native.pidfdOpen(task.pid), "pidfd_open", "the task is gone", { pid: task.pid });
      const { pid } = task;
      const request = { sessionId, uffd: uffd.id, imagePid: pid, pid, pidfd, registered: true, ...layout };
      asked.push(pager.addContext(request));
    }
    // What they touch first is there then: a program that faults its way there takes longer.
    asked.push(pager.awaitWorkingSets(sessionId));
    await Promise.all(asked);
  }

  async #drain(pager: PagerThread, sessionId: number, options: RestoreOptions): Promise<SessionReport> {
    await pager.startDrain(sessionId);
    const { onProgress } = options;
    const timer = onProgress === undefined ? undefined : reportPages(pager, sessionId, onProgress);
    try {
      return await pager.sessionDone(sessionId);
    } finally {
      clearInterval(timer);
    }
  }
}

/** The pager's side of a restore; no pager where it is eager. */
interface Serving {
  readonly sessionId: number;
  readonly pager: PagerThread | undefined;
  /** Where it was asked for ahead of the plan. */
  readonly session: Promise<void> | undefined;
}

function sessionRequest(sessionId: number, { imagesDir, record, workingSet }: RestoreOptions): SessionRequest {
  return { sessionId, imagesDir, record, workingSet };
}

/** The plan, and what must be so of the machine for it. */
async function prepare(plans: PlanCache, options: RestoreOptions): Promise<Prepared> {
  throwIfAborted(options.signal);
  const eager = options.eager === true;
  const prepared = plans.prepare(options.imagesDir, { ...options, eager }, readOwnCredentials());
  try {
    const { tree } = prepared.plan;
    checkFiles(tree, options.force === true);
    const tids = tree.tasks.flatMap((task) => [task.pid, ...task.threads.map((thread) => thread.tid)]);
    await awaitFreePids(tids, () => throwIfAborted(options.signal));
    const threads = tree.tasks.reduce((sum, task) => sum + task.threads.length, 0);
    options.onProgress?.({ phase: "planned", tasks: tree.tasks.length, threads });
    return prepared;
  } catch (error) {
    prepared.images.close();
    throw error;
  }
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new FaultlineError("ABORTED", "the restore was aborted", { cause: signal.reason });
}

function counts(build: Build): { eagerPages: number; missingPages: number } {
  return { eagerPages: build.pages.eagerPages, missingPages: build.missingPages };
}

function watchExit(pid: number, pidfd: number): Promise<ExitStatus> {
  return new Promise((resolve) => {
    const ended = (): void => {
      const status = native.reap(pid, true);
      native.closeDescriptor(pidfd);
      if (status < 0 || (status & 0x7f) === 0) resolve({ kind: "exited", code: status < 0 ? 0 : (status >> 8) & 0xff });
      else resolve({ kind: "killed", signal: status & 0x7f });
    };
    checked(native.onReadable(pidfd, ended), "poll", "the restored process cannot be watched", { pid });
  });
}

/** A pending promise keeps no process alive; a timer does. */
async function keepAlive<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => undefined, 2 ** 30);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
  }
}

function reportPages(
  pager: PagerThread,
  sessionId: number,
  onProgress: (progress: RestoreProgress) => void,
): NodeJS.Timeout {
  let totalPages = 0;
  return setInterval(async () => {
    const { sessions } = await pager.report();
    const session = sessions.find((candidate) => candidate.sessionId === sessionId);
    if (session === undefined) return;
    const here = session.faultedPages + session.drainedPages + session.prefetchedPages;
    totalPages = Math.max(totalPages, session.missingPages + here);
    onProgress({ phase: "pages", missingPages: session.missingPages, totalPages });
  }, progressIntervalMs);
}

/**
 * Restores once. For a lazy restore this process must live until `pages` has resolved: it is the pager. Resolves when
 * the tree runs. Throws FaultlineErrors; after one, no process of the tree is left.
 */
export async function restore(options: RestoreOptions & Partial<PagerOptions>): Promise<RestoreResult> {
  const restorer = new Restorer(pagerOptions(options), options.onWarning, options.pagerHere === true);
  try {
    const result = await restorer.restore(options);
    const pages = result.pages.finally(() => restorer.close());
    pages.catch(() => undefined);
    return { ...result, pages };
  } catch (error) {
    await restorer.close();
    throw error;
  }
}

/** Only what the pager thread takes: the rest may not cross threads. */
function pagerOptions(options: Partial<PagerOptions>): Partial<PagerOptions> {
  const { stayLazy, drainRateBytes, onError, spinUs, traceFile } = options;
  const given = Object.entries({ stayLazy, drainRateBytes, onError, spinUs, traceFile });
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}
