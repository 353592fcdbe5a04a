// docs/benchmarks.html: one page without a script or anything loaded, light and dark, plots above the tables.
import { machineLine } from "./machine";
import { drawPlot, escapeText } from "./plot";
import type { Aim, RecordedSection, Table } from "./result";

const style = `
:root { color-scheme: light dark; --paper: #fcfcfb; --ink: #1c1d20; --soft: #63666d; --line: #dcdde0; --panel: #f3f3f1;
  --ours: #1f6f8b; --ours-soft: #8dbccb; --other: #9a7b4f; --other-soft: #d5c3a5; --good: #2c7a4b; --bad: #b3412e;
  --line-0: #1f6f8b; --line-1: #b0622b; --line-2: #6a5aa8; --line-3: #4f8a3c; }
@media (prefers-color-scheme: dark) { :root { --paper: #17181b; --ink: #e6e6e3; --soft: #9fa2a9; --line: #35373c;
  --panel: #1f2125; --ours: #62b6d2; --ours-soft: #2f6478; --other: #cfae7c; --other-soft: #6b5836; --good: #6cc08b;
  --bad: #e58671; --line-0: #62b6d2; --line-1: #e0975c; --line-2: #a99be0; --line-3: #8fc97b; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 62rem; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; } p { max-width: 46rem; }
h3 { font-size: .95rem; margin: 1.5rem 0 .4rem; } .soft { color: var(--soft); font-size: .82rem; }
nav { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .3rem 1rem; } a { color: var(--ours); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); gap: 1rem; }
figure { background: var(--panel); border-radius: 6px; margin: 0; padding: .75rem .9rem; }
figcaption { font-size: .85rem; font-weight: 600; margin-bottom: .4rem; } svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 500; }
.aims td, .aims th { text-align: left; white-space: normal; vertical-align: top; } .met { color: var(--good); }
.missed { color: var(--bad); } details summary { cursor: pointer; color: var(--soft); font-size: .85rem; margin-top: 1rem; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .axis { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .ours { fill: var(--ours); } svg .other { fill: var(--other); }
svg .ours-high { stroke: var(--ours-soft); } svg .other-high { stroke: var(--other-soft); }
svg .curve { fill: none; stroke-width: 2; } ${[0, 1, 2, 3].map((at) => `svg .c${at} { stroke: var(--line-${at}); } svg .f${at} { fill: var(--line-${at}); }`).join(" ")}
`;

export function page(sections: readonly RecordedSection[]): string {
  const links = sections.map((section) => `<a href="#${section.name}">${escapeText(section.title)}</a>`).join("");
  const body = sections.map(sectionHtml).join("\n");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Faultline benchmarks</title><style>${style}</style></head><body>
<h1>Faultline benchmarks</h1>
<p>Made by <code>npm run bench</code>; the tables alone are in BENCHMARKS.md, the data in bench/. All subjects of a section
take turns in one run: read ratios rather than times, and see the load average beside each section.</p>
<nav>${links}</nav>
${aimsHtml(sections.flatMap((section) => section.aims))}
${body}
</body></html>
`;
}

/** The few marks that the texts use: *emphasis* and `code`. */
function prose(text: string): string {
  return escapeText(text)
    .replace(/\*([^*]+)\*/g, "<em>$1</em>")
    .replace(/`([^`]+)`/g, "<code>$1</code>");
}

function aimsHtml(aims: readonly Aim[]): string {
  if (aims.length === 0) return "";
  const rows = aims.map(({ aim, measured, met, why }) => {
    const reason = met || why === undefined ? "" : `<div class="soft">${prose(why)}</div>`;
    const verdict = met ? `<td class="met">met</td>` : `<td class="missed">missed</td>`;
    return `<tr><td>${prose(aim)}${reason}</td><td>${escapeText(measured)}</td>${verdict}</tr>`;
  });
  return `<h2>Aims</h2><table class="aims"><tr><th>aim</th><th>measured</th><th></th></tr>${rows.join("")}</table>`;
}

function sectionHtml(section: RecordedSection): string {
  const plots = section.plots.map(
    (plot) => `<figure><figcaption>${escapeText(plot.title)}</figcaption>${drawPlot(plot)}</figure>`,
  );
  const tables = section.tables.map(tableHtml).join("");
  const quick = section.quick ? ", quick run" : "";
  return `<h2 id="${section.name}">${escapeText(section.title)}</h2><p>${prose(section.about)}</p>
<p class="soft">${escapeText(machineLine(section.machine))}; ${section.seconds.toFixed(0)} s${quick}</p>
<div class="plots">${plots.join("")}</div>
<details${plots.length === 0 ? " open" : ""}><summary>Tables</summary>${tables}</details>`;
}

function tableHtml(table: Table): string {
  const cells = (tag: string, row: readonly (string | number)[]) =>
    `<tr>${row.map((cell) => `<${tag}>${escapeText(String(cell))}</${tag}>`).join("")}</tr>`;
  const rows = table.rows.map((row) => cells("td", row)).join("");
  return `<h3>${escapeText(table.title)}</h3><div class="scroll"><table>${cells("th", table.columns)}${rows}</table></div>`;
}
