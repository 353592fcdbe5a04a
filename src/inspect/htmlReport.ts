// The report as one self-contained HTML file: the page, its head and the process tree. The other sections are in
// htmlSpaces.ts and htmlTables.ts, the facts in report.ts, style and script in htmlStyle.ts.
import { createHash } from "node:crypto";
import { basename, dirname } from "node:path";
import { PAGE_BYTES } from "../limits";
import { Html, html } from "./html";
import { legendItem, shareBar } from "./htmlPicture";
import { addressSpaces } from "./htmlSpaces";
import { script, styleSheet } from "./htmlStyle";
import { compression, descriptorTable, mappingTable, rankings } from "./htmlTables";
import type { Report } from "./report";
import { bytesText } from "./textTable";

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
<nav>
  <a href="#tree">Process tree</a>
  <a href="#spaces">Address spaces</a>
  <a href="#compression">Compression</a>
  <a href="#rankings">Largest and emptiest</a>
  <a href="#mappings">All mappings</a>
  <a href="#descriptors">Descriptors</a></nav>
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
    return html`<tr>
      <td class="n mono">${task.pid}</td>
      <td><span class="tree mono">${indent}</span><b>${task.command}</b> <code class="name">${line}</code>${threads}</td>
      <td>${state}</td>
      <td class="n">${bytesText(task.virtualBytes)}</td>
      <td class="n">${bytesText(task.pagesBytes)}</td>
      <td class="n">${bytesText(zero)}</td>
      <td style="min-width:150px">${bar}</td></tr>`;
  });
  return html`<section id="tree"><h2>Process tree</h2>
<p class="about">Who was frozen. Pages are what the image holds of each; the bar shows how much of it a lazy restore may leave for later.</p>
<div class="card scroll">
  <table><thead><tr>
  <th class="n">PID</th>
  <th>Command and threads</th>
  <th>State</th>
  <th class="n">Mapped</th>
  <th class="n">Pages</th>
  <th class="n">Zero</th>
  <th>Lazy and eager</th></tr></thead>
  <tbody>${rows}</tbody></table>
<div class="legend">${legendItem("lazy", "lazily restorable")}${legendItem("eager", "restored before the task runs")}</div></div>
  </section>`;
}

function exitText(status: number): string {
  const signal = status & 0x7f;
  return signal !== 0 ? `dead, signal ${signal}` : `dead, exit ${status >> 8}`;
}
