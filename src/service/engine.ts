// What the service asks of the engine below it: dump and restore with the contract's requests. The real one is
// localEngine.ts; nothing here runs.
import type { DumpResult } from "../task/dump/dump";
import type { Compression } from "../task/dump/pageImages";
import type { RunningTree } from "./restores";

/** The contract's DumpRequest. */
export interface DumpRequest {
  readonly pid: number;
  readonly directory: string;
  readonly leaveRunning?: boolean;
  readonly leaveStopped?: boolean;
  readonly compress?: Compression;
  readonly shellJob?: boolean;
  readonly tcpEstablished?: boolean;
  readonly tcpClose?: boolean;
  readonly fileLocks?: boolean;
  readonly linkRemap?: boolean;
  readonly ghostLimitBytes?: number;
}

/** The contract's Dump. Times in microseconds. */
export type DumpView = Pick<
  DumpResult,
  | "pid"
  | "directory"
  | "taskCount"
  | "threadCount"
  | "pageCount"
  | "pageFileBytes"
  | "frozenUs"
  | "totalUs"
  | "warnings"
>;

/** The contract's RestoreRequest. */
export interface RestoreRequest {
  readonly directory: string;
  readonly eager?: boolean;
  readonly force?: boolean;
  readonly shellJob?: boolean;
  readonly record?: boolean;
  readonly workingSet?: boolean;
}

export interface Engine {
  dump(request: DumpRequest, signal: AbortSignal): Promise<DumpView>;
  restore(request: RestoreRequest, signal: AbortSignal): Promise<RunningTree>;
  /** The pager's counters in Prometheus text. */
  metricsText(): Promise<string>;
  close(): Promise<void>;
}
