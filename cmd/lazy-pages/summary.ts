// The daemon's words at the end: a line for people, JSON for programs.
import type { PagerReport, SessionReport } from "../../src/pager/requests";

const MEBIBYTE = 1024 * 1024;

function mebibytes(pages: number): string {
  return `${((pages * 4096) / MEBIBYTE).toFixed(1)} MiB`;
}

/** One line about a session that has ended. */
export function sessionLine(report: SessionReport): string {
  const { faultedPages, drainedPages, prefetchedPages, zeroPages, missingPages, faults, latency } = report;
  const seconds = (report.elapsedUs / 1e6).toFixed(2);
  const parts = [
    `session ${report.sessionId} ${report.state} after ${seconds} s`,
    `${mebibytes(faultedPages)} on demand, ${mebibytes(drainedPages)} in the background, ${zeroPages} zero pages`,
    `${faults} faults, p50 ${latency.p50Us} µs, p99 ${latency.p99Us} µs`,
  ];
  if (prefetchedPages > 0) parts.push(`${mebibytes(prefetchedPages)} of the working set`);
  if (missingPages > 0) parts.push(`${mebibytes(missingPages)} of tasks that have ended were not needed`);
  if (report.lostPages > 0) parts.push(`${report.lostPages} pages had no mapping to go to`);
  if (report.error !== undefined) parts.push(report.error);
  return parts.join("; ");
}

/** The report without the histogram's empty buckets. */
export function summaryJson(report: PagerReport): string {
  const { latencyBoundsUs, latencyCounts, ...rest } = report;
  const histogram = latencyCounts
    .map((count, i) => ({ belowUs: latencyBoundsUs[i] ?? null, count }))
    .filter((bucket) => bucket.count > 0);
  return JSON.stringify({ ...rest, latencyHistogram: histogram });
}
