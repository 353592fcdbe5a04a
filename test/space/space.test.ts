// Holds the layout map to a naive model, page by page, and to its size and independence of forks.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Space } from "../../src/space/space";

/** The naive model: one entry a page. */
type Naive = Map<number, string>;

type Step =
  | { kind: "image"; page: number; count: number; source: number; image: number }
  | { kind: "zero" | "installed" | "removed" | "unmapped"; page: number; count: number }
  | { kind: "remapped"; page: number; to: number; count: number }
  | { kind: "fork" };

const pages = 96;
const page = fc.integer({ min: 0, max: pages });
const count = fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: pages }));
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("image" as const),
    page,
    count,
    source: fc.integer({ min: 0, max: 2 }),
    image: fc.integer({ min: 0, max: 8 }),
  }),
  fc.record({ kind: fc.constantFrom("zero", "installed", "removed", "unmapped"), page, count }),
  fc.record({ kind: fc.constant("remapped" as const), page, to: page, count }),
  fc.constant({ kind: "fork" as const }),
);

function applyNaive(model: Naive, step: Step): void {
  if (step.kind === "fork") return;
  const end = step.page + step.count;
  if (step.kind === "remapped") {
    const moved = new Map<number, string>();
    for (let p = step.page; p < end; p++) if (model.has(p)) moved.set(p - step.page + step.to, model.get(p)!);
    if (step.to === step.page) return;
    for (let p = step.to; p < step.to + step.count; p++) model.delete(p);
    for (const p of moved.keys()) model.set(p - step.to + step.page, "zero");
    for (const [p, value] of moved) model.set(p, value);
    return;
  }
  for (let p = step.page; p < end; p++) {
    if (step.kind === "image") model.set(p, `image ${step.source} ${step.image + (p - step.page)}`);
    else if (step.kind === "zero") model.set(p, "zero");
    else if (step.kind === "installed") model.set(p, "installed");
    else if (step.kind === "removed" && model.has(p)) model.set(p, "zero");
    else if (step.kind === "unmapped") model.delete(p);
  }
}

function applySpace(space: Space, step: Step, base: number): void {
  if (step.kind === "fork") return;
  const at = step.page + base;
  if (step.kind === "image") space.addImage(at, step.count, step.source, step.image);
  else if (step.kind === "zero") space.addZero(at, step.count);
  else if (step.kind === "installed") space.installed(at, step.count);
  else if (step.kind === "removed") space.removed(at, step.count);
  else if (step.kind === "unmapped") space.unmapped(at, step.count);
  else if (step.kind === "remapped") space.remapped(at, step.to + base, step.count);
}

function show(space: Space, at: number): string | undefined {
  const need = space.at(at);
  if (need.kind === "outside") return undefined;
  return need.kind === "image" ? `image ${need.source} ${need.imagePage + (at - need.page)}` : need.kind;
}

function same(space: Space, model: Naive, base: number): void {
  let missing = 0;
  for (let p = 0; p <= pages * 3; p++) {
    assert.equal(show(space, p + base), model.get(p), `page ${p}`);
    if (model.get(p)?.startsWith("image")) missing++;
  }
  assert.equal(space.missingPages, missing);
  // Walking the missing ranges meets each missing page once, in order.
  let walked = 0;
  let at = base;
  for (let need = space.nextMissing(at); need !== undefined; need = space.nextMissing(at)) {
    assert.ok(need.page >= at || need.page + need.pageCount > at);
    walked += need.page + need.pageCount - Math.max(at, need.page);
    at = need.page + need.pageCount;
  }
  assert.equal(walked, missing);
}

for (const base of [0, 2 ** 51]) {
  test(`any steps and forks leave the layout that a page-by-page model has, from page ${base}`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let space = Space.empty();
        let model: Naive = new Map();
        const others: { space: Space; model: Naive }[] = [];
        for (const step of steps) {
          applySpace(space, step, base);
          applyNaive(model, step);
          if (step.kind !== "fork") continue;
          // Go on with the child on every other fork: both sides must stay apart.
          const child = { space: space.fork(), model: new Map(model) };
          if (others.length % 2 === 0) others.push(child);
          else {
            others.push({ space, model });
            ({ space, model } = child);
          }
        }
        same(space, model, base);
        for (const other of others) same(other.space, other.model, base);
      }),
      { numRuns: 600 },
    );
  });
}

test("many ranges: deep trees agree with the model under random change", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 31 - 1 }), (seed) => {
      let state = seed;
      const random = (below: number): number => {
        state = (Math.imul(state, 48271) >>> 0) % 2147483647 || 1;
        return state % below;
      };
      let space = Space.empty();
      const model: Naive = new Map();
      const forks: { space: Space; model: Naive }[] = [];
      const wide = 40_000;
      for (let i = 0; i < 6000; i++) {
        const kind = random(10);
        const at = random(wide);
        const length = random(20) === 0 ? random(2000) + 1 : random(4) + 1;
        if (kind < 5) {
          const image = random(1000);
          space.addImage(at, length, i % 3, image);
          for (let p = 0; p < length; p++) model.set(at + p, `image ${i % 3} ${image + p}`);
        } else if (kind < 7) {
          space.installed(at, length);
          for (let p = 0; p < length; p++) model.set(at + p, "installed");
        } else if (kind < 9) {
          space.unmapped(at, length);
          for (let p = 0; p < length; p++) model.delete(at + p);
        } else if (random(100) === 0) {
          forks.push({ space, model: new Map(model) });
          space = space.fork();
        }
      }
      forks.push({ space, model });
      for (const fork of forks) {
        for (let p = 0; p < wide + 2000; p++) if (show(fork.space, p) !== fork.model.get(p)) assert.fail(`page ${p}`);
      }
    }),
    { numRuns: 8 },
  );
});

test("installs in any order, alone and beside each other, leave one installed range and nothing missing", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 31 - 1 }), (seed) => {
      let state = seed;
      const random = (below: number): number => {
        state = (Math.imul(state, 48271) >>> 0) % 2147483647 || 1;
        return state % below;
      };
      const wide = 3000;
      let space = Space.empty();
      // Two image runs that do not go on from each other, and a border of what was there before.
      space.addImage(1000, wide / 2, 0, 7000);
      space.addImage(1000 + wide / 2, wide / 2, 1, 0);
      const there = new Set<number>();
      const forks: { space: Space; there: Set<number> }[] = [];
      const check = (checked: Space, model: Set<number>): void => {
        assert.equal(checked.missingPages, wide - model.size);
        for (let p = 0; p < wide; p++) {
          const image = p < wide / 2 ? `image 0 ${7000 + p}` : `image 1 ${p - wide / 2}`;
          if (show(checked, 1000 + p) !== (model.has(p) ? "installed" : image)) assert.fail(`page ${p}`);
        }
      };
      for (let i = 0; i < 3000; i++) {
        const at = random(wide);
        const length = Math.min(random(4) === 0 ? 16 : 1, wide - at);
        space.installed(1000 + at, length);
        for (let p = at; p < at + length; p++) there.add(p);
        if (random(1000) === 0) {
          forks.push({ space, there: new Set(there) });
          space = space.fork();
        }
      }
      check(space, there);
      for (const fork of forks) check(fork.space, fork.there);
      for (let p = 0; p < wide; p++) space.installed(1000 + p, 1);
      assert.equal(space.missingPages, 0);
      assert.equal(space.at(1000).pageCount, wide);
      assert.equal(space.measure().ranges, 1);
    }),
    { numRuns: 20 },
  );
});

test("a sparse space of 16 TiB with 100 000 VMAs stays below 64 bytes a range, with lookups of logarithmic depth", () => {
  const areas = 100_000;
  const stride = Math.floor((16 * 2 ** 40) / 4096 / areas);
  const layout = new Float64Array(areas * 8);
  for (let i = 0; i < areas; i++) layout.set([i * stride, 7, 0, i * 7, i * stride + 7, 5, -1, 0], i * 8);
  const space = Space.from(layout);
  assert.equal(space.missingPages, areas * 7);
  const full = space.measure();
  assert.equal(full.ranges, areas * 2);
  assert.ok(full.bytes / full.ranges <= 64, `${full.bytes / full.ranges} bytes a range`);
  assert.ok(full.depth <= 4, `depth ${full.depth}`);
  // Splitting and dropping ranges all over keeps it compact.
  for (let i = 0; i < areas; i++) {
    const at = ((i * 7919) % areas) * stride;
    if (i % 3 === 0) space.unmapped(at, 12);
    else if (i % 3 === 1) space.installed(at + 3, 1);
  }
  const changed = space.measure();
  assert.ok(changed.bytes / changed.ranges <= 64, `${changed.bytes / changed.ranges} bytes a range`);
  assert.equal(show(space, ((1 * 7919) % areas) * stride + 3), "installed");
});

test("a change after a fork copies a path of nodes, not the tree", () => {
  const space = Space.empty();
  for (let i = 0; i < 100_000; i++) space.addImage(i * 10, 5, 0, i * 10);
  const child = space.fork();
  space.installed(500_000, 1);
  child.removed(10, 2);
  assert.equal(show(child, 500_000), "image 0 500000");
  assert.equal(show(space, 10), "image 0 10");
  assert.equal(show(child, 10), "zero");
});

test("MREMAP_DONTUNMAP leaves zero behind, and the bytes move", () => {
  const space = Space.empty();
  space.addImage(100, 10, 0, 1000);
  space.remapped(100, 200, 10);
  assert.equal(show(space, 100), "zero");
  assert.equal(show(space, 205), "image 0 1005");
  space.unmapped(100, 10);
  assert.equal(show(space, 100), undefined);
});

test("an install that joins the range after it leaves the range before it, in leaves however full", () => {
  // Of each pair the first page is missing and the second is there; between pairs is nothing.
  for (let pairs = 1; pairs <= 40; pairs++) {
    for (let chosen = 0; chosen < pairs; chosen++) {
      const space = Space.empty();
      for (let pair = 0; pair < pairs; pair++) {
        space.addImage(pair * 100, 1, 0, pair * 7);
        space.installed(pair * 100 + 1, 1);
      }
      space.installed(chosen * 100, 1);
      assert.equal(space.missingPages, pairs - 1);
      for (let pair = 0; pair < pairs; pair++) {
        assert.equal(space.at(pair * 100).kind, pair === chosen ? "installed" : "image", `${pairs} pairs, ${chosen}`);
        assert.equal(space.at(pair * 100 + 1).kind, "installed", `${pairs} pairs, ${chosen}: after pair ${pair}`);
      }
    }
  }
});
