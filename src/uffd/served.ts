// The record of a fault that a wait answered by itself. One maker for all waiters: V8 compiles their reader for one shape.
import { BlockCodec } from "../images/block";
import type { Served, Uffd } from "./port";

/** A record to be filled in. */
export function emptyServed(uffd: Uffd): Served {
  return {
    uffd,
    isFault: false,
    page: 0,
    pageCount: 0,
    codec: BlockCodec.Zero,
    blockFirst: 0,
    blockEnd: 0,
    wholeBlock: false,
    threadId: 0,
    write: false,
    readUs: 0,
    doneUs: 0,
  };
}
