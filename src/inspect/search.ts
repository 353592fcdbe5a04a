// Search of a task's memory: chunks of it are decoded and scanned on libuv's pool, a few at a time, and matches come out in
// address order as soon as their chunk is done. Bounded memory, whatever the image. Not for printing: textSearch.ts.
import { availableParallelism } from "node:os";
import { FaultlineError } from "../errors";
import { blockError } from "../images/readBlock";
import { MATCH_BYTES_MAX, PAGE_BYTES } from "../limits";
import { native } from "../native";
import type { AddressSpace } from "./addressSpace";
import { requiredLiteral } from "./regexLiteral";
import { LiteralMatcher, type Match, type Matcher, RegexMatcher } from "./searchMatch";
import { CHUNK_PAGES, type Chunk, type PlanCounts, planChunks } from "./searchPlan";

/** What is looked for; one of them. */
export interface Query {
  /** Its UTF-8 bytes. */
  readonly text?: string | undefined;
  /** A JavaScript regular expression over bytes; UTF-8 in it stands for its bytes. ^ and $ match at newlines. */
  readonly regex?: string | undefined;
  /** Bytes as hexadecimal digits; spaces and colons between them do not count. */
  readonly hex?: string | undefined;
}

/** A maker of matchers: each address space needs its own. Throws USAGE for a query that makes no sense. */
export function parseQuery(query: Query): () => Matcher {
  const given = [query.text, query.regex, query.hex].filter((each) => each !== undefined).length;
  if (given !== 1) {
    throw new FaultlineError("USAGE", given === 0 ? "nothing to search for" : "more than one thing to search for", {
      advice: "give a text, --regex or --hex",
    });
  }
  if (query.regex !== undefined) {
    const expression = parseRegex(query.regex);
    return () => new RegexMatcher(new RegExp(expression), requiredLiteral(expression.source));
  }
  const needle = query.hex === undefined ? Buffer.from(query.text!, "utf8") : parseHex(query.hex);
  checkNeedle(needle);
  return () => new LiteralMatcher(needle);
}

function parseRegex(source: string): RegExp {
  try {
    return new RegExp(Buffer.from(source, "utf8").toString("latin1"), "gm");
  } catch (cause) {
    throw new FaultlineError("USAGE", (cause as Error).message, { cause });
  }
}

function parseHex(text: string): Buffer {
  const digits = text.replace(/^0x/, "").replace(/[\s:]/g, "");
  if (/^([0-9a-fA-F]{2})*$/.test(digits)) return Buffer.from(digits, "hex");
  throw new FaultlineError("USAGE", `"${text}" is not bytes in hexadecimal`, {
    advice: 'write them like "7f 45 4c 46"',
  });
}

function checkNeedle(needle: Buffer): void {
  if (needle.length === 0) throw new FaultlineError("USAGE", "nothing to search for");
  if (needle.length > MATCH_BYTES_MAX) {
    throw new FaultlineError("USAGE", `more than ${MATCH_BYTES_MAX} bytes to search for`);
  }
  if (needle.every((byte) => byte === 0)) {
    throw new FaultlineError("USAGE", "bytes that are all zero are everywhere", {
      advice: "search for something next to them",
    });
  }
}

/** What was gone through, for the summary. */
export class SearchCounts implements PlanCounts {
  pages = 0;
  zeroPages = 0;
  absentPages = 0;
}

/** Places noted by one native call; beyond that the chunk is gone through again from there. */
const HITS_MAX = 4096;

interface Lane {
  readonly bytes: Buffer;
  readonly hits: Uint32Array;
}

interface Running {
  readonly chunk: Chunk;
  readonly lane: Lane;
  readonly result: Promise<number>;
}

/**
 * Matches in the stored pages of `space`, in address order. Adds to `counts` as it goes. Throws what damaged blocks throw.
 * The image's files must stay open until the generator ends.
 */
export async function* searchMemory(
  space: AddressSpace,
  matcher: Matcher,
  counts: SearchCounts,
): AsyncGenerator<Match, void> {
  const free = Array.from({ length: availableParallelism() + 1 }, newLane);
  const running: Running[] = [];
  const [firstPage, endPage] = space.bounds;
  try {
    for (const chunk of planChunks(space, firstPage, endPage, counts)) {
      const lane = free.pop()!;
      const result = native.searchBlocks(chunk.plan, chunk.blocks.length, matcher.needle, lane.bytes, lane.hits);
      running.push({ chunk, lane, result });
      if (free.length > 0) continue;
      const oldest = running[0]!;
      yield* settled(oldest, await oldest.result, matcher);
      running.shift();
      free.push(oldest.lane);
    }
    for (const rest of running) yield* settled(rest, await rest.result, matcher);
    yield* matcher.end();
  } finally {
    // Whoever stops early closes the files next.
    await Promise.allSettled(running.map(({ result }) => result));
  }
}

function newLane(): Lane {
  return { bytes: Buffer.allocUnsafeSlow(CHUNK_PAGES * PAGE_BYTES), hits: new Uint32Array(HITS_MAX) };
}

function settled({ chunk, lane }: Running, result: number, matcher: Matcher): Iterable<Match> {
  if (result < 0) throw blockError(result, chunk.blocks[lane.hits[0]!]!);
  return matcher.matches(chunk, lane.bytes, lane.hits, result);
}
