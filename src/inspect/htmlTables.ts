// The report's tables: compression, the largest and emptiest mappings, and all mappings and descriptors to search.
import type { DescriptorPlace } from "./descriptors";
import { Html, html } from "./html";
import { largest } from "./htmlPicture";
import type { Mapping } from "./mappings";
import type { Report, ReportMapping } from "./report";
import { bytesText, hexText, pagesText } from "./textTable";
import type { MappingKind } from "./vma";

/** Rows of a searchable table; the mappings with most pages where there are more. */
const tableRowsMax = 10_000;
const rankingMax = 10;
const compressionRowsMax = 40;

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

export function compression(report: Report): Html {
  const placed = allMappings(report).filter((each) => each.mapping.ratio !== undefined);
  const shown = placed.sort((a, b) => storedOf(b) - storedOf(a)).slice(0, compressionRowsMax);
  const rows = shown.map((each) => {
    const { mapping, pid } = each;
    const ratio = Math.min(1, mapping.ratio!);
    const kind = mapping.entropy ?? "unmeasured";
    const percent = `${mapping.exact ? "" : "~"}${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)}%`;
    return html`<tr>
      <td class="n mono">${pid}</td>
      <td class="mono dim">${hexText(mapping.start, 12)}</td>
      <td class="name">${nameOf(mapping)}</td>
      <td class="n">${pagesText(storedOf(each))}</td>
      <td class="n">${bytesText(mapping.packedBytes)}</td>
      <td>
      <div class="ratio"><span class="b-${kind}" style="width:${Math.max(0.5, ratio * 100).toFixed(1)}%"></span></div></td>
      <td class="n">${percent}</td>
      <td>${kind}</td></tr>`;
  });
  const cut = placed.length > shown.length ? ` The ${shown.length} with most stored pages of ${placed.length}.` : "";
  return html`<section id="compression"><h2>Compression by mapping</h2>
<p class="about">What each mapping's stored pages take packed (LZ4 in blocks of 64 KiB), as a share of their size.${cut}</p>
<div class="card scroll">
  <table><thead><tr>
  <th class="n">PID</th>
  <th>Address</th>
  <th>Mapping</th>
  <th class="n">Stored</th>
  <th class="n">Packed</th>
  <th>Share left</th>
  <th class="n">Ratio</th>
  <th>Entropy</th></tr></thead>
  <tbody>${rows}</tbody></table></div>
  </section>`;
}

export function rankings(report: Report): Html {
  const placed = allMappings(report);
  const big = [...placed].filter((each) => storedOf(each) > 0).sort((a, b) => storedOf(b) - storedOf(a));
  const idle = (each: Placed) => each.mapping.pageCount - storedOf(each);
  // What is left to a file is no waste, and what cannot be touched was never meant to be.
  const empty = placed.filter(
    ({ mapping }) => !mapping.fileBacked && !kernelKinds.has(mapping.kind) && mapping.protection.slice(0, 3) !== "---",
  );
  empty.sort((a, b) => idle(b) - idle(a));
  const list = (items: readonly Placed[], figure: (each: Placed) => string, detail: (each: Placed) => string) =>
    html`<table>
      <tbody>${items.slice(0, rankingMax).map(
        (each) => html`<tr>
      <td class="n"><b>${figure(each)}</b></td>
      <td class="name">${nameOf(each.mapping)} <span class="dim mono">${hexText(each.mapping.start, 12)}</span></td>
      <td class="n dim">${detail(each)}</td></tr>`,
      )}</tbody></table>`;
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

export function mappingTable(report: Report): Html {
  const dot = (pages: number) => (pages === 0 ? "·" : pagesText(pages));
  const all = allMappings(report);
  const rows = largest(all, tableRowsMax, ({ mapping }) => mapping.pageCount).map((each) => {
    const { mapping, pid } = each;
    const { statistics, ratio } = mapping;
    const address = `${hexText(mapping.start, 12)}-${hexText(mapping.end, 12)}`;
    return html`<tr>
      ${numberCell(pid, String(pid))}
      <td class="mono">${address}</td>
      <td class="mono">${mapping.protection}</td>
      ${numberCell(mapping.pageCount, pagesText(mapping.pageCount))}
      ${numberCell(statistics.present, dot(statistics.present))}
      ${numberCell(statistics.lazy, dot(statistics.lazy))}
      ${numberCell(mapping.zeroPages, dot(mapping.zeroPages))}
      ${numberCell(statistics.parent, dot(statistics.parent))}
      ${numberCell(ratio ?? -1, ratio === undefined ? "·" : `${(ratio * 100).toFixed(0)}%`)}
      <td>${mapping.entropy ?? "·"}</td>
      <td>${mapping.kind}</td>
      <td class="name">${nameOf(mapping)}</td></tr>`;
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

export function descriptorTable(report: Report): Html {
  const places = (list: readonly DescriptorPlace[]) =>
    list
      .slice(0, 6)
      .map(({ pid, fd }) => `${pid}:${fd}`)
      .join(" ") + (list.length > 6 ? ` +${list.length - 6}` : "");
  const all = report.tasks.flatMap(({ task, descriptors }) => descriptors.map((each) => ({ task, each })));
  const rows = all.slice(0, tableRowsMax).map(
    ({ task, each }) =>
      html`<tr>
          ${numberCell(task.pid, String(task.pid))}
          ${numberCell(each.fd, String(each.fd))}
          <td>${each.kind}</td>
          <td>${each.access}</td>
          <td class="name">${each.target}${each.queuedBytes > 0 ? html` <span class="badge">${bytesText(each.queuedBytes)} unread</span>` : html``}</td>
          <td class="mono">${places(each.peers)}</td>
          <td class="mono">${places(each.sharedWith)}</td></tr>`,
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
