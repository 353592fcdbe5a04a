// What a match is, in decoded chunks that come in address order: a literal's places, which the native scan found, or those
// of a regular expression. Both go across pages, blocks and chunks as long as addresses follow each other.
import { FaultlineError } from "../errors";
import { EXPRESSION_MS_MAX, MATCH_BYTES_MAX } from "../limits";
import { native } from "../native";
import { Patience } from "./patience";
import type { Chunk, ChunkSpan } from "./searchPlan";

/** Where something was found: a byte address and a length in bytes. */
export interface Match {
  readonly address: number;
  readonly length: number;
}

/** Sees every chunk once, in order, then end(). The bytes are only looked at during the call. */
export interface Matcher {
  /** What native.searchBlocks is to look for; empty for nothing. */
  readonly needle: Uint8Array;
  matches(chunk: Chunk, bytes: Buffer, hits: Uint32Array, hitCount: number): Iterable<Match>;
  end(): Iterable<Match>;
}

/** Finds bytes, not overlapping, from the lowest address on. */
export class LiteralMatcher implements Matcher {
  /** Up to needle - 1 bytes before the span at hand, where that follows on them. */
  private tail = Buffer.alloc(0);
  private free = 0;
  private readonly more = new Uint32Array(4096);

  constructor(readonly needle: Buffer) {}

  *matches(chunk: Chunk, bytes: Buffer, hits: Uint32Array, hitCount: number): Generator<Match> {
    const { length } = this.needle;
    let hit = 0;
    for (const span of chunk.spans) {
      if (!span.follows) this.tail = Buffer.alloc(0);
      for (const address of this.atSeam(span, bytes)) if (this.claim(address)) yield { address, length };
      const end = span.offset + span.length;
      let from = span.offset;
      for (; hit < hitCount && hits[hit]! < end; hit++) {
        const address = span.address + hits[hit]! - span.offset;
        from = hits[hit]! + 1;
        if (this.claim(address)) yield { address, length };
      }
      // A full list says nothing about what comes after its last hit.
      if (hitCount === hits.length && hit === hitCount) yield* this.scanOn(span, bytes, from, end);
      this.keepTail(bytes.subarray(span.offset, end));
    }
  }

  *end(): Generator<Match> {}

  /** Takes a place unless it overlaps the match before it. */
  private claim(address: number): boolean {
    if (address < this.free) return false;
    this.free = address + this.needle.length;
    return true;
  }

  private *atSeam(span: ChunkSpan, bytes: Buffer): Generator<number> {
    const { tail, needle } = this;
    if (tail.length === 0) return;
    const head = bytes.subarray(span.offset, span.offset + Math.min(span.length, needle.length - 1));
    const joined = Buffer.concat([tail, head]);
    for (let at = joined.indexOf(needle); at >= 0; at = joined.indexOf(needle, at + 1)) {
      yield span.address - tail.length + at;
    }
  }

  private *scanOn(span: ChunkSpan, bytes: Buffer, from: number, end: number): Generator<Match> {
    const { more, needle } = this;
    for (let at = from, count = more.length; count === more.length; at = more[count - 1]! + 1) {
      count = native.findBytes(bytes, at, end, needle, more);
      for (let hit = 0; hit < count; hit++) {
        const address = span.address + more[hit]! - span.offset;
        if (this.claim(address)) yield { address, length: needle.length };
      }
      if (count === 0) return;
    }
  }

  private keepTail(span: Buffer): void {
    const keep = this.needle.length - 1;
    const all = span.length >= keep ? span : Buffer.concat([this.tail, span]);
    this.tail = Buffer.from(all.subarray(Math.max(0, all.length - keep)));
  }
}

/** Bytes kept before a place that was searched, for look-behind, \b and ^; and after it, for a match to end in. */
const CARRY_BYTES = 2 * MATCH_BYTES_MAX;
/** Bytes tried or left out as one, by whether a place of the required literal is near. */
const SEGMENT_BYTES = 32 * 1024;
/** Matches looked for with one start of the clock. */
const MATCHES_AT_ONCE = 1024;

/**
 * Finds a regular expression, whose characters are bytes (latin1). Matches of up to MATCH_BYTES_MAX bytes are found wherever
 * they lie; longer ones are cut to that, or missed. Empty ones do not count. Where a literal is in every match, only the
 * bytes around its places, which the native scan found, become a string and are tried. Throws TIMEOUT for one that
 * backtracks without end.
 */
export class RegexMatcher implements Matcher {
  readonly needle: Uint8Array;
  private readonly literal: string;
  private carry = "";
  /** Address of the end of `carry`, and that from which nothing was found yet. */
  private endAddress = 0;
  private from = 0;
  private readonly patience: Patience;

  /** `expression` has the flag g; `literal` is in each of its matches, empty for none known. */
  constructor(
    private readonly expression: RegExp,
    literal: Buffer,
    private readonly limitMs = EXPRESSION_MS_MAX,
  ) {
    this.needle = literal;
    this.literal = literal.toString("latin1");
    this.patience = new Patience(limitMs);
  }

  matches(chunk: Chunk, bytes: Buffer, hits: Uint32Array, hitCount: number): Generator<Match> {
    return this.patiently(this.inChunk(chunk, bytes, hits, hitCount));
  }

  end(): Generator<Match> {
    return this.patiently(this.inCarry());
  }

  /** What `found` gives, as long as it gives more or ends in time. */
  private *patiently(found: Generator<Match>): Generator<Match> {
    for (let ended = false; !ended; ) {
      const some: Match[] = [];
      const done = this.patience.run(() => {
        while (!ended && some.length < MATCHES_AT_ONCE) {
          const next = found.next();
          if (next.done === true) ended = true;
          else some.push(next.value);
        }
      });
      yield* some;
      if (done === undefined) throw this.tooSlow();
    }
  }

  private tooSlow(): FaultlineError {
    const seconds = this.limitMs / 1000;
    return new FaultlineError("TIMEOUT", `the expression got no further for ${seconds} s: it backtracks too much`, {
      address: this.from,
      advice: "repeat nothing that can match the same bytes in several ways",
    });
  }

  private *inChunk(chunk: Chunk, bytes: Buffer, hits: Uint32Array, hitCount: number): Generator<Match> {
    // A full list says nothing about what comes after its last hit.
    const known = hitCount < hits.length ? Number.POSITIVE_INFINITY : hits[hitCount - 1]!;
    let hit = 0;
    for (const span of chunk.spans) {
      if (!span.follows) yield* this.inCarry();
      const end = span.offset + span.length;
      for (let at = span.offset; at < end; at += SEGMENT_BYTES) {
        const until = Math.min(at + SEGMENT_BYTES, end);
        const first = hit;
        while (hit < hitCount && hits[hit]! < until) hit++;
        const holds = hit > first || until > known;
        yield* this.segment(bytes, at, until, span.address + until - span.offset, holds);
      }
    }
  }

  /** The next bytes in address order; `holds`: the literal begins in them, or may. */
  private *segment(bytes: Buffer, at: number, until: number, endAddress: number, holds: boolean): Generator<Match> {
    if (this.carry === "") this.from = endAddress - (until - at);
    this.endAddress = endAddress;
    const tried = this.literal === "" || holds || this.carried(bytes, at, until);
    const text = this.carry + bytes.toString("latin1", tried ? at : Math.max(at, until - CARRY_BYTES), until);
    // What begins closer to the end may go on in the next segment.
    const limit = Math.max(0, text.length - MATCH_BYTES_MAX);
    if (tried) yield* this.scan(text, limit);
    else this.from = Math.max(this.from, endAddress - MATCH_BYTES_MAX);
    this.carry = text.slice(-CARRY_BYTES);
  }

  /** Whether the literal is in what was kept back, or across its end. */
  private carried(bytes: Buffer, at: number, until: number): boolean {
    const head = bytes.toString("latin1", at, Math.min(until, at + this.literal.length - 1));
    return (this.carry + head).includes(this.literal);
  }

  private *inCarry(): Generator<Match> {
    if (this.carry !== "") yield* this.scan(this.carry, this.carry.length);
    this.carry = "";
  }

  /** Matches that begin before `limit` of `text` and after those found already. */
  private *scan(text: string, limit: number): Generator<Match> {
    const { expression } = this;
    const base = this.endAddress - text.length;
    let at = Math.max(0, this.from - base);
    while (at < limit) {
      this.from = base + at;
      expression.lastIndex = at;
      const found = expression.exec(text);
      if (found === null || found.index >= limit) break;
      const { length } = found[0];
      at = found.index + Math.max(1, length);
      if (length > 0) yield { address: base + found.index, length: Math.min(length, MATCH_BYTES_MAX) };
    }
    this.from = base + Math.max(at, limit);
  }
}
