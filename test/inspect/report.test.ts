// The HTML report: its facts, and the page in headless Chromium, light and dark, searched, and with hostile names.
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeImageOf, encodeImage } from "../../src/images/framing";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { reportHtml } from "../../src/inspect/htmlReport";
import { cellCountOf, cellKinds, cellWidth, reportOf } from "../../src/inspect/report";
import { writeReport } from "../../src/inspect/writeReport";
import { dumpDocument, screenshot } from "../support/chromium";
import { withTempDir } from "../support/tempdir";
import { fixtureImages, fixtureNames, packedCopy } from "./fixtures";

for (const name of fixtureNames) {
  test(`the pictures of ${name} count every page once, in its cell`, () => {
    using checkpoint = Checkpoint.open(fixtureImages(name));
    for (const { mappings } of reportOf(checkpoint).tasks) {
      for (const { picture, statistics, pageCount } of mappings) {
        assert.equal(picture.cellCount, cellCountOf(pageCount));
        const totals = cellKinds.map((_, kind) => {
          let sum = 0;
          for (let cell = 0; cell < picture.cellCount; cell++) sum += picture.counts[cell * cellWidth + kind]!;
          return sum;
        });
        assert.deepEqual(totals, [...statistics.byClass, 0, statistics.absent, statistics.lazy]);
      }
    }
  });
}

test("a raw and a packed directory give the same report but for what is stored", async () => {
  await withTempDir("report", async (dir) => {
    using raw = Checkpoint.open(fixtureImages("redis"));
    using packed = Checkpoint.open(await packedCopy("redis", dir.join("packed")));
    const [left, right] = [reportOf(raw), reportOf(packed)];
    assert.deepEqual([left.packed, right.packed], [false, true]);
    assert.equal(left.totals.storedBytes, 7475200);
    assert.ok(right.totals.storedBytes < 2_000_000);
    const facts = ({ packedBytes, storedBytes, ...rest }: typeof left.totals) => rest;
    assert.deepEqual(facts(right.totals), facts(left.totals));
  });
});

test("in Chromium the page has its tree, pictures, tables and figures, and its own script runs under its policy", async () => {
  await withTempDir("report", async (dir) => {
    const file = dir.join("report.html");
    using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
    const report = reportOf(checkpoint);
    assert.equal(writeReport(report, file), readFileSync(file).length);
    assert.doesNotMatch(readFileSync(file, "utf8"), /https?:|<link|@import|url\(/);
    const page = await dumpDocument(file);
    assert.match(page, /<html[^>]* data-script="ran"/);
    for (const section of ["tree", "spaces", "compression", "rankings", "mappings", "descriptors"]) {
      assert.ok(page.includes(`<section id="${section}"`), section);
    }
    assert.ok(page.includes("./patchwork /srv/fixture/patchwork.dat"));
    assert.ok(page.includes("dead, exit 3"));
    assert.ok(page.includes("<b>98%</b><span>lazily restorable, 6.6 MiB</span>"));
    // A picture per mapping of both living tasks, but not of the kernel's page.
    assert.equal(page.match(/<svg class="pages"/g)!.length, 64);
    assert.equal(page.match(/<details class="card space-of" open/g)!.length, 2);
    assert.ok(page.includes("66 of 66") && page.includes("31 of 31"));
    assert.match(page, /pipe:\[70343\] read end[^|]*?22 B unread/);
  });
});

test("screenshots show the page light and dark, with lazy rails, zero pages and patterns in their colours", async () => {
  await withTempDir("report", async (dir) => {
    const file = dir.join("report.html");
    using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
    writeReport(reportOf(checkpoint), file);
    for (const [dark, paper, lazy, medium, zero] of [
      [false, "#fbfbfa", "#12a3b4", "#3f7fc4", "#b9c2cc"],
      [true, "#14171b", "#2ec4d6", "#5b9be0", "#566270"],
    ] as const) {
      const picture = await screenshot(file, 1280, 1600, dark);
      assert.deepEqual([picture.width, picture.height], [1280, 1600]);
      assert.equal(picture.at(4, 4), paper);
      // The 3 MiB of pattern are one bar of 71 cells, the 128 KiB of zeros one of 39, each 5 by 22 pixels.
      assert.ok(picture.count(medium) > 70 * 5 * 20, `medium ${picture.count(medium)}`);
      assert.ok(picture.count(zero) > 38 * 5 * 20, `zero ${picture.count(zero)}`);
      assert.ok(picture.count(lazy) > 100 * 5 * 3, `lazy ${picture.count(lazy)}`);
      assert.ok(picture.count(paper) > 100_000);
    }
  });
});

test("searching a table hides the rows that lack a word, and a click on a heading sorts", async () => {
  await withTempDir("report", async (dir) => {
    using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
    const file = dir.join("driven.html");
    // Stands for a person: the page's policy allows no script but its own, so this copy goes without the policy.
    const driver = `<script>
      const input = document.querySelector("input[data-table=mappings-table]");
      input.value = "LIBC 15812";
      input.dispatchEvent(new Event("input"));
      const rows = [...document.querySelectorAll("#mappings-table tbody tr")];
      const shown = rows.filter((row) => !row.hidden);
      document.body.dataset.shown = shown.length + " " + document.getElementById("mappings-table-count").textContent;
      [...document.querySelectorAll("#mappings-table th")].find((head) => head.textContent === "Size").click();
      document.body.dataset.first = document.querySelector("#mappings-table tbody tr").cells[3].textContent;
    </script></body>`;
    const page = reportHtml(reportOf(checkpoint)).replace(/<meta http-equiv[^>]*>/, "");
    writeFileSync(
      file,
      page.replace("</body>", () => driver),
    );
    const driven = await dumpDocument(file);
    assert.match(driven, /data-shown="5 5 of 66"/);
    assert.match(driven, /data-first="64 MiB"/);
  });
});

test("a name that is markup or a terminal's control is shown, not obeyed", async () => {
  await withTempDir("report", (dir) => {
    const images = dir.join("images");
    cpSync(fixtureImages("redis"), images, { recursive: true });
    const file = join(images, "core-15853.img");
    const image = decodeImageOf("CORE", readFileSync(file), file);
    const message = image.records[0]!.message;
    const hostile = { ...message, tc: { ...message.tc!, comm: '<img src=x onerror="a">\x1b[2J' } };
    rmSync(file);
    writeFileSync(file, encodeImage("CORE", [{ message: hostile }]));
    using checkpoint = Checkpoint.open(images);
    const page = reportHtml(reportOf(checkpoint));
    assert.ok(!page.includes("<img"));
    assert.ok(!page.includes("\x1b"));
    assert.ok(page.includes("&lt;img src=x onerror=&quot;a&quot;&gt;\\x1b[2J"));
  });
});

test("totals count the pages of a shared object once, though two tasks map it", () => {
  using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
  const { totals, tasks } = reportOf(checkpoint);
  const files = ["pages-1.img", "pages-2.img", "pages-3.img", "pages-4.img"];
  const stored = files.reduce((sum, file) => sum + statSync(join(fixtureImages("patchwork"), file)).size, 0);
  assert.deepEqual([totals.pagesBytes, totals.storedBytes], [stored, stored]);
  for (const { mappings } of tasks.slice(0, 2)) assert.equal(mappings.filter((each) => each.sharedObject).length, 2);
});
