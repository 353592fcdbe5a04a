// The pager's thread: a pager on the real kernel, the image directories it serves from, and the commands of the thread
// that started it. It never returns to Node's event loop while it serves: commands are fetched when the wait says so.
import { setPriority } from "node:os";
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { FaultlineError } from "../errors";
import { readWorkingSet } from "../images/workingSet";
import { PAGER_NICE, WORKING_SET_HOLD_US } from "../limits";
import { native } from "../native";
import { Space } from "../space/space";
import { KernelUffd } from "../uffd/kernelUffd";
import { KernelWaiter } from "../uffd/kernelWaiter";
import type { Context } from "./context";
import { openSource } from "./imageSource";
import { OpenImages } from "./openImages";
import { findOwners } from "./owners";
import { Pager, type PagerHooks } from "./pager";
import type { Command, ErrorData, Reply } from "./pagerThread";
import type { ContextRequest, PagerOptions } from "./requests";
import { Trace } from "./trace";
import { WarmUp } from "./warmUp";
import { WatchdogLink } from "./watchdog";

const port = parentPort!;
const options = workerData as PagerOptions;
const waiter = new KernelWaiter(options.spinUs);
const trace = options.traceFile === undefined ? undefined : new Trace(options.traceFile, waiter.nowUs());
const watchdog = options.watchdogSocket === undefined ? undefined : new WatchdogLink(options.watchdogSocket);
const images = new OpenImages();
/** Sessions whose tasks get their recorded working sets. */
const useWorkingSets = new Set<number>();

/** Restores whose tasks do not run before their working sets are in, at the longest until a time. */
let held: { readonly id: number; readonly sessionId: number; readonly untilUs: number }[] = [];

function send(reply: Reply): void {
  port.postMessage(reply);
}

function hooks(): PagerHooks {
  const done: PagerHooks = {
    forked: ({ uffd }) => watchdog?.add(uffd.id, uffd.id, 0),
    contextEnded: ({ uffd }) => watchdog?.drop(uffd.id),
    sessionDone(report) {
      images.closeSession(report.sessionId);
      trace?.flush();
      useWorkingSets.delete(report.sessionId);
      send({ kind: "sessionDone", report });
    },
    recorded(recording) {
      const { imagesDir, imagePid } = recording;
      send({ kind: "recorded", imagesDir, imagePid, pages: recording.result() });
    },
    findOwners,
    heldElsewhere: watchdog !== undefined,
    readAhead(fd, offset, bytes) {
      native.readAhead(fd, offset, bytes);
    },
  };
  if (trace === undefined) return done;
  return { ...done, trace: (...entry) => trace.add(...entry) };
}

const pager = new Pager(waiter, options, hooks(), (pidfd) => {
  native.closeDescriptor(pidfd);
});

function addContext(request: ContextRequest): void {
  try {
    const directory = images.directory(request.sessionId);
    const { imagePid, pid, pidfd, sessionId } = request;
    const names = request.sources ?? [{ kind: "task" as const, id: imagePid }];
    const sources = names.map((name) => openSource(directory, name));
    const space = Space.from(request.layout ?? images.layout(sessionId, imagePid));
    const uffd = KernelUffd.adopt(request.uffd);
    const context = pager.addContext(sessionId, { uffd, space, sources, imagePid, pid, pidfd });
    if (useWorkingSets.has(sessionId)) useWorkingSet(context, directory.path, request.registered === true);
  } catch (error) {
    refuse(request);
    throw error;
  }
}

/** A working set that cannot be read is only worth a warning. */
function useWorkingSet(context: Context, imagesDir: string, early: boolean): void {
  try {
    const set = readWorkingSet(imagesDir, context.imagePid);
    if (set === undefined) return;
    const ranges = new Float64Array(set.ranges.length * 2);
    set.ranges.forEach(({ firstPage, pageCount }, i) => {
      ranges.set([firstPage, pageCount], i * 2);
    });
    pager.useWorkingSet(context, { ranges, early });
  } catch (error) {
    if (!(error instanceof FaultlineError)) throw error;
    send({ kind: "warning", line: `the working set is not used: ${error.line()}` });
  }
}

/**
 * A context that cannot be served must not live on with zeros: its task is killed before the descriptor is closed. Where
 * nobody knows the task the descriptor stays open, and the task parked; the watchdog's copy outlives this process.
 */
function refuse(request: ContextRequest): void {
  if (request.pidfd < 0) return;
  native.pidfdSignal(request.pidfd, 9);
  native.closeDescriptor(request.pidfd);
  watchdog?.drop(request.uffd);
  native.closeDescriptor(request.uffd);
}

function execute(command: Command): boolean {
  const { id } = command;
  switch (command.kind) {
    case "openSession": {
      const { sessionId, imagesDir, record, workingSet } = command.request;
      // The session first: where the directory cannot be opened, closeSession still has something to end.
      pager.openSession(sessionId, imagesDir, record);
      if (record !== true && workingSet !== false) useWorkingSets.add(sessionId);
      images.openSession(sessionId, imagesDir);
      break;
    }
    case "prepare":
      images.prepare(command.imagesDir);
      break;
    case "addContext":
      addContext(command.request);
      break;
    case "awaitWorkingSets":
      held.push({ id, sessionId: command.sessionId, untilUs: waiter.nowUs() + WORKING_SET_HOLD_US });
      return true;
    case "startDrain":
      pager.startDrain(command.sessionId);
      break;
    case "closeSession":
      pager.closeSession(command.sessionId, command.error);
      break;
    case "report":
      send({ kind: "answer", id, report: pager.report(native.threadCpuUs()) });
      return true;
    case "stop":
      send({ kind: "answer", id, report: { ...pager.stop(), cpuUs: native.threadCpuUs() } });
      return false;
  }
  send({ kind: "answer", id });
  return true;
}

function errorData(error: unknown): ErrorData {
  if (error instanceof FaultlineError) {
    const { cause: _cause, ...details } = error.details;
    return { code: error.code, message: error.message, details };
  }
  return { code: "", message: error instanceof Error ? (error.stack ?? error.message) : String(error), details: {} };
}

/** False when the thread is to end. */
function executeAll(): boolean {
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
    const command = next.message as Command;
    try {
      if (!execute(command)) return false;
    } catch (error) {
      send({ kind: "failed", id: command.id, error: errorData(error) });
    }
  }
  return true;
}

function letHeldGo(): void {
  const nowUs = waiter.nowUs();
  held = held.filter(({ id, sessionId, untilUs }) => {
    if (nowUs < untilUs && pager.hasEarlyWork(sessionId)) return true;
    send({ kind: "answer", id });
    return false;
  });
}

/** Until the first context comes. */
function warmUp(): boolean {
  const made = new WarmUp();
  let goOn = true;
  while (goOn && !pager.busy && made.step()) {
    if (pager.step(0).control) goOn = executeAll();
  }
  return goOn;
}

function serve(): void {
  if (!warmUp()) return;
  for (;;) {
    if (held.length > 0) letHeldGo();
    const { control } = pager.step();
    if (control && !executeAll()) return;
  }
}

/** Threads wait on this one: it goes before others where the system allows (of a thread, in Linux: setpriority(2)). */
function raisePriority(): void {
  try {
    setPriority(PAGER_NICE);
  } catch {
    // Without CAP_SYS_NICE it stays as it is.
  }
}

function main(): void {
  raisePriority();
  send({ kind: "ready", control: waiter.controlDescriptor });
  try {
    serve();
  } catch (error) {
    // A bug must not become zeros in the restored tasks: the policy first, then the report of the bug.
    pager.stop();
    throw error;
  }
  trace?.close();
  images.close();
  // The thread is ended from outside (worker.terminate) and the control descriptor stays open until then. A worker that
  // runs out of things to do waits for V8's background compiler first, which may itself wait for this thread to collect
  // garbage: Node 20 then hangs for ever.
  port.on("message", () => undefined);
}

main();
