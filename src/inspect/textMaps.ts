// A task's mappings as text: `inspect maps`. The first columns are those of /proc/PID/maps.
import type { Mapping, TaskMappings } from "./mappings";
import { bytesText, hexText, type Paint, pagesText, plainPaint, safeText, textTable } from "./textTable";

const columns = [
  { title: "ADDRESS" },
  { title: "PROT" },
  { title: "OFFSET", align: "right" },
  { title: "SIZE", align: "right" },
  { title: "PRESENT", align: "right" },
  { title: "LAZY", align: "right" },
  { title: "ZERO", align: "right" },
  { title: "PARENT", align: "right" },
  { title: "PACKED", align: "right" },
  { title: "RATIO", align: "right" },
  { title: "ENTROPY" },
  { title: "NAME" },
] as const;

export function mappingsText(task: TaskMappings, paint: Paint = plainPaint): string {
  const rows = task.mappings.map(mappingRow);
  const title = paint.strong(`${task.pid} ${safeText(task.command)}`);
  if (rows.length === 0) return `${title}: no address space\n`;
  return `${title}\n${textTable(columns, [...rows, totalRow(task.mappings)], paint)}`;
}

/** A count of pages, blank for none, so that what is there stands out. */
function count(pages: number): string {
  return pages === 0 ? "·" : pagesText(pages);
}

function mappingRow(mapping: Mapping): string[] {
  const { statistics, exact } = mapping;
  // A sampled figure says so.
  const about = exact ? "" : "~";
  const ratio = mapping.ratio === undefined ? "·" : `${about}${percent(mapping.ratio)}`;
  return [
    `${hexText(mapping.start)}-${hexText(mapping.end)}`,
    mapping.protection,
    hexText(mapping.offset),
    pagesText(mapping.pageCount),
    count(statistics.present) + (statistics.absent > 0 ? ` (${pagesText(statistics.absent)} absent)` : ""),
    count(statistics.lazy),
    mapping.zeroPages === 0 ? "·" : about + pagesText(mapping.zeroPages),
    count(statistics.parent),
    mapping.ratio === undefined ? "·" : about + bytesText(mapping.packedBytes),
    ratio,
    mapping.entropy ?? "·",
    safeText(mapping.name),
  ];
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(0)}%`;
}

function totalRow(mappings: readonly Mapping[]): string[] {
  const sum = (of: (mapping: Mapping) => number) => mappings.reduce((total, mapping) => total + of(mapping), 0);
  const stored = sum(({ statistics }) => statistics.present + statistics.parent);
  const packed = sum(({ packedBytes }) => packedBytes);
  const about = mappings.every(({ exact }) => exact) ? "" : "~";
  return [
    "total",
    "",
    "",
    pagesText(sum(({ pageCount }) => pageCount)),
    count(sum(({ statistics }) => statistics.present)),
    count(sum(({ statistics }) => statistics.lazy)),
    about + count(sum(({ zeroPages }) => zeroPages)),
    count(sum(({ statistics }) => statistics.parent)),
    about + bytesText(packed),
    stored === 0 ? "·" : about + percent(packed / (stored * 4096)),
    "",
    "",
  ];
}
