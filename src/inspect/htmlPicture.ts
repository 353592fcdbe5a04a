// The picture of a mapping's pages as SVG: along the address range, how full each stretch is, of what kind, and whether it
// can be restored lazily; with the other small parts that sections share. Not for what is around it: htmlSpaces.ts.
import { escapeHtml, Html, html } from "./html";
import { cellKinds, cellWidth, type PagePicture } from "./report";

const cellPx = 5;
const heightPx = 22;
const railPx = 3;
/** The least height of anything stored, so that one page among thousands is seen. */
const leastPx = 4;

/** Drawn from the bottom up, in this order. */
const layers = cellKinds.slice(0, 7);

export function pictureSvg(picture: PagePicture, backdrop: "empty" | "file", title: string): Html {
  const { cellCount } = picture;
  const width = cellCount * cellPx;
  const paths: Record<string, string> = {};
  for (let cell = 0; cell < cellCount; cell++) drawCell(picture, cell, paths);
  const drawn = [...layers, "lazy", "eager"].filter((kind) => paths[kind] !== undefined);
  const shapes = drawn.map((kind) => `<path class="c-${kind}" d="${paths[kind]}"/>`).join("");
  return new Html(
    `<svg class="pages" width="${width}" height="${heightPx + railPx + 1}" role="img" aria-label="${escapeHtml(title)}">` +
      `<title>${escapeHtml(title)}</title><rect class="c-${backdrop}" width="${width}" height="${heightPx}"/>${shapes}</svg>`,
  );
}

function drawCell(picture: PagePicture, cell: number, paths: Record<string, string>): void {
  const { counts, cellCount, pageCount } = picture;
  const at = cell * cellWidth;
  const first = Math.ceil((cell * pageCount) / cellCount);
  const room = Math.max(1, Math.ceil(((cell + 1) * pageCount) / cellCount) - first);
  let stored = 0;
  for (let kind = 0; kind < layers.length; kind++) stored += counts[at + kind]!;
  if (stored === 0) return;
  const full = Math.max(leastPx, (heightPx * Math.min(stored, room)) / room);
  let y = heightPx;
  layers.forEach((kind, index) => {
    const share = (full * counts[at + index]!) / stored;
    if (share <= 0) return;
    y -= share;
    paths[kind] = `${paths[kind] ?? ""}M${cell * cellPx} ${fixed(y)}h${cellPx}v${fixed(share)}h-${cellPx}z`;
  });
  const lazy = counts[at + 7]! > stored / 2 ? "lazy" : "eager";
  paths[lazy] = `${paths[lazy] ?? ""}M${cell * cellPx} ${heightPx + 1}h${cellPx}v${railPx}h-${cellPx}z`;
}

function fixed(value: number): string {
  return value.toFixed(1).replace(/\.0$/, "");
}

/** A bar of parts whose lengths are their shares of `total`. */
export function shareBar(
  parts: readonly { readonly kind: string; readonly value: number; readonly title: string }[],
  total: number,
): Html {
  const spans = parts
    .filter((part) => part.value > 0 && total > 0)
    .map(({ kind, value, title }) => {
      const percent = Math.max(0.4, (value / total) * 100).toFixed(2);
      return `<span class="b-${kind}" style="flex-basis:${percent}%" title="${escapeHtml(title)}"></span>`;
    });
  return new Html(`<div class="share">${spans.join("")}</div>`);
}

export function legendItem(kind: string, text: string): Html {
  return html`<span><i class="b-${kind}"></i>${text}</span>`;
}

/** The `count` items with most pages, still in their order. */
export function largest<T>(items: readonly T[], count: number, pagesOf: (item: T) => number): readonly T[] {
  if (items.length <= count) return items;
  const kept = new Set([...items].sort((a, b) => pagesOf(b) - pagesOf(a)).slice(0, count));
  return items.filter((item) => kept.has(item));
}
