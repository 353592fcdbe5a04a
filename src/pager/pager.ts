// The pager: answers faults and drains, over the uffd port, so that it runs unchanged on a simulated kernel. One owner:
// only this thread reads events and changes a layout, which is what keeps stale bytes out (docs/pager.md).
import { FaultlineError } from "../errors";
import {
  CONTEXTS_UNASKED_MAX,
  DEFER_FIRST_US,
  DEFER_MOST_US,
  DRAIN_AHEAD_RUNS,
  DRAIN_AHEAD_RUNS_BUSY,
  DRAIN_BUSY_US,
  DRAIN_STEP_PAGES,
  DRAIN_STEP_PAGES_BUSY,
  DRAIN_YIELD_US,
  ENDED_SESSIONS_MAX,
  LINGER_US,
  PAGE_BYTES,
  PAGER_SLEEP_US,
  PROBE_US,
  UNREADABLE_RETRY_US,
} from "../limits";
import type { Space } from "../space/space";
import type { Served, Uffd, UffdEvent, UffdWaiter } from "../uffd/port";
import { Context, type DeferredFault } from "./context";
import { Doom, type FindOwners } from "./doom";
import { drainStep, surroundingsStep } from "./drain";
import { type Answer, answerFault, noteServed } from "./faults";
import { LATENCY_BOUNDS_US, LatencyHistogram } from "./latency";
import { type Progress, progressPage } from "./missing";
import type { PageSource } from "./pageSource";
import { applyPolicy, type PolicyActions } from "./policy";
import { Prefetch } from "./prefetch";
import { type ReadAhead, ReadAheadPlan } from "./readAhead";
import type { Recording } from "./recording";
import type { PagerOptions, PagerReport, SessionReport } from "./requests";
import { reportContext, Session } from "./session";

/** Pages near the top of the address space: asking for one tells whether the address space still exists. */
const PROBE_PAGE = 2 ** 35 - 2;
/** How long stop() waits for killed tasks to be gone before it leaves their contexts to the watchdog, microseconds. */
const STOP_WAIT_US = 5_000_000;

export interface PagerHooks {
  /** A copy made by fork(2): before its first fault is answered. */
  forked?(context: Context): void;
  /** Before the context's descriptor is closed. */
  contextEnded?(context: Context): void;
  sessionDone?(report: SessionReport): void;
  /** No address space is served any more that adds to the recording. */
  recorded?(recording: Recording): void;
  readAhead?: ReadAhead;
  /** Finds the process of a context whose pid nobody knows, to kill it. */
  findOwners?: FindOwners;
  /** Another process holds every context that has not ended (watchdog.ts), so that stop() may leave one with pages missing. */
  heldElsewhere?: boolean;
  /** Every fault, event and outcome, as it happens. */
  trace?(atUs: number, context: Context, what: string, page: number, pageCount: number, detail: number): void;
}

export interface NewContext {
  readonly uffd: Uffd;
  readonly space: Space;
  readonly sources: readonly PageSource[];
  readonly imagePid: number;
  readonly pid: number;
  /** Owned by the caller, who closes it when `contextEnded` is over; -1 where there is none. */
  readonly pidfd: number;
}

/** The recorded working set of a context. */
export interface WorkingSetUse {
  /** First page and page count in turn, most wanted first. Not trusted. */
  readonly ranges: Float64Array;
  /** It may begin before the session is complete: all is registered. */
  readonly early: boolean;
}

interface PendingFault {
  readonly context: Context;
  readonly page: number;
  readonly threadId: number;
  readonly readUs: number;
}

function isRetryDue(context: Context, nowUs: number): boolean {
  for (const deferred of context.deferred.values()) if (deferred.retryAtUs <= nowUs) return true;
  return false;
}

/** A page for which zero is right, whatever is mapped there: asking for it can do no harm. */
function probePage(context: Context): number {
  let page = PROBE_PAGE;
  while (context.space.at(page).kind === "image") page--;
  return page;
}

export class Pager implements PolicyActions {
  private readonly sessions = new Map<number, Session>();
  private readonly contexts = new Map<Uffd, Context>();
  private readonly pidfds = new Map<number, { context: Context; pidfd: number }>();
  private pending: PendingFault[] = [];
  private nextToken = 1;
  private deferredCount = 0;
  private drainReadyUs = 0;
  /** No background work before this time: the next fault is likely. */
  private lingerUs = 0;
  private lastFaultUs = Number.NEGATIVE_INFINITY;
  private probeUs: number;
  /** The context that drains next: contexts take turns. */
  private turn = 0;
  private readonly blockedUs = new Map<number, number>();
  /** Of all sessions, also those that have ended. */
  private readonly latency = new LatencyHistogram();
  private readonly endedReports: SessionReport[] = [];

  constructor(
    readonly waiter: UffdWaiter,
    readonly options: PagerOptions,
    private readonly hooks: PagerHooks = {},
    /** Closes a pidfd that the pager no longer watches. */
    private readonly closePidfd: (pidfd: number) => void = () => undefined,
  ) {
    this.probeUs = waiter.nowUs() + PROBE_US;
  }

  openSession(sessionId: number, imagesDir: string, record = false): Session {
    if (this.sessions.has(sessionId)) throw new Error(`session ${sessionId} is open`);
    const session = new Session(sessionId, imagesDir, this.waiter.nowUs(), record);
    this.sessions.set(sessionId, session);
    return session;
  }

  session(sessionId: number): Session {
    const session = this.sessions.get(sessionId);
    if (session === undefined) throw new Error(`session ${sessionId} is not open`);
    return session;
  }

  /** Faults of the context are answered from the next step on. */
  addContext(sessionId: number, request: NewContext): Context {
    const session = this.session(sessionId);
    const { uffd, space, sources, imagePid, pid, pidfd } = request;
    const context = new Context(session, uffd, space, sources, imagePid, pid, -1, false);
    this.waiter.add(uffd);
    if (pidfd >= 0) this.watch(context, pidfd);
    session.contexts.add(context);
    this.contexts.set(uffd, context);
    this.record(context, session.recording(imagePid));
    this.hooks.trace?.(this.waiter.nowUs(), context, "begin", 0, 0, 0);
    return context;
  }

  private record(context: Context, recording: Recording | undefined): void {
    if (recording === undefined) return;
    context.recording = recording;
    recording.users++;
  }

  /** Pages that were touched early in other restores are installed ahead of the touches. */
  useWorkingSet(context: Context, { ranges, early }: WorkingSetUse): void {
    if (!this.contexts.has(context.uffd)) return;
    context.prefetch = new Prefetch(ranges);
    context.prefetchEarly = early;
    if (this.hooks.readAhead !== undefined) context.readAhead = ReadAheadPlan.ofMissing(context, ranges);
  }

  /** Whether working sets of the session are still being installed that may be before its tasks run. */
  hasEarlyWork(sessionId: number): boolean {
    for (const context of this.sessions.get(sessionId)?.contexts ?? []) {
      if (context.prefetch !== undefined && context.prefetchEarly && context.state === "served") return true;
    }
    return false;
  }

  /** All contexts of the session are known and its tasks run: drain, and end what has nothing missing. */
  startDrain(sessionId: number): void {
    const session = this.session(sessionId);
    session.complete = true;
    if (session.state === "serving") session.state = "draining";
    session.recordingsBegan(this.waiter.nowUs());
    // Not before: what a plan needs of the images may have to be decoded, and nobody waits for that now.
    for (const context of session.contexts) context.serveByWaits();
    for (const context of [...session.contexts]) this.finishIfDone(context);
    this.settle(session);
  }

  /** Ends a session from outside, applying the error policy to what is missing. */
  closeSession(sessionId: number, error?: string): void {
    const session = this.sessions.get(sessionId);
    if (session === undefined) return;
    session.complete = true;
    if (error !== undefined) session.fail(error);
    for (const context of [...session.contexts]) {
      // Parked faults want zero then, which is what the kernel gives once the context is closed.
      if (context.space.missingPages === 0) this.finish(context);
      else if (context.state === "served") applyPolicy(this, context, this.closingPolicy());
      // What is poisoned whole needs nobody any more, whether its task lives on or not.
      this.finishIfDone(context);
    }
    this.settle(session);
  }

  /** Under `wait` nobody would answer any more: poison instead, never zeros. */
  private closingPolicy(): PagerOptions["onError"] {
    return this.options.onError === "wait" ? "poison" : this.options.onError;
  }

  /** True while something is served. */
  get busy(): boolean {
    return this.contexts.size > 0;
  }

  /** One wait and the work that it brought: events first, then faults, then one step of the drain. */
  step(mostUs: number = PAGER_SLEEP_US): { readonly control: boolean } {
    const result = this.waiter.wait(Math.min(mostUs, this.sleepUs()), this.isHurried());
    const { control } = result;
    // The result is the waiter's, and valid until the next wait: nothing below waits.
    const { readable, exited, served, servedCount } = result;
    for (let i = 0; i < servedCount; i++) this.servedByWait(served[i]!);
    for (const uffd of readable) {
      const context = this.contexts.get(uffd);
      if (context !== undefined) this.receive(context);
    }
    this.answerPending();
    for (let i = 0; i < servedCount; i++) this.finishServed(served[i]!);
    if (this.deferredCount > 0) this.retryDeferred();
    for (const token of exited) this.processExited(token);
    this.background();
    if (this.waiter.nowUs() >= this.probeUs) this.probe();
    return { control };
  }

  /** Runs until nothing is served any more. */
  run(): void {
    while (this.busy) this.step();
  }

  /** A fault that was answered before step() saw it, or more pages that came with one. */
  private servedByWait(served: Served): void {
    const context = this.contexts.get(served.uffd);
    if (context === undefined) return;
    context.served(served);
    if (!served.isFault) return;
    const { page, readUs, doneUs, threadId, write } = served;
    context.session.faults++;
    this.hooks.trace?.(readUs, context, write ? "write" : "read", page, 1, threadId);
    noteServed(context, served);
    this.answered(context, page, readUs, threadId, doneUs);
  }

  private finishServed({ uffd }: Served): void {
    const context = this.contexts.get(uffd);
    if (context !== undefined) this.finishIfDone(context);
  }

  /** Reads all queued messages: layout events are applied in order, faults are queued. True where the layout changed. */
  private receive(context: Context): boolean {
    const events = context.uffd.read();
    if (events.length === 0) return false;
    const nowUs = this.waiter.nowUs();
    let changed = false;
    for (const event of events) {
      if (event.kind === "fault") continue;
      changed = true;
      this.layoutEvent(context, event, nowUs);
    }
    for (const event of events) {
      if (event.kind !== "fault") continue;
      context.session.faults++;
      this.pending.push({ context, page: event.page, threadId: event.threadId, readUs: nowUs });
      this.hooks.trace?.(nowUs, context, event.write ? "write" : "read", event.page, 1, event.threadId);
    }
    if (changed) {
      context.stopServing();
      context.drainAfterUs = 0;
      for (const deferred of context.deferred.values()) deferred.retryAtUs = nowUs;
    }
    return changed;
  }

  private layoutEvent(context: Context, event: Exclude<UffdEvent, { kind: "fault" }>, nowUs: number): void {
    context.session.layoutEvents++;
    if (event.kind === "unknown") {
      this.hooks.trace?.(nowUs, context, "unknown", 0, 0, event.event);
      return;
    }
    if (event.kind === "fork") {
      this.hooks.trace?.(nowUs, context, "fork", 0, 0, event.child.id);
      this.forked(context, event.child);
      return;
    }
    const page = event.kind === "remap" ? event.from : event.page;
    this.hooks.trace?.(nowUs, context, event.kind, page, event.pageCount, event.kind === "remap" ? event.to : 0);
    context.applyLayout(event);
  }

  private forked(parent: Context, uffd: Uffd): void {
    const { session, sources, imagePid } = parent;
    session.forks++;
    const child = new Context(session, uffd, parent.space.fork(), sources, imagePid, 0, -1, true);
    child.state = parent.state;
    this.record(child, parent.recording);
    child.plansLike(parent);
    session.contexts.add(child);
    this.contexts.set(uffd, child);
    this.waiter.add(uffd);
    this.hooks.forked?.(child);
    if (this.contexts.size > CONTEXTS_UNASKED_MAX) this.probeOldest();
    if (child.state === "failed") applyPolicy(this, child, this.closingPolicy());
  }

  private answerPending(): void {
    while (this.pending.length > 0) {
      const batch = this.pending;
      this.pending = [];
      for (const fault of batch) {
        if (!this.contexts.has(fault.context.uffd)) continue;
        const answer = this.answer(fault.context, fault.page);
        if (answer === "answered")
          this.answered(fault.context, fault.page, fault.readUs, fault.threadId, this.waiter.nowUs());
        else if (answer === "exited") this.end(fault.context, "exited");
        else this.defer(fault, answer);
      }
      for (const fault of batch) {
        this.finishIfDone(fault.context);
        if (this.contexts.has(fault.context.uffd)) fault.context.serveByWaits();
      }
    }
  }

  /** As answerFault, with the error policy applied where bytes cannot be had. */
  private answer(context: Context, page: number): Answer | "parked" | "unreadable" {
    if (context.state === "failed" && context.space.at(page).kind === "image") return "parked";
    try {
      return answerFault(context, page);
    } catch (error) {
      return this.unreadable(context, page, error);
    }
  }

  private unreadable(context: Context, page: number, error: unknown): "parked" | "unreadable" {
    if (!(error instanceof FaultlineError)) throw error;
    const details = { ...error.details, pid: context.pid || context.imagePid, address: page * PAGE_BYTES };
    const named = new FaultlineError(error.code, error.message, details);
    context.session.fail(named.line());
    applyPolicy(this, context, this.options.onError);
    return this.options.onError === "wait" ? "unreadable" : "parked";
  }

  private answered(context: Context, page: number, sinceUs: number, threadId: number, nowUs: number): void {
    context.recording?.faulted(nowUs);
    context.session.latency.record(nowUs - sinceUs);
    this.latency.record(nowUs - sinceUs);
    this.lastFaultUs = nowUs;
    this.lingerUs = nowUs + LINGER_US;
    if (threadId !== 0) this.blockedUs.set(threadId, (this.blockedUs.get(threadId) ?? 0) + nowUs - sinceUs);
    this.hooks.trace?.(nowUs, context, "answered", page, 1, nowUs - sinceUs);
  }

  private defer(fault: PendingFault, why: "changing" | "parked" | "unreadable"): void {
    const { context, page, threadId, readUs } = fault;
    const nowUs = this.waiter.nowUs();
    const delayUs = why === "changing" ? DEFER_FIRST_US : UNREADABLE_RETRY_US;
    context.session.deferredFaults++;
    this.hooks.trace?.(nowUs, context, "deferred", page, 1, 0);
    // A second thread on the same page waits with the first: one install wakes both.
    if (context.deferred.has(page)) return;
    context.deferred.set(page, { page, threadId, sinceUs: readUs, retryAtUs: nowUs + delayUs, delayUs });
    this.deferredCount++;
  }

  private retryDeferred(): void {
    for (const context of [...this.contexts.values()]) {
      if (!isRetryDue(context, this.waiter.nowUs())) continue;
      // An event may have come meanwhile: without it the retry would only be refused again.
      this.receive(context);
      const nowUs = this.waiter.nowUs();
      for (const deferred of [...context.deferred.values()]) {
        if (deferred.retryAtUs <= nowUs && this.contexts.has(context.uffd)) this.retry(context, deferred, nowUs);
      }
      this.finishIfDone(context);
    }
    this.answerPending();
  }

  private retry(context: Context, deferred: DeferredFault, nowUs: number): void {
    const answer = this.answer(context, deferred.page);
    if (answer === "exited") {
      this.end(context, "exited");
      return;
    }
    if (answer === "answered") {
      context.deferred.delete(deferred.page);
      this.deferredCount--;
      this.answered(context, deferred.page, deferred.sinceUs, deferred.threadId, this.waiter.nowUs());
      return;
    }
    deferred.delayUs = answer === "changing" ? Math.min(deferred.delayUs * 2, DEFER_MOST_US) : UNREADABLE_RETRY_US;
    deferred.retryAtUs = nowUs + deferred.delayUs;
  }

  /** Microseconds that a wait may sleep: until the next retry, drain step or probe. */
  private sleepUs(): number {
    const nowUs = this.waiter.nowUs();
    let untilUs = this.probeUs;
    for (const context of this.contexts.values()) {
      if (context.deferred.size > 0) {
        for (const deferred of context.deferred.values()) untilUs = Math.min(untilUs, deferred.retryAtUs);
      }
      untilUs = Math.min(untilUs, this.backgroundAtUs(context));
    }
    return Math.max(0, untilUs - nowUs);
  }

  /** Whether there is more to bring than what surrounds recent faults. */
  private isHurried(): boolean {
    for (const context of this.contexts.values()) if (this.prefetches(context) || this.drains(context)) return true;
    return false;
  }

  private backgroundAtUs(context: Context): number {
    if (context.state !== "served") return Number.POSITIVE_INFINITY;
    const earliest = Math.max(context.drainAfterUs, this.lingerUs);
    if (context.surroundings.length > 0 || this.prefetches(context)) return earliest;
    return this.drains(context) ? Math.max(earliest, this.drainAtUs(context)) : Number.POSITIVE_INFINITY;
  }

  /** When the pace, and a recording, allow the next step of the drain. */
  private drainAtUs(context: Context): number {
    return context.recording === undefined
      ? this.drainReadyUs
      : Math.max(this.drainReadyUs, context.recording.drainAfterUs);
  }

  private prefetches(context: Context): boolean {
    return context.prefetch !== undefined && (context.prefetchEarly || context.session.complete);
  }

  private drains(context: Context): boolean {
    if (this.options.stayLazy || !context.session.complete) return false;
    return context.state === "served" && context.space.missingPages > 0;
  }

  /** One step for the next context in turn: what is around recent faults, then the drain. */
  private background(): void {
    const nowUs = this.waiter.nowUs();
    if (nowUs < this.lingerUs) return;
    let ready = 0;
    for (const context of this.contexts.values()) if (this.hasBackground(context, nowUs)) ready++;
    if (ready === 0) return;
    this.turn = (this.turn + 1) % ready;
    let before = this.turn;
    for (const context of this.contexts.values()) {
      if (!this.hasBackground(context, nowUs) || before-- > 0) continue;
      this.backgroundStep(context, nowUs);
      return;
    }
  }

  private hasBackground(context: Context, nowUs: number): boolean {
    if (context.state !== "served" || nowUs < context.drainAfterUs) return false;
    if (context.surroundings.length > 0 || this.prefetches(context)) return true;
    return this.drains(context) && nowUs >= this.drainAtUs(context);
  }

  /** One step of the recorded working set: after what surrounds recent faults, before the drain. */
  private prefetchStep(context: Context, prefetch: Prefetch, most: number, nowUs: number): void {
    const { session, readAhead } = context;
    if (readAhead !== undefined && this.hooks.readAhead !== undefined) {
      readAhead.step(this.hooks.readAhead);
      if (readAhead.done) context.readAhead = undefined;
    }
    session.prefetching = true;
    const { pageCount, stop } = prefetch.step(context, most);
    session.prefetching = false;
    this.payDrain(pageCount, nowUs);
    this.hooks.trace?.(nowUs, context, "prefetch", 0, pageCount, 0);
    if (prefetch.done) context.prefetch = undefined;
    if (stop === "changing") context.drainAfterUs = nowUs + DEFER_FIRST_US * 2;
    else if (stop === "exited") this.end(context, "exited");
  }

  private backgroundStep(context: Context, nowUs: number): void {
    const { session } = context;
    const contended = this.waiter.isContended();
    const busy = contended || nowUs - this.lastFaultUs < DRAIN_BUSY_US;
    const most = busy ? DRAIN_STEP_PAGES_BUSY : DRAIN_STEP_PAGES;
    const prefetch = this.prefetches(context) ? context.prefetch : undefined;
    if (prefetch !== undefined && context.surroundings.length === 0) {
      this.prefetchStep(context, prefetch, most, nowUs);
      this.finishIfDone(context);
      return;
    }
    const drains = prefetch === undefined && this.drains(context) && nowUs >= this.drainAtUs(context);
    // What surrounds a fault counts as on demand only where nothing else would bring it.
    session.draining = drains;
    try {
      let progress = surroundingsStep(context, DRAIN_STEP_PAGES_BUSY, drains);
      if (progress === undefined && drains) {
        progress = drainStep(context, most, busy ? DRAIN_AHEAD_RUNS_BUSY : DRAIN_AHEAD_RUNS);
        this.payDrain(progress.pageCount, nowUs);
        if (contended) this.drainReadyUs = Math.max(this.drainReadyUs, this.waiter.nowUs() + DRAIN_YIELD_US);
      }
      if (progress !== undefined) this.progressed(context, progress, nowUs);
    } catch (error) {
      this.unreadable(context, progressPage(), error);
      // Under `wait` other pages may still be readable: go on behind this one, after a while.
      context.drainAfterUs = nowUs + UNREADABLE_RETRY_US;
      context.surroundings.length = 0;
      context.cursor = progressPage() + 1;
    } finally {
      session.draining = false;
    }
    this.finishIfDone(context);
  }

  private progressed(context: Context, progress: Progress, nowUs: number): void {
    const { stop, page, pageCount } = progress;
    this.hooks.trace?.(nowUs, context, "background", page - pageCount, pageCount, 0);
    if (stop === "changing") context.drainAfterUs = nowUs + DEFER_FIRST_US * 2;
    else if (stop === "gone") this.confirmGone(context, page);
    else if (stop === "exited") this.end(context, "exited");
  }

  private payDrain(pageCount: number, nowUs: number): void {
    if (this.options.drainRateBytes === Number.POSITIVE_INFINITY) return;
    const costUs = (pageCount * PAGE_BYTES * 1e6) / this.options.drainRateBytes;
    this.drainReadyUs = Math.max(this.drainReadyUs, nowUs - costUs) + costUs;
  }

  /**
   * ENOENT for one page may be a move whose event is not queued yet. The kernel refuses with EAGAIN from before the
   * change until its event is read, so a second ENOENT with no event in between means that the page is really gone.
   */
  private confirmGone(context: Context, page: number): void {
    if (this.receive(context)) return;
    const outcome = context.uffd.installZero(probePage(context), 1);
    if (outcome.kind === "changing") context.drainAfterUs = this.waiter.nowUs() + DEFER_FIRST_US;
    if (outcome.kind === "exited") this.end(context, "exited");
    if (outcome.kind === "changing" || outcome.kind === "exited") return;
    const need = context.space.at(page);
    if (need.kind !== "image") return;
    context.space.unmapped(page, 1);
    context.session.lostPages++;
    this.hooks.trace?.(this.waiter.nowUs(), context, "lost", page, 1, 0);
  }

  /** Asks every address space whether it still exists: exit and exec raise no event. */
  private probe(): void {
    this.probeUs = this.waiter.nowUs() + PROBE_US;
    for (const context of [...this.contexts.values()]) {
      this.probeOne(context);
      if (context.doom !== undefined) this.goOnWith(context, context.doom);
    }
  }

  /** Kills or poisons a failed context, where that could not be done at once. */
  private goOnWith(context: Context, doom: Doom): void {
    const nowUs = this.waiter.nowUs();
    if (!this.contexts.has(context.uffd)) return;
    const outcome = nowUs < doom.atUs ? "again" : doom.step(context, nowUs);
    if (outcome === "again") {
      this.probeUs = Math.min(this.probeUs, doom.atUs);
      return;
    }
    context.doom = undefined;
    if (outcome === "exited") this.end(context, "exited");
    else if (outcome === "poisoned") this.finishIfDone(context);
    else this.killFound(context, outcome);
  }

  /** All of them share the context's memory: the exit of any one is a reason to ask whether it still exists. */
  private killFound(context: Context, pidfds: readonly number[]): void {
    for (const pidfd of pidfds) {
      this.forgetPidfd(context);
      this.watch(context, pidfd);
      this.kill(context);
    }
  }

  private watch(context: Context, pidfd: number): void {
    const token = this.nextToken++;
    this.waiter.addPidfd(pidfd, token);
    this.pidfds.set(token, { context, pidfd });
    context.token = token;
  }

  /**
   * Where there are many, every new context asks after two that were not asked for the longest time, so that copies of a
   * program that forks all the time do not pile up until the next probe.
   */
  private probeOldest(): void {
    for (let asked = 0; asked < 2; asked++) {
      const [oldest] = this.contexts.values();
      if (oldest === undefined) return;
      this.contexts.delete(oldest.uffd);
      this.contexts.set(oldest.uffd, oldest);
      this.probeOne(oldest);
    }
  }

  private probeOne(context: Context): void {
    if (context.uffd.installZero(probePage(context), 1).kind === "exited") this.end(context, "exited");
  }

  private processExited(token: number): void {
    const entry = this.pidfds.get(token);
    if (entry === undefined) return;
    this.forgetPidfd(entry.context);
    // The address space may outlive the process (vfork): only ESRCH ends the context.
    if (this.contexts.has(entry.context.uffd)) this.probeOne(entry.context);
  }

  private forgetPidfd(context: Context): void {
    const entry = this.pidfds.get(context.token);
    if (entry === undefined) return;
    this.waiter.removePidfd(context.token);
    this.pidfds.delete(context.token);
    context.token = -1;
    this.closePidfd(entry.pidfd);
  }

  private finishIfDone(context: Context): void {
    if (!this.contexts.has(context.uffd) || !context.session.complete) return;
    if (context.space.missingPages === 0 && context.deferred.size === 0) this.finish(context);
  }

  /** Nothing is missing: ends the registrations, so that the kernel's own faults take over, and closes. */
  private finish(context: Context): void {
    const { space, uffd } = context;
    let page = 0;
    for (let need = space.next(page); need !== undefined; need = space.next(page)) {
      const first = need.page;
      let end = first + need.pageCount;
      for (let more = space.at(end); more.kind !== "outside"; more = space.at(end)) end = more.page + more.pageCount;
      if (uffd.unregister(first, end - first) === "exited") {
        this.end(context, "exited");
        return;
      }
      page = end;
    }
    this.end(context, context.state === "failed" ? "failed" : "done");
  }

  private end(context: Context, state: Context["state"]): void {
    if (!this.contexts.delete(context.uffd)) return;
    this.deferredCount -= context.deferred.size;
    context.deferred.clear();
    if (context.wasServed) this.takeCopies(context);
    if (context.state !== "failed") context.state = state;
    this.waiter.remove(context.uffd);
    this.forgetPidfd(context);
    this.hooks.trace?.(this.waiter.nowUs(), context, "end", 0, context.space.missingPages, 0);
    if (!context.left) this.hooks.contextEnded?.(context);
    context.uffd.close();
    const { session } = context;
    session.contexts.delete(context);
    session.ended.push(reportContext(context));
    const { recording } = context;
    if (recording !== undefined && --recording.users === 0) this.hooks.recorded?.(recording);
    this.settle(session);
  }

  /** What a wait has read and nobody has looked at yet: a copy made by fork(2) outlives what it was copied from. */
  private takeCopies(context: Context): void {
    for (const event of context.uffd.read()) {
      if (event.kind !== "fork") continue;
      this.forked(context, event.child);
      const child = this.contexts.get(event.child);
      if (child !== undefined) this.finishIfDone(child);
    }
  }

  private settle(session: Session): void {
    if (!session.complete || session.contexts.size > 0 || !this.sessions.has(session.sessionId)) return;
    session.state = session.error === undefined ? "done" : "failed";
    this.sessions.delete(session.sessionId);
    const report = session.report(this.waiter.nowUs());
    this.endedReports.push(report);
    if (this.endedReports.length > ENDED_SESSIONS_MAX) this.endedReports.shift();
    this.hooks.sessionDone?.(report);
  }

  // What a policy may do.

  kill(context: Context): boolean {
    if (context.token >= 0) {
      this.waiter.kill(context.token);
      return true;
    }
    if (this.hooks.findOwners === undefined) return false;
    this.doom(context, this.hooks.findOwners);
    return true;
  }

  poisonLater(context: Context): void {
    this.doom(context, undefined);
  }

  private doom(context: Context, search: FindOwners | undefined): void {
    context.doom = new Doom(search, this.waiter.nowUs());
    this.probeUs = Math.min(this.probeUs, context.doom.atUs);
  }

  exited(context: Context): void {
    this.end(context, "exited");
  }

  /**
   * Applies the policy to whatever is still missing, waits for killed tasks to be gone, and closes every context.
   * A context is closed with pages missing only when its process has gone, its pages are poisoned, or another process
   * holds it too; where none does, this waits without end.
   */
  stop(): PagerReport {
    for (const session of [...this.sessions.values()]) {
      const unfinished = session.missingPages > 0;
      this.closeSession(session.sessionId, unfinished ? "the pager was stopped with pages missing" : undefined);
    }
    const untilUs = this.hooks.heldElsewhere === true ? this.waiter.nowUs() + STOP_WAIT_US : Number.POSITIVE_INFINITY;
    while (this.busy && this.waiter.nowUs() < untilUs) {
      this.step(10_000);
      for (const context of [...this.contexts.values()]) this.finishIfDone(context);
      this.probe();
    }
    for (const context of [...this.contexts.values()]) this.leave(context);
    return this.report(0);
  }

  /** To the other process that holds the context: it is not told that it ended. */
  private leave(context: Context): void {
    context.session.fail(`task ${context.pid || context.imagePid} could not be ended in time: the watchdog has it`);
    context.left = true;
    this.end(context, "failed");
  }

  report(cpuUs: number): PagerReport {
    const nowUs = this.waiter.nowUs();
    return {
      sessions: [...this.endedReports, ...[...this.sessions.values()].map((session) => session.report(nowUs))],
      cpuUs,
      blockedUsByThread: Object.fromEntries(this.blockedUs),
      latencyBoundsUs: LATENCY_BOUNDS_US,
      latencyCounts: [...this.latency.counts],
      latencySumUs: this.latency.sumUs,
    };
  }
}
