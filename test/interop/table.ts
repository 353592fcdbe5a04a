// The table of docs/compatibility.md: written from outcomes, and read back to know what it promises.
// Not for making the outcomes: see crossing.ts.
import type { ProgramFacts } from "../support/program";
import { faultlineWays, type Outcome, type Way } from "./crossing";

/** The columns, in the order of the table. */
export const columns: readonly Way[] = faultlineWays;

/** A reason without what differs from run to run: pids, inodes, times, temporary names. */
export function steadyReason(verdict: string): string {
  return verdict
    .replace(/\/tmp\/faultline-[\w-]+/g, "SCRATCH")
    .replace(/\b0x[0-9a-f]{4,}\b|@[0-9a-f]{6,}|\b\d{4,}\b/g, "N")
    .replace(/\|/g, ";")
    .replace(/\s+/g, " ")
    .replace(/ ?\(?criu\/[\w-]+\.c:N?\d*\)?:?/g, "")
    .trim();
}

function cell(outcome: Outcome | undefined): string {
  if (outcome === undefined) return "not run";
  return outcome.passed ? "yes" : "**no**";
}

function failures(facts: ProgramFacts, outcomes: readonly Outcome[]): string[] {
  const ways = new Map<string, string[]>();
  for (const way of columns) {
    const outcome = outcomes.find((one) => one.program === facts.name && one.way === way.label);
    if (outcome === undefined || outcome.passed) continue;
    const reason = steadyReason(outcome.verdict);
    ways.set(reason, [...(ways.get(reason) ?? []), way.label]);
  }
  return [...ways].map(([reason, labels]) => `- \`${facts.name}\`, ${labels.join("; ")}: ${reason}`);
}

/** The two tables in Markdown: which crossings passed, and why the others did not. */
export function renderTable(programs: readonly ProgramFacts[], outcomes: readonly Outcome[]): string {
  const head = `| program | ${columns.map((way) => way.label).join(" | ")} |`;
  const rule = `| --- |${" --- |".repeat(columns.length)}`;
  const rows = programs.map((facts) => {
    const cells = columns.map((way) =>
      cell(outcomes.find((one) => one.program === facts.name && one.way === way.label)),
    );
    return `| \`${facts.name}\` | ${cells.join(" | ")} |`;
  });
  const counts = columns.map((way) => {
    const passed = outcomes.filter((one) => one.way === way.label && one.passed).length;
    return `${passed} of ${programs.length}`;
  });
  const reasons = programs.flatMap((facts) => failures(facts, outcomes));
  const kinds = programs.map((facts) => {
    const limit = facts.criuCannot === undefined ? "" : ` CRIU alone fails: ${facts.criuCannot}.`;
    return `- \`${facts.name}\`: ${facts.about}${limit}`;
  });
  return [
    head,
    rule,
    ...rows,
    `| passed | ${counts.join(" | ")} |`,
    "",
    "## Why not",
    "",
    ...reasons,
    "",
    "## What each program holds",
    "",
    ...kinds,
    "",
  ].join("\n");
}

/** Every crossing that a table promises, as program and way label. */
export function promises(markdown: string): { program: string; way: string }[] {
  const lines = markdown.split("\n").filter((line) => line.startsWith("|"));
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((text) => text.trim());
  const labels = cells(lines[0] ?? "").slice(1);
  return lines.slice(2).flatMap((line) => {
    const [name, ...values] = cells(line);
    const program = /^`(\w+)`$/.exec(name ?? "")?.[1];
    if (program === undefined) return [];
    return labels.filter((_, i) => values[i] === "yes").map((way) => ({ program, way }));
  });
}

/** The outcomes that a table shows, with the reasons as they are written there; cells that were not run give none. */
export function rowsOf(markdown: string): Outcome[] {
  const passed = promises(markdown).map((one) => ({ ...one, verdict: "PASS", passed: true }));
  const failed = markdown.split("\n").flatMap((line) => {
    const [, program, labels, verdict] = /^- `(\w+)`, ([^:]+→[^:]+): (.*)$/.exec(line) ?? [];
    if (program === undefined || labels === undefined || verdict === undefined) return [];
    return labels.split("; ").map((way) => ({ program, way, verdict, passed: false }));
  });
  return [...passed, ...failed];
}

/**
 * The programs that cross by the way `label` in a sample of the promised crossings: each promised program once, the ways
 * taking turns; a program whose turn falls on a way that is not promised takes the next one that is.
 */
export function sample(promised: readonly { program: string; way: string }[], label: string): string[] {
  const names = [...new Set(promised.map((one) => one.program))].sort();
  return names.filter((name, turn) => {
    const turns = columns.map((_, i) => columns[(turn + i) % columns.length]!.label);
    return label === turns.find((way) => promised.some((one) => one.program === name && one.way === way));
  });
}
