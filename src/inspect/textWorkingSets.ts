// Working sets as text for people. The data is workingSets.ts.
import { type Paint, pagesText, textTable } from "./textTable";
import type { WorkingSetSummary } from "./workingSets";

export function workingSetsText(summaries: readonly WorkingSetSummary[], paint: Paint): string {
  if (summaries.length === 0) return "no working set is recorded; restore with --record to make one\n";
  return summaries.map((summary) => oneText(summary, paint)).join("\n");
}

function percent(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`;
}

function oneText(summary: WorkingSetSummary, paint: Paint): string {
  const { pid, runCount, pages, storedPages, otherPages, taskPages, ranges } = summary;
  const head = paint.strong(`task ${pid}`);
  const lines = [
    `${head}: ${pagesText(pages)} in ${ranges} ranges, from ${runCount} recorded ${runCount === 1 ? "run" : "runs"}`,
    `  ${pagesText(storedPages)} of the ${pagesText(taskPages)} stored (${percent(storedPages, taskPages)}), ` +
      `${pagesText(otherPages)} never written before the dump`,
  ];
  const rows = summary.runs.map(({ run, pages: touched, sharedWithNewest }) => [
    run === 0 ? "newest" : `${run} before`,
    pagesText(touched),
    percent(sharedWithNewest, touched),
    pagesText(summary.pagesByRuns[run]!),
  ]);
  const columns = [
    { title: "RUN" },
    { title: "TOUCHED", align: "right" as const },
    { title: "ALSO IN THE NEWEST", align: "right" as const },
    { title: "TOUCHED IN AS MANY RUNS", align: "right" as const },
  ];
  const table = summary.runCount > 1 ? textTable(columns, rows, paint) : "";
  return `${lines.join("\n")}\n${table}`;
}
