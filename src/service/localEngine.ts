// The service's engine on this machine: one resident Restorer for all restores, dump() for dumps.

import { FaultlineError } from "../errors";
import { native } from "../native";
import type { ErrorPolicy } from "../pager/requests";
import { dump } from "../task/dump/dump";
import { treeOf } from "../task/dump/freeze";
import { type RestoreResult, Restorer } from "../task/restore/restore";
import { metricsText } from "../wire/metrics";
import type { DumpRequest, DumpView, Engine, RestoreRequest } from "./engine";
import type { ExitStatus, RunningTree } from "./restores";

/** What holds for every restore of one service: they share a pager. */
export interface LocalEngineOptions {
  readonly onError?: ErrorPolicy | undefined;
  readonly stayLazy?: boolean | undefined;
  /** Bytes a second over all restores. */
  readonly drainRateBytes?: number | undefined;
  /** Directories that will be restored: the first restore is quicker for it (Restorer.warmUp). */
  readonly warm?: readonly string[] | undefined;
  /** Told in one line of what does no harm: a working set that is damaged. */
  readonly onWarning?: ((line: string) => void) | undefined;
}

export class LocalEngine implements Engine {
  readonly #restorer: Restorer;

  constructor({ warm = [], onWarning, ...options }: LocalEngineOptions = {}) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#restorer = new Restorer(Object.fromEntries(given), onWarning).warmUp(warm);
  }

  async dump(request: DumpRequest, signal: AbortSignal): Promise<DumpView> {
    const { leaveRunning, leaveStopped, ...options } = request;
    const after = leaveRunning ? "run" : leaveStopped ? "stop" : "kill";
    const result = await dump({ ...options, after, signal });
    const { pid, directory, taskCount, threadCount, pageCount, pageFileBytes, frozenUs, totalUs, warnings } = result;
    return { pid, directory, taskCount, threadCount, pageCount, pageFileBytes, frozenUs, totalUs, warnings };
  }

  async restore(request: RestoreRequest, signal: AbortSignal): Promise<RunningTree> {
    const { directory, ...options } = request;
    const result = await this.#restorer.restore({ imagesDir: directory, ...options, signal });
    return runningTree(result, (pid) => this.#missingPages(pid, result));
  }

  async metricsText(): Promise<string> {
    const pager = await this.#restorer.pager();
    return pager === undefined ? "" : metricsText(await pager.report());
  }

  close(): Promise<void> {
    return this.#restorer.close();
  }

  async #missingPages(pid: number, result: RestoreResult): Promise<number> {
    const pager = await this.#restorer.pager();
    if (pager === undefined || !result.lazy) return 0;
    const { sessions } = await pager.report();
    const session = sessions.findLast((one) => one.contexts.some((context) => context.pid === pid));
    return session?.missingPages ?? 0;
  }
}

function runningTree(result: RestoreResult, missingPages: (pid: number) => Promise<number>): RunningTree {
  const { pid } = result;
  const exited = result.waitExit().then(exitOf);
  let gone = false;
  exited.then(() => {
    gone = true;
  });
  return {
    pid,
    restoreUs: Math.round(result.times.totalMs * 1000),
    pagesTotal: result.missingPages,
    missingPages: () => missingPages(pid),
    pagesDone: result.pages.then((report) => {
      if (report?.state === "failed") throw new FaultlineError("PEER", report.error ?? "pages could not be served");
    }),
    exited,
    kill: () => {
      if (!gone) killTree(pid);
    },
  };
}

/** The root is our child and not reaped yet, so its pid is its own; its descendants are found from it. */
function killTree(root: number): void {
  for (const pid of treeOf(root)) {
    const pidfd = native.pidfdOpen(pid);
    if (pidfd < 0) continue;
    native.pidfdSignal(pidfd, 9);
    native.closeDescriptor(pidfd);
  }
}

function exitOf(status: Awaited<ReturnType<RestoreResult["waitExit"]>>): ExitStatus {
  return status.kind === "exited" ? { code: status.code, signal: null } : { code: null, signal: status.signal };
}
