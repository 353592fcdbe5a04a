// The lazy-pages daemon: each restore that connects to the socket becomes a session of the pager. No output of its own.
import { FaultlineError } from "../errors";
import { native } from "../native";
import { PagerThread } from "../pager/pagerThread";
import type { PagerOptions, PagerReport, SessionReport } from "../pager/requests";
import { Watchdog } from "../pager/watchdog";
import { type LazyRestore, LazySocket } from "./lazySocket";
import { findPeerTask } from "./peerTask";

export interface LazyDaemonOptions {
  readonly imagesDir: string;
  readonly workDir: string;
  readonly pager: Partial<PagerOptions>;
  /** Serve any number of restores, one after another or at once, until stopped. */
  readonly keep: boolean;
  /** Longest wait for a peer, milliseconds; Infinity: for ever. */
  readonly timeoutMs: number;
  /** Note which pages each restore touches, for the next one's working set. */
  readonly record?: boolean | undefined;
  /** Install recorded working sets ahead of the touches. Default: yes. */
  readonly workingSet?: boolean | undefined;
  /** Told of what does no harm, in one line: a working set that is damaged. */
  readonly warn?: ((line: string) => void) | undefined;
  /** What happens, for a log. */
  readonly log?: ((line: string) => void) | undefined;
  readonly sessionEnded?: ((report: SessionReport) => void) | undefined;
}

export interface LazyDaemonResult {
  readonly sessions: readonly SessionReport[];
  readonly report: PagerReport;
  /** Every page of every session was served, or its task has exited. */
  readonly ok: boolean;
}

export class LazyDaemon {
  private nextSession = 1;
  private stopped = false;
  private readonly running = new Set<Promise<void>>();
  private readonly sessions: SessionReport[] = [];

  private constructor(
    private readonly options: LazyDaemonOptions,
    private readonly thread: PagerThread,
    private readonly socket: LazySocket,
    private readonly watchdog: Watchdog,
  ) {}

  /** Listens when it resolves. */
  static async start(options: LazyDaemonOptions): Promise<LazyDaemon> {
    const watchdog = Watchdog.start(options.pager.onError ?? "kill");
    const thread = await PagerThread.start({ ...options.pager, watchdogSocket: watchdog.socket }, options.warn);
    try {
      await thread.prepare(options.imagesDir);
      let daemon: LazyDaemon | undefined;
      const socket = LazySocket.listen({
        workDir: options.workDir,
        connectTimeoutMs: options.keep ? Number.POSITIVE_INFINITY : options.timeoutMs,
        messageTimeoutMs: options.timeoutMs,
        once: !options.keep,
        connected: (peerPid) => daemon!.restore(peerPid),
      });
      daemon = new LazyDaemon(options, thread, socket, watchdog);
      return daemon;
    } catch (error) {
      await thread.stop();
      watchdog.close();
      throw error;
    }
  }

  report(): Promise<PagerReport> {
    return this.thread.report();
  }

  /** Ends serve(): what is still missing is dealt with by the error policy. */
  stop(): void {
    this.stopped = true;
    this.socket.stop();
  }

  /** Serves until everything is done (without `keep`) or until stop(). Throws where no restore came. */
  async serve(): Promise<LazyDaemonResult> {
    try {
      await this.socket.serve();
      while (!this.stopped && this.running.size > 0) await Promise.race([...this.running, this.stopSignal()]);
    } catch (error) {
      await this.end();
      throw error;
    }
    const report = await this.end();
    await Promise.all(this.running);
    const ok = this.sessions.length > 0 && this.sessions.every((session) => session.state === "done");
    return { sessions: this.sessions, report, ok };
  }

  private async end(): Promise<PagerReport> {
    const report = await this.thread.stop();
    this.watchdog.close();
    return report;
  }

  /** Resolves soon after stop(), at latest after 100 ms without it: the caller looks again. */
  private stopSignal(): Promise<void> {
    return new Promise((done) => {
      const timer = setTimeout(done, 100);
      timer.unref();
    });
  }

  private restore(peerPid: number): LazyRestore {
    const { thread, options } = this;
    const { imagesDir, record, workingSet } = options;
    const watchdog = this.watchdog.link();
    const sessionId = this.nextSession++;
    const log = (line: string): void => options.log?.(`session ${sessionId}: ${line}`);
    let failure: FaultlineError | undefined;
    const opened = thread.openSession({ sessionId, imagesDir, record, workingSet });
    opened.catch(() => undefined); // reported by the first task that waits for it
    log(`a restore connected${peerPid > 0 ? ` (pid ${peerPid})` : ""}`);
    this.watch(sessionId);
    return {
      async task(virtualPid, uffd) {
        const pid = findPeerTask(peerPid, virtualPid);
        const pidfd = pid > 0 ? native.pidfdOpen(pid) : -1;
        log(
          `task ${virtualPid}${pid > 0 ? "" : ", whose process was not found: its exit is seen only by the kernel's ESRCH"}`,
        );
        // First of all: whatever fails from here on, the task meets the policy and not zeros.
        watchdog.add(uffd, uffd, Math.max(0, pid));
        try {
          await opened;
          await thread.addContext({ sessionId, uffd, imagePid: virtualPid, pid, pidfd: Math.max(-1, pidfd) });
        } catch (error) {
          if (!(error instanceof FaultlineError)) throw error;
          failure ??= error;
        }
      },
      deadTask: (virtualPid) => log(`task ${virtualPid} is dead: nothing to serve`),
      async finished() {
        log("all tasks are there: the transfer begins");
        if (failure === undefined) await thread.startDrain(sessionId);
        else await thread.closeSession(sessionId, failure.line());
      },
      async failed(error) {
        // Not logged here: it is the error of the session, which is told when that has ended.
        await opened.catch(() => undefined);
        await thread.closeSession(sessionId, error.line());
      },
    };
  }

  private watch(sessionId: number): void {
    const done = this.thread.sessionDone(sessionId).then((report) => {
      this.sessions.push(report);
      this.running.delete(done);
      this.options.sessionEnded?.(report);
    });
    this.running.add(done);
  }
}
