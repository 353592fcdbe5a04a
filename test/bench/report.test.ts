// The benchmark's documents: made from recorded data alone, and a page that needs no network and can be read, light and dark.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { dumpDocument, screenshot } from "../support/chromium";
import { repositoryRoot } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { markdown } from "./report/markdown";
import { page } from "./report/page";
import { kept } from "./report/record";
import type { RecordedSection } from "./report/result";
import { sections } from "./sections/all";

const docs = join(repositoryRoot, "docs");
const recorded = kept(sections.map(({ name }) => name));

const machine = {
  cpu: "a processor",
  cores: 2,
  memoryGib: 24,
  kernel: "6.18",
  node: "v20",
  criu: "4.2.1",
  commit: "0123456",
  date: "2026-11-24 00:00",
  load: 0.1,
};

/** One of each kind of plot, a table, aims met and missed; `word` is wherever a text is. */
function sample(word: string): RecordedSection {
  const bars = [
    { label: `${word} bar`, value: 12.34, high: 56.78, ours: true },
    { label: "other", value: 5, ours: false },
  ];
  const points = [[1, 10] as const, [1000, 20] as const];
  return {
    name: "sample",
    title: `${word} title`,
    about: `${word} about`,
    tables: [{ title: `${word} table`, columns: ["subject", "µs"], rows: [[`${word} row`, 4711]] }],
    plots: [
      { kind: "bars", title: `${word} bars`, unit: "µs", logarithmic: true, bars },
      {
        kind: "lines",
        title: `${word} lines`,
        xLabel: "ranges",
        yLabel: "ns",
        logarithmicX: true,
        logarithmicY: false,
        lines: [{ label: `${word} line`, points }],
      },
    ],
    aims: [
      { aim: `${word} aim`, measured: "1.00×", met: true },
      { aim: "another aim", measured: "3.00×", met: false, why: `${word} why` },
    ],
    raw: {},
    machine,
    quick: false,
    seconds: 1,
  };
}

test("the page loads nothing and runs nothing", () => {
  const html = page(recorded);
  assert.doesNotMatch(html, /<(script|link|img|iframe|object|embed|base|form)\b/i);
  assert.doesNotMatch(html, /\b(src|srcset|action)\s*=|@import|url\(|\son\w+\s*=/i);
  for (const [, target] of html.matchAll(/href="([^"]*)"/g)) assert.match(target!, /^#\w+$/);
});

test("the page has every table and every aim, and a picture of every plot, with its numbers", () => {
  const html = page(recorded);
  const count = (pattern: RegExp) => html.match(pattern)?.length ?? 0;
  const sum = (of: (section: RecordedSection) => number) => recorded.reduce((total, each) => total + of(each), 0);
  assert.equal(
    count(/<svg /g),
    sum(({ plots }) => plots.length),
  );
  assert.equal(
    count(/class="scroll"/g),
    sum(({ tables }) => tables.length),
  );
  assert.equal(
    count(/<td class="(met|missed)">/g),
    sum(({ aims }) => aims.length),
  );
  assert.ok(sum(({ plots }) => plots.length) >= 10);
  const one = page([sample("a")]);
  for (const text of ["12.3", "4711", "a bar: 12.3 (line to 56.8) µs", "a line: 20.0 at 1000", "a why"]) {
    assert.ok(one.includes(text), text);
  }
});

test("texts from recorded data are shown, not obeyed", () => {
  const html = page([sample('<img src=x onerror="a">')]);
  assert.doesNotMatch(html, /<img/);
  assert.ok(html.includes("&lt;img src=x onerror=&quot;a&quot;&gt; row"));
});

/** Contrast of two "#rrggbb", 1 to 21 (WCAG 2.2, relative luminance). */
function contrast(a: string, b: string): number {
  const luminance = (color: string) => {
    const [red, green, blue] = [1, 3, 5].map((at) => {
      const channel = Number.parseInt(color.slice(at, at + 2), 16) / 255;
      return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
}

test("light and dark, texts stand out from what they are on by 4.5, bars and curves by 3", () => {
  const html = page([sample("a")]);
  const [light, dark] = [...html.matchAll(/:root \{([^}]*)\}/g)].map(
    (match) => new Map([...match[1]!.matchAll(/--([\w-]+): (#[0-9a-f]{6})/g)].map((each) => [each[1]!, each[2]!])),
  );
  for (const colors of [light!, dark!]) {
    for (const under of ["paper", "panel"]) {
      const over = (name: string) => contrast(colors.get(name)!, colors.get(under)!);
      for (const name of ["ink", "soft", "ours", "good", "bad"]) assert.ok(over(name) >= 4.5, `${name} ${over(name)}`);
      for (const name of ["other", "line-0", "line-1", "line-2", "line-3"]) {
        assert.ok(over(name) >= 3, `${name} ${over(name)}`);
      }
    }
  }
});

test("in Chromium the plots are drawn in the colours of light and dark, and nothing is wider than a phone", async () => {
  await withTempDir("bench-page", async (dir) => {
    const file = dir.join("page.html");
    writeFileSync(file, page([sample("a")]));
    for (const [dark, paper, ours] of [
      [false, "#fcfcfb", "#1f6f8b"],
      [true, "#17181b", "#62b6d2"],
    ] as const) {
      const picture = await screenshot(file, 1000, 1400, dark);
      assert.equal(picture.at(4, 4), paper);
      assert.ok(picture.count(paper) > 100_000, `paper ${picture.count(paper)}`);
      assert.ok(picture.count(ours) > 1000, `ours ${picture.count(ours)}`);
    }
    const driver = `<div id="room" style="width: 390px"></div><script>
      const room = document.getElementById("room");
      for (const child of [...document.body.children]) if (child !== room && child.tagName !== "SCRIPT") room.append(child);
      document.body.dataset.wide = [...room.children].filter((child) => child.scrollWidth > 391).map((child) => child.tagName).join();
    </script></body>`;
    writeFileSync(
      file,
      page(recorded).replace("</body>", () => driver),
    );
    assert.match(await dumpDocument(file), /data-wide=""/);
  });
});

test("the documents are what the recorded data gives", () => {
  assert.equal(readFileSync(join(docs, "BENCHMARKS.md"), "utf8"), markdown(recorded));
  assert.equal(readFileSync(join(docs, "benchmarks.html"), "utf8"), page(recorded));
});
