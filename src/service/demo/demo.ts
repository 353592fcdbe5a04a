// The demo: a server full of documents is frozen under load, brought back lazily, and checked. The order of the steps,
// the facts measured at each, and that nothing is left behind whatever happens. Prints nothing: see cmd/demo.ts.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { FaultlineError } from "../../errors";
import { PAGE_BYTES } from "../../limits";
import { dump } from "../../task/dump/dump";
import { machineFindings } from "../../task/dump/machine";
import { type RestoreResult, Restorer } from "../../task/restore/restore";
import { Load } from "./load";
import { ask, ServerProcess, type ServerStatus } from "./serverProcess";
import { readTouched, type Touched } from "./touched";

export interface DemoOptions {
  /** Bytes of documents that the server holds. */
  readonly dataBytes: number;
  /** Where the images stay afterwards: a directory that does not exist or is empty. Default: they go. */
  readonly keep?: string | undefined;
  /** Most cells of the picture. */
  readonly cellsMax: number;
  /** Aborting ends the demo at the next step with ABORTED; everything is cleaned up first. */
  readonly signal: AbortSignal;
  readonly onEvent?: (event: DemoEvent) => void;
}

export interface ServerFacts {
  readonly pid: number;
  readonly port: number;
  readonly documents: number;
  readonly dataBytes: number;
  readonly buildMs: number;
  /** SHA-256 over all documents, as the server said before it was frozen. */
  readonly digest: string;
}

export interface LoadFacts {
  readonly clients: number;
  readonly answered: number;
  readonly answersPerSecond: number;
}

export interface FreezeFacts {
  readonly frozenMs: number;
  /** The part of `frozenMs` until every thread stood. */
  readonly stoppingMs: number;
  readonly threads: number;
  readonly pages: number;
  readonly zeroPages: number;
  readonly rawBytes: number;
  readonly packedBytes: number;
  /** Compressing and writing, after everything was read out. */
  readonly writeMs: number;
  /** Requests whose connection ended with the frozen process; all of them were asked again. */
  readonly brokenRequests: number;
}

export interface RestoreFacts {
  /** From the call of restore, in this process, until the program's threads ran. */
  readonly firstInstructionMs: number;
  /** Until a client had the first answer, and it was right. */
  readonly firstAnswerMs: number;
  /** Pages that were read before the program ran, and that were left for later. */
  readonly eagerPages: number;
  readonly missingPages: number;
}

export interface DrainFacts {
  /** From the call of restore until no page was missing. */
  readonly elapsedMs: number;
  readonly faults: number;
  readonly faultP50Us: number;
  readonly faultP99Us: number;
  /** The program's touches of missing pages up to its first answer. */
  readonly faultsBeforeAnswer: number;
  /** Pages brought because they, or one beside them in the same block, were touched; and in the background. */
  readonly demandPages: number;
  readonly backgroundPages: number;
  readonly touched: Touched;
}

export interface CheckFacts {
  /** Answers to clients after the restore, and those of all that were not the document asked for. */
  readonly answeredAfter: number;
  readonly wrongAnswers: number;
  /** The longest that a client waited for an answer: freeze, write and restore lie in it. */
  readonly slowestAnswerMs: number;
  readonly digest: string;
  readonly digestRight: boolean;
  /** Whether the server kept its pid, its start time and its count of answers. */
  readonly sameProcess: boolean;
}

export interface DemoFacts {
  readonly server: ServerFacts;
  readonly load: LoadFacts;
  readonly freeze: FreezeFacts;
  readonly restore: RestoreFacts;
  readonly drain: DrainFacts;
  readonly check: CheckFacts;
  /** The kept image directory. */
  readonly images?: string;
}

export type DemoStep = Exclude<keyof DemoFacts, "images">;

/** A step begins, its facts are known, or the drain has come so far. */
export type DemoEvent =
  | { readonly kind: "begin"; readonly step: DemoStep }
  | { readonly kind: "done"; readonly step: DemoStep; readonly facts: Partial<DemoFacts> }
  | { readonly kind: "pages"; readonly missingPages: number; readonly totalPages: number };

const clientCount = 8;
/** How long the load runs before the freeze, and at least after the restore. */
const loadMs = 1000;
/** No restored server takes longer for its first answer unless it hangs. */
const firstAnswerLimitMs = 60_000;
const pollMs = 5;
/** How long the clients have to notice that their connections broke. */
const noticeMs = 30;

/** Throws a FaultlineError; ABORTED where the signal came. Nothing is left behind either way. */
export async function runDemo(options: DemoOptions): Promise<DemoFacts> {
  checkBefore(options);
  const demo = new Demo(options);
  try {
    return await demo.run();
  } catch (error) {
    if (options.signal.aborted) throw new FaultlineError("ABORTED", "the demo was interrupted", { cause: error });
    throw error;
  } finally {
    await demo.cleanUp();
  }
}

/** What would make the demo fail at its end is said at its beginning. */
function checkBefore({ keep }: DemoOptions): void {
  const missing = machineFindings().find((finding) => finding.required && !finding.ok);
  if (missing !== undefined) {
    throw new FaultlineError("UNSUPPORTED", `this machine lacks ${missing.name}: ${missing.text}`, {
      advice: "`faultline check` tells all that is needed",
    });
  }
  if (keep !== undefined && existsSync(keep)) {
    throw new FaultlineError("BUSY", "the directory to keep the images in exists already", {
      file: keep,
      advice: "name one that does not",
    });
  }
}

const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** What exists while the demo runs, and its steps in their order. */
class Demo {
  private readonly folder = mkdtempSync(join(tmpdir(), "faultline-demo-"));
  private readonly traceFile = join(this.folder, "trace.jsonl");
  private readonly images: string;
  private readonly restorer = new Restorer({ traceFile: this.traceFile }).warmUp();
  private process: ServerProcess | undefined;
  private load: Load | undefined;
  private restored: RestoreResult | undefined;
  private restoreStartMs = 0;
  private complete = false;

  constructor(private readonly options: DemoOptions) {
    this.images = options.keep === undefined ? join(this.folder, "images") : resolve(options.keep);
  }

  async run(): Promise<DemoFacts> {
    const server = await this.step("server", () => this.startServer());
    const load = await this.step("load", () => this.startLoad(server));
    const before = await this.status(server);
    const freeze = await this.step("freeze", () => this.freeze(server));
    const restore = await this.step("restore", () => this.restore());
    const drain = await this.step("drain", () => this.drain(server, restore));
    const check = await this.step("check", () => this.check(server, before));
    this.complete = true;
    const facts = { server, load, freeze, restore, drain, check };
    return this.options.keep === undefined ? facts : { ...facts, images: this.images };
  }

  /** The steps watch the signal themselves, so that nothing is under way any more when the cleanup begins. */
  private async step<T>(step: DemoStep, work: () => Promise<T>): Promise<T> {
    this.options.signal.throwIfAborted();
    this.options.onEvent?.({ kind: "begin", step });
    const facts = await work();
    this.options.onEvent?.({ kind: "done", step, facts: { [step]: facts } });
    return facts;
  }

  private async startServer(): Promise<ServerFacts> {
    const { signal, keep, dataBytes } = this.options;
    const startMs = nowMs();
    this.process = ServerProcess.spawn(
      join(this.folder, "server.log"),
      dataBytes,
      keep === undefined ? process.pid : 0,
    );
    const { port, documents, bytes } = await this.process.ready(signal);
    const buildMs = nowMs() - startMs;
    const digest = (await ask(port, "/digest", signal)).body;
    return { pid: this.process.pid, port, documents, dataBytes: bytes, buildMs, digest };
  }

  private async startLoad({ port, documents }: ServerFacts): Promise<LoadFacts> {
    this.load = new Load({ port, documents, clients: clientCount });
    const from = (await this.load.counts()).answered;
    const startMs = nowMs();
    await pause(loadMs, undefined, { signal: this.options.signal });
    const { answered } = await this.load.counts();
    const answersPerSecond = ((answered - from) * 1000) / (nowMs() - startMs);
    return { clients: clientCount, answered, answersPerSecond };
  }

  private async status({ port }: ServerFacts): Promise<ServerStatus> {
    return JSON.parse((await ask(port, "/status", this.options.signal)).body) as ServerStatus;
  }

  private async freeze({ pid }: ServerFacts): Promise<FreezeFacts> {
    const { signal } = this.options;
    const result = await dump({ pid, directory: this.images, tcpClose: true, signal });
    await this.process?.gone();
    await pause(noticeMs, undefined, { signal });
    const { broken } = await present(this.load).watch();
    return {
      frozenMs: result.frozenUs / 1000,
      stoppingMs: result.freezingUs / 1000,
      threads: result.threadCount,
      pages: result.pageCount,
      zeroPages: result.zeroPageCount,
      rawBytes: result.pageCount * PAGE_BYTES,
      packedBytes: result.pageFileBytes,
      writeMs: result.writeUs / 1000,
      brokenRequests: broken,
    };
  }

  private async restore(): Promise<RestoreFacts> {
    const { signal } = this.options;
    this.restoreStartMs = nowMs();
    this.restored = await this.restorer.restore({
      imagesDir: this.images,
      tcpClose: true,
      signal,
      onProgress: (progress) => {
        if (progress.phase === "pages") this.sayPages(progress.missingPages, progress.totalPages);
      },
    });
    this.restored.pages.catch(() => undefined); // the drain asks
    const { eagerPages, missingPages, times } = this.restored;
    const firstAnswerMs = (await this.firstAnswer()) - this.restoreStartMs;
    return { firstInstructionMs: times.totalMs, firstAnswerMs, eagerPages, missingPages };
  }

  private sayPages(missingPages: number, totalPages: number): void {
    this.options.onEvent?.({ kind: "pages", missingPages, totalPages });
  }

  /** When the first right answer came, on the clock of nowMs. */
  private async firstAnswer(): Promise<number> {
    const load = present(this.load);
    const end = nowMs() + firstAnswerLimitMs;
    while (nowMs() < end) {
      const { firstAnswerNs } = await load.counts();
      if (firstAnswerNs !== undefined) return Number(firstAnswerNs) / 1e6;
      await pause(pollMs, undefined, { signal: this.options.signal });
    }
    throw new FaultlineError("TIMEOUT", `the restored server gave no right answer within ${firstAnswerLimitMs} ms`);
  }

  private async drain(server: ServerFacts, restore: RestoreFacts): Promise<DrainFacts> {
    const report = present(await untilAborted(present(this.restored).pages, this.options.signal));
    const elapsedMs = nowMs() - this.restoreStartMs;
    if (report.state === "failed") {
      throw new FaultlineError("SYSTEM", `pages could not be brought back: ${report.error ?? "no reason known"}`);
    }
    const { touched, faultsUs } = readTouched(this.images, server.pid, this.traceFile, this.options.cellsMax);
    const answerUs = (restore.firstAnswerMs - restore.firstInstructionMs) * 1000;
    return {
      elapsedMs,
      faults: report.faults,
      faultP50Us: report.latency.p50Us,
      faultP99Us: report.latency.p99Us,
      faultsBeforeAnswer: faultsUs.filter((us) => us <= answerUs).length,
      demandPages: report.faultedPages,
      backgroundPages: report.drainedPages,
      touched,
    };
  }

  private async check(server: ServerFacts, before: ServerStatus): Promise<CheckFacts> {
    const { signal } = this.options;
    const load = present(this.load);
    await pause(loadMs, undefined, { signal });
    const total = await load.stop();
    const digest = (await ask(server.port, "/digest", signal)).body;
    const after = await this.status(server);
    return {
      answeredAfter: after.answered - before.answered,
      wrongAnswers: total.wrong,
      slowestAnswerMs: total.slowestMs,
      digest,
      digestRight: digest === server.digest,
      sameProcess:
        present(this.restored).pid === server.pid &&
        after.startedAt === before.startedAt &&
        after.answered >= before.answered,
    };
  }

  /** Everything goes, in this order, and also when one of them fails: clients, processes, pager, files. */
  async cleanUp(): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (work: () => unknown): Promise<void> => {
      try {
        await work();
      } catch (error) {
        failures.push(error);
      }
    };
    await attempt(() => this.load?.end());
    await attempt(() => endRestored(this.restored));
    await attempt(() => this.process?.end());
    await attempt(() => this.restorer.close());
    await attempt(() => rmSync(this.folder, { recursive: true, force: true }));
    if (!this.complete) await attempt(() => rmSync(this.images, { recursive: true, force: true }));
    if (failures.length > 0) throw failures[0];
  }
}

async function endRestored(restored: RestoreResult | undefined): Promise<void> {
  if (restored === undefined) return;
  const exit = restored.waitExit();
  try {
    process.kill(restored.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  await exit;
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a step of the demo was left out");
  return value;
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.finally(() => signal.removeEventListener("abort", stop)).then(resolve, reject);
  });
}
