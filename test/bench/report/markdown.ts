// docs/BENCHMARKS.md from recorded sections. Tables only; the plots are in docs/benchmarks.html.
import { machineLine } from "./machine";
import type { Aim, RecordedSection, Table } from "./result";

const head = `# Benchmarks

Written by \`npm run bench\` from the data in [bench/](bench/); the same as a page with plots: [benchmarks.html](benchmarks.html).

All subjects of a section take turns in one run, so that what slows the machine slows each of them. Read ratios rather than
times: the load average beside each section says how busy the machine was with other work. A section that was measured with
\`--quick\` says so. CRIU is run as it is installed, as a separate program.
`;

const missing = `## Not measured

- Real processes in thousands, 100 000 VMAs of one process (the kernel allows 65 530) and 16 TiB for real: see *Scale* for
  what is simulated.
- Where a section says \`--quick\`: 2 GB restores.
- More than two cores: this machine has no more. Client, restored program and pager share them.
`;

export function markdown(sections: readonly RecordedSection[]): string {
  const parts = [head, aims(sections)];
  for (const section of sections) {
    parts.push(`## ${section.title}\n\n${section.about}\n\n${provenance(section)}\n`);
    for (const table of section.tables) parts.push(tableText(table));
  }
  parts.push(missing);
  return `${parts.join("\n").trimEnd()}\n`;
}

function provenance(section: RecordedSection): string {
  const quick = section.quick ? ", `--quick`" : "";
  return `*${machineLine(section.machine)}; ${section.seconds.toFixed(0)} s${quick}; data: [bench/${section.name}.json](bench/${section.name}.json)*`;
}

function aims(sections: readonly RecordedSection[]): string {
  const all = sections.flatMap((section) => section.aims);
  if (all.length === 0) return "";
  const rows = all.map((aim) => [aim.aim, aim.measured, aim.met ? "met" : "**missed**"]);
  const missed = all.filter((aim) => !aim.met && aim.why !== undefined).map(whyLine);
  const why = missed.length === 0 ? "" : `\nWhy the missed ones are missed:\n\n${missed.join("\n")}\n`;
  return `${tableText({ title: "Aims", columns: ["aim", "measured", ""], rows }, 2)}${why}`;
}

function whyLine(aim: Aim): string {
  return `- *${aim.aim}*: ${aim.why}`;
}

function tableText(table: Table, level = 3): string {
  const numeric = table.columns.map((_column, at) => table.rows.every((row) => /^[<–\d]/.test(String(row[at]))));
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;
  const rule = `| ${table.columns.map((_column, at) => (at > 0 && numeric[at] === true ? "--:" : "---")).join(" | ")} |`;
  const rows = table.rows.map((row) => line(row.map((cell) => String(cell).replaceAll("|", "\\|"))));
  return `${[`${"#".repeat(level)} ${table.title}\n`, line(table.columns), rule, ...rows].join("\n")}\n`;
}
