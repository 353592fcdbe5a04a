// Puts a report into a file, whole or not at all.
import { writeFileSync } from "node:fs";
import { reportHtml } from "./htmlReport";
import type { Report } from "./report";
import { writeAside } from "./writeAside";

/** Writes `file` and returns its length in bytes. Throws PERMISSION or SYSTEM. */
export function writeReport(report: Report, file: string): number {
  const bytes = Buffer.from(reportHtml(report));
  writeAside(file, (fd) => writeFileSync(fd, bytes));
  return bytes.length;
}
