// A comparison of two checkpoints as text: `inspect diff`.
import type { CheckpointDiff, MappingDiff, TaskDiff } from "./diff";
import type { PageChanges } from "./pageDiff";
import { hexText, type Paint, pagesText, plainPaint, safeText, textTable } from "./textTable";

const signs = { added: "+", gone: "-", changed: "~", same: " " } as const;

const columns = [
  { title: " " },
  { title: "ADDRESS" },
  { title: "PROT" },
  { title: "CHANGED", align: "right" },
  { title: "ADDED", align: "right" },
  { title: "GONE", align: "right" },
  { title: "SAME", align: "right" },
  { title: "NAME" },
] as const;

export function diffText(diff: CheckpointDiff, paint: Paint = plainPaint): string {
  const parts = diff.tasks.map((task) => taskText(task, paint));
  const verdict = diff.different ? `all tasks: ${pagesLine(diff.pages)}` : "no difference";
  return `${parts.join("")}${paint.strong(verdict)}\n`;
}

function pagesLine(pages: PageChanges): string {
  const words = [
    `${pagesText(pages.changed)} changed`,
    `${pagesText(pages.added)} added`,
    `${pagesText(pages.gone)} gone`,
  ];
  if (pages.unknown > 0) words.push(`${pagesText(pages.unknown)} unknown`);
  return `${words.join(", ")}, ${pagesText(pages.same)} the same`;
}

function taskText(task: TaskDiff, paint: Paint): string {
  const title = paint.strong(`${signs[task.change]} ${task.pid} ${safeText(task.command)}`);
  if (task.change === "same") return `${title}: the same\n`;
  const lines = [`${title}: ${task.change === "changed" ? "" : `${task.change}; `}${pagesLine(task.pages)}`];
  if (task.change !== "changed") return `${lines[0]}\n`;
  if (task.threadsAdded.length > 0) lines.push(`  + threads ${task.threadsAdded.join(" ")}`);
  if (task.threadsGone.length > 0) lines.push(`  - threads ${task.threadsGone.join(" ")}`);
  const mappings = task.mappings.filter((mapping) => mapping.change !== "same");
  if (mappings.length > 0) lines.push(indented(textTable(columns, mappings.map(mappingRow), paint)));
  for (const { fd, change, before, after } of task.descriptors) {
    const text = change === "changed" ? `${before} -> ${after}` : (after ?? before ?? "");
    lines.push(`  ${signs[change]} fd ${fd}: ${safeText(text)}`);
  }
  return `${lines.join("\n")}\n`;
}

function indented(text: string): string {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

function mappingRow(mapping: MappingDiff): string[] {
  const { changed, added, gone, same } = mapping.pages;
  const count = (pages: number) => (pages === 0 ? "·" : String(pages));
  return [
    signs[mapping.change],
    `${hexText(mapping.start)}-${hexText(mapping.end)}`,
    mapping.protection,
    count(changed),
    count(added),
    count(gone),
    count(same),
    safeText(mapping.name) + (mapping.detail === "" ? "" : ` (${mapping.detail})`),
  ];
}
