// What the pages of a range are like: how many are stored, lazy, zero, how random they look, how small they get packed.
// Reads blocks one at a time; for large ranges every n-th block only (the caller chooses n). Not for layout or words.

import type { PagePiece } from "../images/pageIndex";
import { BLOCK_PAGES_MAX, PAGE_BYTES } from "../limits";
import { native } from "../native";
import { isPackedPiece, isZeroPiece, type Memory, PieceReader } from "./memory";

/**
 * How a page looks by its Shannon entropy in bits per byte (0 to 8): "low" below 3 (tables, sparse structures), "medium" below
 * 6 (text, code, objects), "high" below 7.5 (dense data), "random" above (compressed or encrypted: packing gains nothing).
 */
export type EntropyClass = "zero" | "low" | "medium" | "high" | "random";
export const entropyClasses: readonly EntropyClass[] = ["zero", "low", "medium", "high", "random"];

const zeroMark = 65535;
const classBounds = [300, 600, 750]; // hundredths of a bit

function classIndex(hundredths: number): number {
  if (hundredths === zeroMark) return 0;
  const above = classBounds.findIndex((bound) => hundredths < bound);
  return above < 0 ? 4 : above + 1;
}

/** All counts are pages. Measured counts are of the blocks that were read; `stride` 1 means all of them. */
export interface PageStatistics {
  /** Bytes are in this directory. */
  readonly present: number;
  /** Bytes are in a parent directory. */
  readonly parent: number;
  /** Belongs to the image but has no bytes in it (a lazy dump left it at the source). */
  readonly absent: number;
  /** May be restored lazily. */
  readonly lazy: number;
  /** Stored pages that were looked at. */
  readonly measured: number;
  /** Of those, by class: zero, low, medium, high, random. */
  readonly byClass: readonly number[];
  /** Mean entropy of the measured pages that are not zero, bits per byte; undefined where there is none. */
  readonly entropyBits: number | undefined;
  /** Bytes that the measured pages take packed: as stored in a packed directory, as LZ4 would store them otherwise. */
  readonly packedBytes: number;
}

/** The word for a whole range: its mean entropy's class; undefined where nothing is stored. */
export function entropyClassOf(statistics: PageStatistics): EntropyClass | undefined {
  if (statistics.measured === 0) return undefined;
  if (statistics.entropyBits === undefined) return "zero";
  return entropyClasses[classIndex(Math.round(statistics.entropyBits * 100))];
}

/** Called for each piece, with the class index of each of its pages where it was measured. */
export type PieceVisitor = (piece: PagePiece, classes: Uint8Array | undefined) => void;

export interface AnalysisOptions {
  /** Read every n-th block only. */
  readonly stride: number;
  readonly visit?: PieceVisitor;
}

export class Analyzer {
  private readonly reader = new PieceReader();
  private readonly entropies = new Uint16Array(BLOCK_PAGES_MAX);
  private readonly classes = new Uint8Array(BLOCK_PAGES_MAX);
  private readonly scratch = Buffer.allocUnsafe(BLOCK_PAGES_MAX * PAGE_BYTES);

  analyze(memory: Memory, firstPage: number, pageCount: number, options: AnalysisOptions): PageStatistics {
    const byClass = [0, 0, 0, 0, 0];
    const counts = { present: 0, parent: 0, absent: 0, lazy: 0 };
    let [measured, entropySum, packedBytes, turn] = [0, 0, 0, 0];
    for (const piece of memory.pieces(firstPage, firstPage + pageCount)) {
      counts[piece.origin === "here" ? "present" : piece.origin] += piece.pageCount;
      if (piece.lazy) counts.lazy += piece.pageCount;
      if (piece.block === undefined || turn++ % options.stride !== 0) {
        options.visit?.(piece, undefined);
        continue;
      }
      measured += piece.pageCount;
      packedBytes += this.measure(piece);
      for (let page = 0; page < piece.pageCount; page++) {
        byClass[this.classes[page]!]!++;
        if (this.entropies[page] !== zeroMark) entropySum += this.entropies[page]!;
      }
      options.visit?.(piece, this.classes.subarray(0, piece.pageCount));
    }
    const notZero = measured - byClass[0]!;
    const entropyBits = notZero === 0 ? undefined : entropySum / notZero / 100;
    return { ...counts, measured, byClass, entropyBits, packedBytes };
  }

  /** Fills `entropies` and `classes` for the piece's pages; returns its packed size. */
  private measure(piece: PagePiece): number {
    const { pageCount } = piece;
    if (isZeroPiece(piece)) {
      this.entropies.fill(zeroMark, 0, pageCount);
      this.classes.fill(0, 0, pageCount);
      return 0;
    }
    const bytes = this.reader.read(piece);
    native.pageEntropies(bytes, pageCount, this.entropies);
    for (let page = 0; page < pageCount; page++) this.classes[page] = classIndex(this.entropies[page]!);
    if (isPackedPiece(piece)) return (piece.block!.storedBytes * pageCount) / piece.block!.pageCount;
    return native.encodeBlock(bytes, 0, pageCount * PAGE_BYTES, 0, this.scratch, 0);
  }
}
