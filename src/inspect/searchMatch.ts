// What a match is, in decoded chunks that come in address order: a literal's places, which the native scan found, or those
// of a regular expression. Both go across pages, blocks and chunks as long as addresses follow each other.
import { MATCH_BYTES_MAX } from "../limits";
import { native } from "../native";
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
const noNeedle = new Uint8Array(0);

/**
 * Finds a regular expression, whose characters are bytes (latin1). Matches of up to MATCH_BYTES_MAX bytes are found wherever
 * they lie; longer ones are cut to that. Empty ones do not count.
 */
export class RegexMatcher implements Matcher {
  readonly needle = noNeedle;
  private carry = "";
  /** Address of the end of `carry`, and that from which nothing was searched yet. */
  private endAddress = 0;
  private from = 0;

  /** `expression` has the flag g. */
  constructor(private readonly expression: RegExp) {}

  *matches(chunk: Chunk, bytes: Buffer): Generator<Match> {
    for (const span of chunk.spans) {
      if (!span.follows) yield* this.end();
      const text = this.carry + bytes.toString("latin1", span.offset, span.offset + span.length);
      this.endAddress = span.address + span.length;
      if (this.carry === "") this.from = span.address;
      // What begins closer to the end may go on in the next chunk.
      yield* this.scan(text, Math.max(0, text.length - MATCH_BYTES_MAX));
      this.carry = text.slice(-CARRY_BYTES);
    }
  }

  *end(): Generator<Match> {
    if (this.carry !== "") yield* this.scan(this.carry, this.carry.length);
    this.carry = "";
  }

  /** Matches that begin before `limit` of `text` and after those found already. */
  private *scan(text: string, limit: number): Generator<Match> {
    const { expression } = this;
    const base = this.endAddress - text.length;
    let at = this.from - base;
    while (at < limit) {
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
