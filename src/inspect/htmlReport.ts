// The report as one self-contained HTML file: process tree, address spaces, compression, tables. Not for gathering the
// facts (report.ts) nor for style and script (htmlStyle.ts).
import { createHash } from "node:crypto";
import { basename, dirname } from "node:path";
import { PAGE_BYTES } from "../limits";
import type { DescriptorPlace } from "./descriptors";
import { Html, html } from "./html";
import { pictureSvg, shareBar } from "./htmlPicture";
import { script, styleSheet } from "./htmlStyle";
import type { Mapping } from "./mappings";
import type { Report, ReportMapping, ReportTask } from "./report";
import { bytesText, hexText, pagesText } from "./textTable";
import type { MappingKind } from "./vma";

/** Mappings of one task that are drawn; the others are in the table only. */
const drawnMappingsMax = 1500;
/** Rows of a searchable table; the mappings with most pages where there are more. */
const tableRowsMax = 10_000;
/** Tasks whose address space is unfolded from the start. */
const unfoldedTasksMax = 6;
const rankingMax = 10;
const compressionRowsMax = 40;
/** Unmapped space shorter than this is not marked in the picture. */
const gapPagesMin = 256;

export function reportHtml(report: Report): string {
  // Many image directories are called "images": the folder above says more.
  const name = `${basename(dirname(report.path))}/${basename(report.path)}`;
  const hash = createHash("sha256").update(script).digest("base64");
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Html(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Checkpoint ${name}</title>
<style>${new Html(styleSheet)}</style>
</head>
<body>
<main>
${header(report, name)}
${processTree(report)}
${addressSpaces(report)}
${compression(report)}
${rankings(report)}
${mappingTable(report)}
${descriptorTable(report)}
<footer>Made by faultline inspect report. Everything is in this file; nothing is loaded from elsewhere.</footer>
</main>
<script>${new Html(script)}</script>
</body>
</html>
`.text;
}

function header(report: Report, name: string): Html {
  const { totals, exact } = report;
  const about = exact ? "" : "~";
  const share = (part: number) => (totals.pagesBytes === 0 ? "0%" : `${Math.round((part / totals.pagesBytes) * 100)}%`);
  const tiles: readonly (readonly [string, string])[] = [
    [String(totals.tasks), `${totals.tasks === 1 ? "task" : "tasks"}, ${counted(totals.threads, "thread")}`],
    [bytesText(totals.virtualBytes), `mapped, ${counted(totals.mappings, "mapping")}`],
    [bytesText(totals.pagesBytes), "of it in pages of the image"],
    [share(totals.lazyBytes), `lazily restorable, ${bytesText(totals.lazyBytes)}`],
    [about + share(totals.zeroBytes), `all zero, ${bytesText(totals.zeroBytes)}`],
    [about + bytesText(totals.packedBytes), report.packed ? "as stored, packed" : "if packed (LZ4, 64 KiB blocks)"],
  ];
  return html`<header><h1>Checkpoint ${name}</h1>
<div class="dim"><code>${report.path}</code> · ${report.packed ? "packed" : "raw"} pages, ${bytesText(totals.storedBytes)}</div>
<nav><a href="#tree">Process tree</a><a href="#spaces">Address spaces</a><a href="#compression">Compression</a><a href="#rankings">Largest and emptiest</a><a href="#mappings">All mappings</a><a href="#descriptors">Descriptors</a></nav>
<div class="tiles">${tiles.map(([value, label]) => html`<div class="tile"><b>${value}</b><span>${label}</span></div>`)}</div></header>`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function processTree(report: Report): Html {
  const most = Math.max(1, ...report.tasks.map(({ task }) => task.pagesBytes));
  const rows = report.tasks.map(({ task, mappings }) => {
    const indent = task.depth === 0 ? "" : `${"   ".repeat(task.depth - 1)}└─ `;
    const line = task.commandLine.length > 0 ? task.commandLine.join(" ") : `[${task.command}]`;
    const others = task.threads.filter((thread) => thread.threadId !== task.pid);
    const threads = others.map(
      (thread) => html` <span class="badge" title="thread ${thread.threadId}">${thread.name}</span>`,
    );
    const zero = mappings.reduce((sum, mapping) => sum + mapping.zeroPages * PAGE_BYTES, 0);
    const eager = task.pagesBytes - task.lazyBytes;
    const bar = shareBar(
      [
        { kind: "lazy", value: task.lazyBytes, title: `${bytesText(task.lazyBytes)} lazily restorable` },
        { kind: "eager", value: eager, title: `${bytesText(eager)} restored at once` },
      ],
      most,
    );
    const state = task.exitStatus === undefined ? task.state : exitText(task.exitStatus);
    return html`<tr><td class="n mono">${task.pid}</td><td><span class="tree mono">${indent}</span><b>${task.command}</b> <code class="name">${line}</code>${threads}</td><td>${state}</td><td class="n">${bytesText(task.virtualBytes)}</td><td class="n">${bytesText(task.pagesBytes)}</td><td class="n">${bytesText(zero)}</td><td style="min-width:150px">${bar}</td></tr>`;
  });
  return html`<section id="tree"><h2>Process tree</h2>
<p class="about">Who was frozen. Pages are what the image holds of each; the bar shows how much of it a lazy restore may leave for later.</p>
<div class="card scroll"><table><thead><tr><th class="n">PID</th><th>Command and threads</th><th>State</th><th class="n">Mapped</th><th class="n">Pages</th><th class="n">Zero</th><th>Lazy and eager</th></tr></thead><tbody>${rows}</tbody></table>
<div class="legend">${legendItem("lazy", "lazily restorable")}${legendItem("eager", "restored before the task runs")}</div></div></section>`;
}

function exitText(status: number): string {
  const signal = status & 0x7f;
  return signal !== 0 ? `dead, signal ${signal}` : `dead, exit ${status >> 8}`;
}

function legendItem(kind: string, text: string): Html {
  return html`<span><i class="b-${kind}"></i>${text}</span>`;
}

function addressSpaces(report: Report): Html {
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

/** The `count` items with most pages, still in their order. */
function largest<T>(items: readonly T[], count: number, pagesOf: (item: T) => number): readonly T[] {
  if (items.length <= count) return items;
  const kept = new Set([...items].sort((a, b) => pagesOf(b) - pagesOf(a)).slice(0, count));
  return items.filter((item) => kept.has(item));
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
  return html`<div class="shares"><span>where</span>${shareBar(kindParts, total)}<span>what</span>${shareBar(classParts, total)}<span></span><div class="legend">${labels}</div></div>`;
}

const kernelKinds: ReadonlySet<MappingKind> = new Set(["vdso", "vvar", "vsyscall"]);

interface Placed {
  readonly pid: number;
  readonly command: string;
  readonly mapping: ReportMapping;
}

function allMappings(report: Report): Placed[] {
  return report.tasks.flatMap(({ task, mappings }) =>
    mappings.map((mapping) => ({ pid: task.pid, command: task.command, mapping })),
  );
}

function storedOf({ mapping }: Placed): number {
  return mapping.statistics.present + mapping.statistics.parent;
}

function nameOf(mapping: Mapping): Html {
  return mapping.name === "" ? html`<span class="dim">anonymous</span>` : html`${mapping.name}`;
}

function compression(report: Report): Html {
  const placed = allMappings(report).filter((each) => each.mapping.ratio !== undefined);
  const shown = placed.sort((a, b) => storedOf(b) - storedOf(a)).slice(0, compressionRowsMax);
  const rows = shown.map((each) => {
    const { mapping, pid } = each;
    const ratio = Math.min(1, mapping.ratio!);
    const kind = mapping.entropy ?? "unmeasured";
    const percent = `${mapping.exact ? "" : "~"}${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)}%`;
    return html`<tr><td class="n mono">${pid}</td><td class="mono dim">${hexText(mapping.start, 12)}</td><td class="name">${nameOf(mapping)}</td><td class="n">${pagesText(storedOf(each))}</td><td class="n">${bytesText(mapping.packedBytes)}</td><td><div class="ratio"><span class="b-${kind}" style="width:${Math.max(0.5, ratio * 100).toFixed(1)}%"></span></div></td><td class="n">${percent}</td><td>${kind}</td></tr>`;
  });
  const cut = placed.length > shown.length ? ` The ${shown.length} with most stored pages of ${placed.length}.` : "";
  return html`<section id="compression"><h2>Compression by mapping</h2>
<p class="about">What each mapping's stored pages take packed (LZ4 in blocks of 64 KiB), as a share of their size.${cut}</p>
<div class="card scroll"><table><thead><tr><th class="n">PID</th><th>Address</th><th>Mapping</th><th class="n">Stored</th><th class="n">Packed</th><th>Share left</th><th class="n">Ratio</th><th>Entropy</th></tr></thead><tbody>${rows}</tbody></table></div></section>`;
}

function rankings(report: Report): Html {
  const placed = allMappings(report);
  const big = [...placed].filter((each) => storedOf(each) > 0).sort((a, b) => storedOf(b) - storedOf(a));
  const idle = (each: Placed) => each.mapping.pageCount - storedOf(each);
  // What is left to a file is no waste, and what cannot be touched was never meant to be.
  const empty = placed.filter(
    ({ mapping }) => !mapping.fileBacked && !kernelKinds.has(mapping.kind) && mapping.protection.slice(0, 3) !== "---",
  );
  empty.sort((a, b) => idle(b) - idle(a));
  const list = (items: readonly Placed[], figure: (each: Placed) => string, detail: (each: Placed) => string) =>
    html`<table><tbody>${items.slice(0, rankingMax).map((each) => html`<tr><td class="n"><b>${figure(each)}</b></td><td class="name">${nameOf(each.mapping)} <span class="dim mono">${hexText(each.mapping.start, 12)}</span></td><td class="n dim">${detail(each)}</td></tr>`)}</tbody></table>`;
  const filled = (each: Placed) => `${((storedOf(each) / each.mapping.pageCount) * 100).toFixed(1)}% filled`;
  return html`<section id="rankings"><h2>Largest and emptiest mappings</h2>
<p class="about">Where the image's bytes are, and where address space was reserved but hardly used.</p>
<div class="columns"><div class="card"><h3>Most stored pages</h3>${list(
    big,
    (each) => pagesText(storedOf(each)),
    (each) => `pid ${each.pid}`,
  )}</div>
<div class="card"><h3>Most space never touched</h3>${list(
    empty.filter((each) => idle(each) > 0),
    (each) => pagesText(idle(each)),
    filled,
  )}</div></div></section>`;
}

interface Head {
  readonly title: string;
  readonly number?: boolean;
}

function searchTable(id: string, about: string, heads: readonly Head[], rows: readonly Html[], total: number): Html {
  const titles = heads.map(
    ({ title, number }) =>
      html`<th data-sort="${number === true ? "number" : "text"}"${new Html(number === true ? ' class="n"' : "")}>${title}</th>`,
  );
  const shown = rows.length;
  return html`<div class="card scroll"><input type="search" data-table="${id}-table" placeholder="${about}" aria-label="${about}"><span class="dim" id="${id}-table-count">${shown} of ${total}</span>
<table id="${id}-table"><thead><tr>${titles}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

function numberCell(value: number, text: string): Html {
  return html`<td class="n" data-value="${value}">${text}</td>`;
}

function mappingTable(report: Report): Html {
  const dot = (pages: number) => (pages === 0 ? "·" : pagesText(pages));
  const all = allMappings(report);
  const rows = largest(all, tableRowsMax, ({ mapping }) => mapping.pageCount).map((each) => {
    const { mapping, pid } = each;
    const { statistics, ratio } = mapping;
    const address = `${hexText(mapping.start, 12)}-${hexText(mapping.end, 12)}`;
    return html`<tr>${numberCell(pid, String(pid))}<td class="mono">${address}</td><td class="mono">${mapping.protection}</td>${numberCell(mapping.pageCount, pagesText(mapping.pageCount))}${numberCell(statistics.present, dot(statistics.present))}${numberCell(statistics.lazy, dot(statistics.lazy))}${numberCell(mapping.zeroPages, dot(mapping.zeroPages))}${numberCell(statistics.parent, dot(statistics.parent))}${numberCell(ratio ?? -1, ratio === undefined ? "·" : `${(ratio * 100).toFixed(0)}%`)}<td>${mapping.entropy ?? "·"}</td><td>${mapping.kind}</td><td class="name">${nameOf(mapping)}</td></tr>`;
  });
  const heads: readonly Head[] = [
    { title: "PID", number: true },
    { title: "Address" },
    { title: "Prot" },
    ...["Size", "Present", "Lazy", "Zero", "Parent", "Packed"].map((title) => ({ title, number: true })),
    { title: "Entropy" },
    { title: "Kind" },
    { title: "Name" },
  ];
  return html`<section id="mappings"><h2>All mappings</h2>${searchTable("mappings", "Search mappings: libc rw-p 15808", heads, rows, all.length)}</section>`;
}

function descriptorTable(report: Report): Html {
  const places = (list: readonly DescriptorPlace[]) =>
    list
      .slice(0, 6)
      .map(({ pid, fd }) => `${pid}:${fd}`)
      .join(" ") + (list.length > 6 ? ` +${list.length - 6}` : "");
  const all = report.tasks.flatMap(({ task, descriptors }) => descriptors.map((each) => ({ task, each })));
  const rows = all
    .slice(0, tableRowsMax)
    .map(
      ({ task, each }) =>
        html`<tr>${numberCell(task.pid, String(task.pid))}${numberCell(each.fd, String(each.fd))}<td>${each.kind}</td><td>${each.access}</td><td class="name">${each.target}${each.queuedBytes > 0 ? html` <span class="badge">${bytesText(each.queuedBytes)} unread</span>` : html``}</td><td class="mono">${places(each.peers)}</td><td class="mono">${places(each.sharedWith)}</td></tr>`,
    );
  const heads: readonly Head[] = [
    { title: "PID", number: true },
    { title: "FD", number: true },
    { title: "Kind" },
    { title: "Use" },
    { title: "Target" },
    { title: "Other end" },
    { title: "Same open file" },
  ];
  return html`<section id="descriptors"><h2>Descriptors</h2>${searchTable("descriptors", "Search descriptors: pipe, tcp, /srv", heads, rows, all.length)}</section>`;
}
