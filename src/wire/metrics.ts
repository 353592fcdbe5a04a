// The pager's counters as Prometheus text over HTTP, on a unix socket or a TCP address. Read on request; nothing runs
// between requests.

import { existsSync, lstatSync, unlinkSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { FaultlineError } from "../errors";
import type { PagerCounts, PagerReport } from "../pager/requests";

const counters: readonly (readonly [name: string, help: string, value: (counts: PagerCounts) => number])[] = [
  ["faults_total", "Page faults read", (counts) => counts.faults],
  ["deferred_faults_total", "Faults that met a changing layout", (counts) => counts.deferredFaults],
  ["faulted_pages_total", "Pages installed because touched, with their neighbours", (counts) => counts.faultedPages],
  ["drained_pages_total", "Pages installed in the background", (counts) => counts.drainedPages],
  ["prefetched_pages_total", "Pages installed as the recorded working set", (counts) => counts.prefetchedPages],
  ["zero_pages_total", "Zero pages installed", (counts) => counts.zeroPages],
  ["layout_events_total", "fork, mremap, madvise and munmap events", (counts) => counts.layoutEvents],
  ["forks_total", "fork events", (counts) => counts.forks],
];

function sum(report: PagerReport, value: (counts: PagerCounts) => number): number {
  return report.sessions.reduce((total, session) => total + value(session), 0);
}

/** The report in Prometheus' text format. */
export async function metricsText(report: PagerReport): Promise<string> {
  const { Counter, Gauge, Registry } = require("prom-client") as typeof import("prom-client");
  const registry = new Registry();
  const registers = [registry];
  for (const [name, help, value] of counters) {
    new Counter({ name: `faultline_${name}`, help, registers }).inc(sum(report, value));
  }
  const bytes = new Counter({
    name: "faultline_installed_bytes_total",
    help: "Bytes installed, by how the page file stores them",
    labelNames: ["source"],
    registers,
  });
  bytes.inc(
    { source: "raw" },
    sum(report, (counts) => counts.rawBytes),
  );
  bytes.inc(
    { source: "lz4" },
    sum(report, (counts) => counts.lz4Bytes),
  );
  new Counter({ name: "faultline_pager_cpu_seconds_total", help: "CPU time of the pager thread", registers }).inc(
    report.cpuUs / 1e6,
  );
  new Gauge({ name: "faultline_missing_pages", help: "Pages still missing", registers }).set(
    sum(report, (counts) => counts.missingPages),
  );
  new Gauge({ name: "faultline_sessions", help: "Restores being served", registers }).set(
    report.sessions.filter((session) => session.state === "serving" || session.state === "draining").length,
  );
  const blocked = new Counter({
    name: "faultline_thread_blocked_seconds_total",
    help: "Time threads were blocked on faults",
    labelNames: ["thread"],
    registers,
  });
  for (const [thread, us] of Object.entries(report.blockedUsByThread)) blocked.inc({ thread }, us / 1e6);
  return (await registry.metrics()) + latencyText(report);
}

/** prom-client counts observations itself; ours are counted where they happen, so the histogram is written out. */
function latencyText(report: PagerReport): string {
  const name = "faultline_fault_latency_seconds";
  const lines = [`# HELP ${name} From the read of a fault to its wake`, `# TYPE ${name} histogram`];
  let below = 0;
  report.latencyCounts.forEach((count, i) => {
    below += count;
    const bound = report.latencyBoundsUs[i];
    if (bound !== undefined && i % 4 === 3) lines.push(`${name}_bucket{le="${bound / 1e6}"} ${below}`);
  });
  lines.push(
    `${name}_bucket{le="+Inf"} ${below}`,
    `${name}_sum ${report.latencySumUs / 1e6}`,
    `${name}_count ${below}`,
  );
  return `${lines.join("\n")}\n`;
}

export interface MetricsServer {
  close(): Promise<void>;
}

/** Serves GET /metrics at "unix:PATH" or "HOST:PORT". Throws USAGE for another form, BUSY where the address is taken. */
export function serveMetrics(address: string, report: () => Promise<PagerReport>): Promise<MetricsServer> {
  const unix = /^unix:(.+)$/.exec(address)?.[1];
  const tcp = /^\[?([^\]]*)\]?:(\d{1,5})$/.exec(address);
  if (unix === undefined && tcp === null) {
    throw new FaultlineError("USAGE", `"${address}" is not unix:PATH or HOST:PORT`);
  }
  const server = createServer((request, response) => {
    if (request.url !== "/metrics" && request.url !== "/") {
      response.writeHead(404).end();
      return;
    }
    report()
      .then(metricsText)
      .then((text) => response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(text))
      .catch(() => response.writeHead(503).end());
  });
  if (unix !== undefined && existsSync(unix) && lstatSync(unix).isSocket()) unlinkSync(unix);
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const code = cause.code === "EADDRINUSE" ? "BUSY" : "SYSTEM";
      reject(
        new FaultlineError(code, `metrics cannot be served at ${address}`, {
          cause,
          advice: "choose another --metrics address",
        }),
      );
    });
    const listening = (): void => resolve({ close: () => closeServer(server) });
    if (unix !== undefined) server.listen(unix, listening);
    else server.listen(Number(tcp![2]), tcp![1] || "127.0.0.1", listening);
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
}
