// The pager on the real kernel and the image directories that it serves from, driven by commands. Whose thread it runs in is
// its owner's business: worker.ts has one of its own, PagerThread.here() uses the caller's. Answers go out through `send`.
import { FaultlineError } from "../errors";
import { readWorkingSet } from "../images/workingSet";
import { READ_AHEAD_FIRST_STEPS, WORKING_SET_HOLD_US } from "../limits";
import { native } from "../native";
import { stopHelper } from "../uffd/kernelQueue";
import { KernelUffd } from "../uffd/kernelUffd";
import { KernelWaiter } from "../uffd/kernelWaiter";
import type { Command, ErrorData, Reply } from "./commands";
import type { Context } from "./context";
import { openSource } from "./imageSource";
import { OpenImages } from "./openImages";
import { findOwners } from "./owners";
import { Pager, type PagerHooks } from "./pager";
import { ReadAheadPlan } from "./readAhead";
import type { ContextRequest, PagerOptions } from "./requests";
import type { Trace } from "./trace";
import { WatchdogLink } from "./watchdog";

export class PagerService {
  readonly #waiter: KernelWaiter;
  readonly #trace: Trace | undefined;
  readonly #watchdog: WatchdogLink | undefined;
  readonly #images = new OpenImages();
  readonly #pager: Pager;
  readonly #send: (reply: Reply) => void;
  readonly #ahead: boolean;
  /** Sessions whose tasks get their recorded working sets. */
  readonly #useWorkingSets = new Set<number>();
  /** Restores whose tasks do not run before their working sets are in, at the longest until a time. */
  #held: { readonly id: number; readonly sessionId: number; readonly untilUs: number }[] = [];

  /** `ahead`: a session's images are opened with it, while others work, and not when they are needed. */
  constructor(options: PagerOptions, send: (reply: Reply) => void, ahead: boolean) {
    this.#send = send;
    this.#ahead = ahead;
    this.#waiter = new KernelWaiter(options.spinUs);
    if (options.traceFile !== undefined) {
      const trace = require("./trace") as typeof import("./trace");
      this.#trace = new trace.Trace(options.traceFile, this.#waiter.nowUs());
    }
    this.#watchdog = options.watchdogSocket === undefined ? undefined : new WatchdogLink(options.watchdogSocket);
    this.#pager = new Pager(this.#waiter, options, this.#hooks(), (pidfd) => {
      native.closeDescriptor(pidfd);
    });
  }

  /** An eventfd that ends a wait, for whoever sends commands from another thread. */
  get controlDescriptor(): number {
    return this.#waiter.controlDescriptor;
  }

  /** Whether any task has pages missing. */
  get busy(): boolean {
    return this.#pager.busy;
  }

  /** One wait, at most `timeoutUs` microseconds long, and the work that it brought; true where commands are there. */
  step(timeoutUs?: number): boolean {
    const { control } = this.#pager.step(timeoutUs);
    if (this.#held.length > 0) this.#letHeldGo();
    return control;
  }

  /** False when the thread is to end. What goes wrong is answered. */
  execute(command: Command): boolean {
    try {
      return this.#execute(command);
    } catch (error) {
      this.#send({ kind: "failed", id: command.id, error: errorData(error) });
      return true;
    }
  }

  /** The policy for whatever is missing still. */
  abandon(): void {
    this.#pager.stop();
  }

  close(): void {
    stopHelper();
    this.#trace?.close();
    this.#images.close();
  }

  #hooks(): PagerHooks {
    const trace = this.#trace;
    const done: PagerHooks = {
      forked: ({ uffd }) => this.#watchdog?.add(uffd.id, uffd.id, 0),
      contextEnded: ({ uffd }) => this.#watchdog?.drop(uffd.id),
      sessionDone: (report) => {
        this.#images.closeSession(report.sessionId);
        trace?.flush();
        this.#useWorkingSets.delete(report.sessionId);
        this.#send({ kind: "sessionDone", report });
      },
      recorded: (recording) => {
        const { imagesDir, imagePid } = recording;
        this.#send({ kind: "recorded", imagesDir, imagePid, pages: recording.result() });
      },
      findOwners,
      heldElsewhere: this.#watchdog !== undefined,
      readAhead,
    };
    if (trace === undefined) return done;
    return { ...done, trace: (...entry) => trace.add(...entry) };
  }

  #execute(command: Command): boolean {
    const { id } = command;
    switch (command.kind) {
      case "openSession": {
        const { sessionId, imagesDir, record, workingSet } = command.request;
        // The session first: where the directory cannot be opened, closeSession still has something to end.
        this.#pager.openSession(sessionId, imagesDir, record);
        if (record !== true && workingSet !== false) this.#useWorkingSets.add(sessionId);
        this.#images.openSession(sessionId, imagesDir);
        if (this.#ahead) this.#openAhead(sessionId);
        break;
      }
      case "prepare":
        this.#images.prepare(command.imagesDir);
        break;
      case "addContext":
        this.#addContext(command.request);
        break;
      case "awaitWorkingSets":
        this.#held.push({ id, sessionId: command.sessionId, untilUs: this.#waiter.nowUs() + WORKING_SET_HOLD_US });
        this.#letHeldGo();
        return true;
      case "startDrain":
        this.#pager.startDrain(command.sessionId);
        break;
      case "closeSession":
        this.#pager.closeSession(command.sessionId, command.error);
        break;
      case "report":
        this.#send({ kind: "answer", id, report: this.#pager.report(native.threadCpuUs()) });
        return true;
      case "stop":
        this.#send({ kind: "answer", id, report: { ...this.#pager.stop(), cpuUs: native.threadCpuUs() } });
        return false;
    }
    this.#send({ kind: "answer", id });
    return true;
  }

  #addContext(request: ContextRequest): void {
    try {
      const directory = this.#images.directory(request.sessionId);
      const { imagePid, pid, pidfd, sessionId } = request;
      const names = request.sources ?? [{ kind: "task" as const, id: imagePid }];
      const sources = names.map((name) => openSource(directory, name));
      const space = this.#images.space(sessionId, imagePid, request.layout);
      const uffd = KernelUffd.adopt(request.uffd);
      const context = this.#pager.addContext(sessionId, { uffd, space, sources, imagePid, pid, pidfd });
      if (this.#useWorkingSets.has(sessionId))
        this.#useWorkingSet(context, directory.path, request.registered === true);
    } catch (error) {
      this.#refuse(request);
      throw error;
    }
  }

  /** Opens the images, and has the disk begin on the recorded pages, while the processes are still being made. */
  #openAhead(sessionId: number): void {
    this.#images.openAhead(sessionId);
    if (!this.#useWorkingSets.has(sessionId)) return;
    try {
      const directory = this.#images.directory(sessionId);
      for (const { pid, dead } of directory.tasks) {
        const ranges = dead ? undefined : workingSetRanges(directory.path, pid);
        if (ranges === undefined) continue;
        const plan = ReadAheadPlan.ofImage(openSource(directory, { kind: "task", id: pid }), ranges);
        for (let steps = 0; steps < READ_AHEAD_FIRST_STEPS && !plan.done; steps++) plan.step(readAhead);
      }
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error; // told where the images are needed
    }
  }

  /** A working set that cannot be read is only worth a warning. */
  #useWorkingSet(context: Context, imagesDir: string, early: boolean): void {
    try {
      const ranges = workingSetRanges(imagesDir, context.imagePid);
      if (ranges !== undefined) this.#pager.useWorkingSet(context, { ranges, early });
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
      this.#send({ kind: "warning", line: `the working set is not used: ${error.line()}` });
    }
  }

  /**
   * A context that cannot be served must not live on with zeros: its task is killed before the descriptor is closed. Where
   * nobody knows the task the descriptor stays open, and the task parked; the watchdog's copy outlives this process.
   */
  #refuse(request: ContextRequest): void {
    if (request.pidfd < 0) return;
    native.pidfdSignal(request.pidfd, 9);
    native.closeDescriptor(request.pidfd);
    this.#watchdog?.drop(request.uffd);
    native.closeDescriptor(request.uffd);
  }

  #letHeldGo(): void {
    const nowUs = this.#waiter.nowUs();
    this.#held = this.#held.filter(({ id, sessionId, untilUs }) => {
      if (nowUs < untilUs && this.#pager.hasEarlyWork(sessionId)) return true;
      this.#send({ kind: "answer", id });
      return false;
    });
  }
}

function readAhead(fd: number, offset: number, bytes: number): void {
  native.readAhead(fd, offset, bytes);
}

/** First page and page count in turn, most wanted first; undefined where nothing was recorded. */
function workingSetRanges(imagesDir: string, pid: number): Float64Array | undefined {
  const set = readWorkingSet(imagesDir, pid);
  if (set === undefined) return undefined;
  const ranges = new Float64Array(set.ranges.length * 2);
  set.ranges.forEach(({ firstPage, pageCount }, i) => {
    ranges.set([firstPage, pageCount], i * 2);
  });
  return ranges;
}

function errorData(error: unknown): ErrorData {
  if (error instanceof FaultlineError) {
    const { cause: _cause, ...details } = error.details;
    return { code: error.code, message: error.message, details };
  }
  return { code: "", message: error instanceof Error ? (error.stack ?? error.message) : String(error), details: {} };
}
