// A pager, seen from the thread that uses it: in a worker thread of its own (start), or in this one, where it serves only
// while serve() runs (here). Only passes commands: the pager is pager.ts, the loop of the thread is worker.ts.
import { join } from "node:path";
import { FaultlineError } from "../errors";
import { native } from "../native";
import type { Command, ErrorData, Reply } from "./commands";
import type { ContextRequest, PagerOptions, PagerReport, SessionReport, SessionRequest } from "./requests";
import { defaultPagerOptions } from "./requests";

interface SessionListener {
  resolve(report: SessionReport): void;
  reject(error: Error): void;
}

interface Waiting {
  resolve(report: PagerReport | undefined): void;
  reject(error: Error): void;
}

/** The thread's script: this folder's, or the bundled one where the command line was started from a bundle. */
function pagerEntry(): string {
  const bundled = (globalThis as { [key: symbol]: unknown })[Symbol.for("faultline.pagerEntry")];
  return typeof bundled === "string" ? bundled : join(__dirname, "worker.js");
}

/** Where the pager runs. */
interface Seat {
  deliver(command: Command): void;
  /** After the answer to the command `stop`. */
  end(): Promise<void>;
  /** Answers faults until nothing is missing; only where the pager is in this thread. */
  serve?(): void;
}

export class PagerThread {
  private nextId = 1;
  private ended = false;
  private readonly waiting = new Map<number, Waiting>();
  private readonly finished = new Map<number, SessionReport>();
  private readonly listeners = new Map<number, SessionListener>();
  private seat: Seat | undefined;

  private constructor(private readonly warn: (line: string) => void) {}

  /** A pager in this thread. Its tasks wait at their first missing page until serve() is called. */
  static here(options: Partial<PagerOptions> = {}, warn: (line: string) => void = () => undefined): PagerThread {
    const { PagerService } = require("./service") as typeof import("./service");
    const thread = new PagerThread(warn);
    const all = { ...defaultPagerOptions, ...options };
    const service = new PagerService(all, (reply) => thread.receive(reply), false);
    thread.seat = {
      deliver(command) {
        service.execute(command);
        // Nobody else would do the work that the answer waits for.
        while (thread.waiting.has(command.id)) service.step();
      },
      async end() {
        thread.ended = true;
        service.close();
      },
      serve() {
        try {
          while (service.busy) service.step();
        } catch (error) {
          // A bug must not become zeros in the restored tasks.
          service.abandon();
          throw error;
        }
      },
    };
    return thread;
  }

  /** Answers faults until nothing is missing in any task, and does nothing else meanwhile; see here(). */
  serve(): void {
    this.seat?.serve?.();
  }

  /** Starts the thread; resolves when it waits for work. `warn` is told what does no harm: a hint that is damaged. */
  static async start(
    options: Partial<PagerOptions> = {},
    warn: (line: string) => void = () => undefined,
  ): Promise<PagerThread> {
    const { setFlagsFromString } = require("node:v8") as typeof import("node:v8");
    const { Worker } = require("node:worker_threads") as typeof import("node:worker_threads");
    // V8 begins with a nursery of 1 MiB, whose collections would come every few hundred faults and take a millisecond.
    setFlagsFromString("--min-semi-space-size=8");
    // A thread that is ended while V8 compiles for it in the background aborts the process (Node 20: the isolate is taken
    // off the platform before its compile jobs are waited for), so this one compiles by itself.
    setFlagsFromString("--no-concurrent-recompilation");
    const worker = new Worker(pagerEntry(), { workerData: { ...defaultPagerOptions, ...options } });
    const thread = new PagerThread(warn);
    const gone = new Promise<void>((done) => {
      worker.once("exit", () => {
        thread.ended = true;
        thread.failAll(new FaultlineError("PEER", "the pager thread has ended"));
        done();
      });
    });
    return new Promise((resolve, reject) => {
      worker.on("message", (reply: Reply) => {
        if (reply.kind !== "ready") {
          thread.receive(reply);
          return;
        }
        setFlagsFromString("--concurrent-recompilation");
        thread.seat = {
          deliver(command) {
            worker.postMessage(command);
            native.eventfdSignal(reply.control);
          },
          async end() {
            await worker.terminate();
            await gone;
          },
        };
        resolve(thread);
      });
      worker.once("error", (error: Error) => {
        thread.failAll(error);
        reject(error);
      });
      worker.once("exit", () => reject(new FaultlineError("PEER", "the pager thread has ended")));
    });
  }

  /** Reads ahead what the sessions of a directory will need, and keeps it until the thread ends. */
  async prepare(imagesDir: string): Promise<void> {
    await this.ask({ id: this.nextId++, kind: "prepare", imagesDir });
  }

  /** Opens the image directory for a restore. Contexts are added to it by its number. */
  async openSession(request: SessionRequest): Promise<void> {
    await this.ask({ id: this.nextId++, kind: "openSession", request });
  }

  /** Resolves when faults of the context are being answered. The pager closes its descriptors, also on failure. */
  async addContext(request: ContextRequest): Promise<void> {
    await this.ask({ id: this.nextId++, kind: "addContext", request });
  }

  /** Resolves when the session's working sets are in, or have taken long enough (WORKING_SET_HOLD_US). */
  async awaitWorkingSets(sessionId: number): Promise<void> {
    await this.ask({ id: this.nextId++, kind: "awaitWorkingSets", sessionId });
  }

  /** Allows the background transfer of a session: all its contexts are known. (--stay-lazy still never drains.) */
  async startDrain(sessionId: number): Promise<void> {
    await this.ask({ id: this.nextId++, kind: "startDrain", sessionId });
  }

  /**
   * Ends a session. With pages missing the error policy is applied to its tasks; `error` says why, for the report.
   */
  async closeSession(sessionId: number, error?: string): Promise<void> {
    const why = error === undefined ? {} : { error };
    await this.ask({ id: this.nextId++, kind: "closeSession", sessionId, ...why });
  }

  /** Resolves when nothing is missing in any context of the session, or it failed. */
  sessionDone(sessionId: number): Promise<SessionReport> {
    const report = this.finished.get(sessionId);
    if (report !== undefined) return Promise.resolve(report);
    if (this.ended) return Promise.reject(new FaultlineError("PEER", "the pager thread has ended"));
    return new Promise((resolve, reject) => this.listeners.set(sessionId, { resolve, reject }));
  }

  async report(): Promise<PagerReport> {
    const report = await this.ask({ id: this.nextId++, kind: "report" });
    if (report === undefined) throw new Error("the pager answered without a report");
    return report;
  }

  /** Applies the error policy to whatever is still missing, ends the thread, and gives the last report. */
  async stop(): Promise<PagerReport> {
    const report = await this.ask({ id: this.nextId++, kind: "stop" });
    await this.seat?.end();
    if (report === undefined) throw new Error("the pager answered without a report");
    return report;
  }

  private ask(command: Command): Promise<PagerReport | undefined> {
    if (this.ended) return Promise.reject(new FaultlineError("PEER", "the pager thread has ended"));
    return new Promise((resolve, reject) => {
      this.waiting.set(command.id, { resolve, reject });
      this.seat?.deliver(command);
    });
  }

  private receive(reply: Reply): void {
    if (reply.kind === "sessionDone") {
      this.finished.set(reply.report.sessionId, reply.report);
      this.listeners.get(reply.report.sessionId)?.resolve(reply.report);
      this.listeners.delete(reply.report.sessionId);
      return;
    }
    if (reply.kind === "warning") {
      this.warn(reply.line);
      return;
    }
    if (reply.kind === "recorded") {
      this.save(reply.imagesDir, reply.imagePid, reply.pages);
      return;
    }
    if (reply.kind === "ready") return;
    const waiting = this.waiting.get(reply.id);
    this.waiting.delete(reply.id);
    if (reply.kind === "failed") waiting?.reject(revive(reply.error));
    else waiting?.resolve(reply.kind === "answer" ? reply.report : undefined);
  }

  /** Written here and not in the pager's thread, where a slow disk would keep faults waiting. */
  private save(imagesDir: string, imagePid: number, pages: Float64Array): void {
    const { recordWorkingSet } = require("../images/workingSet") as typeof import("../images/workingSet");
    try {
      recordWorkingSet(imagesDir, imagePid, pages);
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
      this.warn(`the working set of task ${imagePid} was not written: ${error.line()}`);
    }
  }

  private failAll(error: Error): void {
    for (const waiting of this.waiting.values()) waiting.reject(error);
    this.waiting.clear();
    for (const listener of this.listeners.values()) listener.reject(error);
    this.listeners.clear();
  }
}

function revive(error: ErrorData): Error {
  if (error.code === "") return new Error(error.message);
  return new FaultlineError(error.code as FaultlineError["code"], error.message, error.details);
}
