// The report's address spaces: one picture per mapping, with the gaps between them, and where a task's pages are.
// Not for the picture of one mapping: htmlPicture.ts.
import { PAGE_BYTES } from "../limits";
import { Html, html } from "./html";
import { largest, legendItem, pictureSvg, shareBar } from "./htmlPicture";
import type { Mapping } from "./mappings";
import type { Report, ReportMapping, ReportTask } from "./report";
import { bytesText, hexText, pagesText } from "./textTable";
import type { MappingKind } from "./vma";

/** Mappings of one task that are drawn; the others are in the table only. */
const drawnMappingsMax = 1500;
/** Tasks whose address space is unfolded from the start. */
const unfoldedTasksMax = 6;
/** Unmapped space shorter than this is not marked in the picture. */
const gapPagesMin = 256;

export function addressSpaces(report: Report): Html {
  const hasAbsent = report.tasks.some(({ mappings }) => mappings.some((mapping) => mapping.statistics.absent > 0));
  const legend = [
    legendItem("zero", "all zero"),
    legendItem("low", "low entropy"),
    legendItem("medium", "medium (text, code, objects)"),
    legendItem("high", "high"),
    legendItem("random", "looks random: will not pack"),
    ...(report.exact ? [] : [legendItem("unmeasured", "not looked at")]),
    ...(hasAbsent ? [legendItem("absent", "bytes not in this image")] : []),
    legendItem("empty", "never touched"),
    legendItem("file-backed", "left to the file"),
    legendItem("lazy", "lazily restorable"),
    legendItem("eager", "eager"),
  ];
  const living = report.tasks.filter(({ mappings }) => mappings.length > 0);
  return html`<section id="spaces"><h2>Address spaces</h2>
<p class="about">Each mapping from its lowest to its highest address: how full each stretch is with stored pages, what they look like, and below, in the thin rail, whether they can wait. Longer is larger, on a logarithmic scale.</p>
<div class="legend">${legend}</div>
${living.map((each, index) => addressSpace(each, index < unfoldedTasksMax))}</section>`;
}

function addressSpace({ task, mappings }: ReportTask, open: boolean): Html {
  // The kernel's own page at the far end of the address space is nobody's memory.
  const own = mappings.filter((mapping) => mapping.kind !== "vsyscall");
  const drawn = largest(own, drawnMappingsMax, (mapping) => mapping.pageCount);
  const titles = ["Address", "", "Pages", "Size", "Stored", "Name"] as const;
  const rows = titles.map((title) => html`<div class="${title[0] === "S" ? "n head" : "head"}">${title}</div>`);
  let end: number | undefined;
  for (const mapping of drawn) {
    const gap = end === undefined ? 0 : (mapping.start - end) / PAGE_BYTES;
    if (gap >= gapPagesMin) rows.push(html`<div class="gap">${pagesText(gap)} unmapped</div>`);
    end = mapping.end;
    rows.push(mappingRow(mapping));
  }
  const left = own.length - drawn.length;
  const note =
    left > 0 ? html`<p class="dim">${left} smaller mappings are not drawn; they are in the table below.</p>` : html``;
  return html`<details class="card space-of"${new Html(open ? " open" : "")}><summary><b>${task.pid} ${task.command}</b> <span class="dim">${mappings.length} mappings, ${bytesText(task.pagesBytes)} in pages of ${bytesText(task.virtualBytes)} mapped</span></summary>
${shares(mappings)}<div class="scroll"><div class="space">${rows}</div></div>${note}</details>`;
}

function mappingRow(mapping: ReportMapping): Html {
  const { statistics } = mapping;
  const stored = statistics.present + statistics.parent;
  const title =
    `${pagesText(mapping.pageCount)} ${mapping.protection} ${mapping.name}: ${pagesText(stored)} stored, ` +
    `${pagesText(mapping.zeroPages)} zero, ${pagesText(statistics.lazy)} lazily restorable`;
  const picture = pictureSvg(mapping.picture, mapping.fileBacked ? "file" : "empty", title);
  const name = mapping.name === "" ? html`<span class="dim">anonymous</span>` : html`${mapping.name}`;
  return html`<div class="mono dim">${hexText(mapping.start, 12)}</div><div class="mono">${mapping.protection}</div>\
<div>${picture}</div><div class="n">${pagesText(mapping.pageCount)}</div>\
<div class="n dim">${stored === 0 ? "·" : pagesText(stored)}</div><div class="name">${name}</div>`;
}

const kindGroups: Readonly<Partial<Record<MappingKind, string>>> = {
  heap: "heap",
  anonymous: "anonymous",
  stack: "stack",
  file: "file",
  "file-shared": "file",
  memfd: "shared",
  shared: "shared",
  sysv: "shared",
};

/** Two bars: the stored pages of a task by where they are, and by what they look like. */
function shares(mappings: readonly Mapping[]): Html {
  const byKind = new Map<string, number>();
  const byClass = [0, 0, 0, 0, 0];
  let total = 0;
  for (const mapping of mappings) {
    const { present, parent, measured, byClass: classes } = mapping.statistics;
    const stored = present + parent;
    const group = kindGroups[mapping.kind] ?? "other";
    byKind.set(group, (byKind.get(group) ?? 0) + stored);
    if (measured > 0)
      classes.forEach((pages, index) => {
        byClass[index]! += (pages * stored) / measured;
      });
    total += stored;
  }
  const kinds = [...byKind].sort((a, b) => b[1] - a[1]);
  const kindParts = kinds.map(([kind, value]) => ({
    kind: `kind-${kind}`,
    value,
    title: `${kind}: ${pagesText(value)}`,
  }));
  const classNames = ["zero", "low", "medium", "high", "random"];
  const classParts = byClass.map((value, index) => {
    const kind = classNames[index]!;
    return { kind, value, title: `${kind}: ${pagesText(Math.round(value))}` };
  });
  const labels = kinds
    .filter(([, pages]) => pages > 0)
    .map(([kind, pages]) => legendItem(`kind-${kind}`, `${kind} ${pagesText(pages)}`));
  return html`<div class="shares"><span>where</span>${shareBar(kindParts, total)}<span>what</span>${shareBar(classParts, total)}<span></span>
    <div class="legend">${labels}</div></div>`;
}
