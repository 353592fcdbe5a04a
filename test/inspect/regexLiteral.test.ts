// Holds that a search that tries a regular expression only around a literal finds what one that tries it everywhere does.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { FaultlineError } from "../../src/errors";
import { requiredLiteral } from "../../src/inspect/regexLiteral";
import { type Match, RegexMatcher } from "../../src/inspect/searchMatch";
import type { Chunk } from "../../src/inspect/searchPlan";
import { native } from "../../src/native";

test("a literal is taken only where every match must hold it", () => {
  for (const [source, literal] of [
    ["redis_[a-z]+:[0-9.]+", "redis_"],
    ["[a-z]+_version:[0-9.]+", "_version:"],
    ["ab(cd|ef)ghi", "ghi"],
    ["abcd*efg", "abc"],
    ["abcd?", "abc"],
    ["abcx+yz", "abcx"],
    ["x{2}abc{0,3}defg", "defg"],
    ["a\\.b\\/c", "a.b/c"],
    ["\\bname\\d+=", "name"],
    ["(?=abcdef)...xyz", "xyz"],
    ["^[\\]|)]key:$", "key:"],
    ["one|other", ""],
    ["ab", ""],
    ["abc\\x41def", ""],
    ["abc\\u0041", ""],
    ["(abc)\\1", ""],
    ["abc{x", ""],
  ] as const) {
    assert.equal(requiredLiteral(new RegExp(source, "gm").source).toString("latin1"), literal, source);
  }
});

/** All matches of `text`, handed over in chunks that end at `cuts`. */
function search(source: string, literal: Buffer, text: Buffer, cuts: readonly number[], capacity: number): Match[] {
  return [...matchesOf(new RegexMatcher(new RegExp(source, "gm"), literal), text, cuts, capacity)];
}

function* matchesOf(matcher: RegexMatcher, text: Buffer, cuts: readonly number[], capacity: number): Generator<Match> {
  const hits = new Uint32Array(capacity);
  let from = 0;
  for (const end of [...cuts, text.length]) {
    const bytes = text.subarray(from, end);
    if (bytes.length === 0) continue;
    const span = { offset: 0, length: bytes.length, address: 4096 + from, follows: from > 0 };
    const chunk: Chunk = { plan: new Float64Array(0), blocks: [], spans: [span], byteCount: bytes.length };
    const count = matcher.needle.length === 0 ? 0 : native.findBytes(bytes, 0, bytes.length, matcher.needle, hits);
    yield* matcher.matches(chunk, bytes, hits, count);
    from = end;
  }
  yield* matcher.end();
}

test("with and without the literal the same matches are found, wherever chunks and segments end", () => {
  const atom = fc.constantFrom(
    "key",
    "abc",
    "a",
    "[a-c]",
    "(?:ab|c)",
    "\\w",
    "b+",
    "c?",
    "k{1,2}",
    "\\bab",
    "(?<=a)",
    ".*",
  );
  // Each `.*` tries every length from every place of a line: lines are so short that no search takes 10^8 steps.
  const lineBytes = (source: string): number => [1000, 1000, 50, 25][source.split(".*").length - 1]!;
  const expression = fc
    .array(atom, { minLength: 1, maxLength: 4 })
    .map((atoms) => atoms.join(""))
    .filter((source) => requiredLiteral(source).length > 0);
  const island = fc.record({
    at: fc.oneof(fc.nat(100_000), fc.constantFrom(32_766, 32_768, 65_534, 65_537, 28_670)),
    text: fc.string({ unit: fc.constantFrom("k", "e", "y", "a", "b", "c", "\n"), minLength: 1, maxLength: 40 }),
  });
  const cuts = fc.uniqueArray(fc.nat(100_000), { maxLength: 3 }).map((at) => at.sort((a, b) => a - b));
  const examine = fc.property(
    expression,
    fc.array(island, { maxLength: 30 }),
    cuts,
    fc.constantFrom(2, 4096),
    (source, islands, at, capacity) => {
      const text = Buffer.alloc(100_100, 0x2e);
      for (const { at: place, text: what } of islands) text.write(what, place, "latin1");
      const step = lineBytes(source);
      for (let line = step; line < text.length; line += step) text[line] = 10;
      const quick = search(source, requiredLiteral(source), text, at, capacity);
      assert.deepEqual(quick, search(source, Buffer.alloc(0), text, at, capacity), source);
    },
  );
  fc.assert(examine, { numRuns: 300 });
});

test("an expression that backtracks without end is an error that says where, after what it found", () => {
  // It never ends; the limit is far beyond what a stalled machine takes to find the first match.
  const text = Buffer.from(`.xxy.${"x".repeat(200)}.`);
  for (const literal of ["", "x"]) {
    const matcher = new RegexMatcher(/(?:x+x+)+y/gm, Buffer.from(literal), 3000);
    const found: Match[] = [];
    const searching = () => {
      for (const match of matchesOf(matcher, text, [], 4096)) found.push(match);
    };
    assert.throws(searching, (error: FaultlineError) => {
      assert.equal(error.code, "TIMEOUT");
      assert.match(error.line(), /^the expression got no further for 3 s: it backtracks too much \(address 0x1004\); /);
      return true;
    });
    assert.deepEqual(found, [{ address: 4097, length: 3 }]);
  }
});
