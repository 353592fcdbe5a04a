// The report's style sheet and its one script (search and sort in tables). No reference to anything outside the file.

export const styleSheet = `
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1d2329; --dim: #66717d; --rule: #e2e5e9; --hover: #f1f4f7; --accent: #0b6e8f;
  --zero: #b9c2cc; --low: #2a9d6f; --medium: #3f7fc4; --high: #c98a1b; --random: #c8435a; --unmeasured: #8f9aa6;
  --absent: #1d2329; --empty: #e8ebef; --file: #d3daf0; --lazy: #12a3b4; --eager: #e07b39;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1b1f25; --ink: #e4e8ec; --dim: #93a0ac; --rule: #2d333b; --hover: #232930; --accent: #5cc4e0;
    --zero: #566270; --low: #39b885; --medium: #5b9be0; --high: #dba646; --random: #e2657a; --unmeasured: #78838f;
    --absent: #e4e8ec; --empty: #282e36; --file: #30385c; --lazy: #2ec4d6; --eager: #f0935a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 25px; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 40px 0 4px; }
h3 { font-size: 14px; margin: 0 0 8px; }
p.about { margin: 0 0 12px; color: var(--dim); max-width: 78ch; }
code, .mono { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; font-size: 12px; }
.dim { color: var(--dim); }
nav { margin-top: 10px; }
nav a { color: var(--accent); text-decoration: none; margin-right: 16px; }
nav a:hover { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 18px 0 8px; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: 12px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 16px; margin: 10px 0; }
.scroll { overflow-x: auto; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 14px; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: 12px; border-bottom: 1px solid var(--rule);
  padding: 4px 8px; white-space: nowrap; }
td { padding: 3px 8px; border-bottom: 1px solid var(--rule); vertical-align: middle; }
tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--hover); }
td.mono { white-space: nowrap; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.name { overflow-wrap: anywhere; }
th[data-sort] { cursor: pointer; user-select: none; }
th[data-sort]:hover { color: var(--ink); }
th[aria-sort=ascending]::after { content: " \\2191"; } th[aria-sort=descending]::after { content: " \\2193"; }
input[type=search] { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--rule); border-radius: 6px;
  padding: 6px 10px; width: min(420px, 100%); margin: 0 8px 8px 0; }
summary { cursor: pointer; padding: 4px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12px; color: var(--dim); margin: 8px 0 2px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -2px; }
.share { display: flex; height: 14px; border-radius: 4px; overflow: hidden; background: var(--empty); }
.share span { flex: 0 1 auto; }
.shares { display: grid; grid-template-columns: max-content 1fr; gap: 6px 12px; align-items: center; margin: 8px 0 14px;
  font-size: 12px; color: var(--dim); }
.space { display: grid; grid-template-columns: repeat(5, max-content) minmax(220px, 1fr);
  gap: 0 14px; align-items: center; min-width: 1060px; }
.space .head { color: var(--dim); font-size: 11px; }
.space > div { padding: 1px 0; }
.space .gap { grid-column: 1 / -1; color: var(--dim); font-size: 11px; border-top: 1px dashed var(--rule);
  margin: 5px 0 3px; padding-top: 2px; }
svg.pages { display: block; }
.ratio { position: relative; height: 12px; min-width: 160px; background: var(--empty); border-radius: 3px; overflow: hidden; }
.ratio span { position: absolute; inset: 0 auto 0 0; border-radius: 3px; }
.badge { font-size: 11px; border: 1px solid var(--rule); border-radius: 10px; padding: 0 7px; color: var(--dim); white-space: nowrap; }
.tree { white-space: pre; color: var(--dim); }
.c-empty { fill: var(--empty); } .c-file { fill: var(--file); }
.c-zero { fill: var(--zero); } .c-low { fill: var(--low); } .c-medium { fill: var(--medium); } .c-high { fill: var(--high); }
.c-random { fill: var(--random); } .c-unmeasured { fill: var(--unmeasured); } .c-absent { fill: var(--absent); }
.c-lazy { fill: var(--lazy); } .c-eager { fill: var(--eager); }
.b-empty { background: var(--empty); } .b-file-backed { background: var(--file); }
.b-zero { background: var(--zero); } .b-low { background: var(--low); } .b-medium { background: var(--medium); }
.b-high { background: var(--high); } .b-random { background: var(--random); } .b-unmeasured { background: var(--unmeasured); }
.b-absent { background: var(--absent); } .b-lazy { background: var(--lazy); } .b-eager { background: var(--eager); }
.b-kind-heap { background: #b0689a; } .b-kind-anonymous { background: #7d6bb8; } .b-kind-stack { background: #54467f; }
.b-kind-file { background: #a98458; } .b-kind-shared { background: #8a9a5b; } .b-kind-other { background: #8f9aa6; }
footer { margin-top: 48px; color: var(--dim); font-size: 12px; }
@media print { .card { break-inside: avoid; } input { display: none; } }
`;

/** Filters the rows of a table by all words typed, and sorts by a clicked column (by data-value where a cell has one). */
export const script = `
"use strict";
for (const input of document.querySelectorAll("input[data-table]")) {
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  const count = document.getElementById(input.dataset.table + "-count");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      if (!row.hidden) shown++;
    });
    count.textContent = shown + " of " + rows.length;
  });
}
for (const head of document.querySelectorAll("th[data-sort]")) {
  head.addEventListener("click", () => {
    const table = head.closest("table");
    const body = table.tBodies[0];
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const cell = row.cells[head.cellIndex];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    const rows = [...body.rows].map((row) => ({ row, key: value(row) }));
    rows.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0) * (down ? -1 : 1));
    body.append(...rows.map((each) => each.row));
  });
}
document.documentElement.dataset.script = "ran";
`;
