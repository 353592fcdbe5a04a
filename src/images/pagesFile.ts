// Pages files as the page index sees them: raw (pages-N.img) or packed (pagez-N.img), one interface.
import { closeSync, fstatSync } from "node:fs";
import { FaultlineError } from "../errors";
import { PAGE_BYTES } from "../limits";
import { BlockCodec, type BlockRef } from "./block";
import { openImageFile } from "./openFile";
import type { PackedPagesReader } from "./packed";
import type { PackedIndex } from "./packedIndex";
import type { PageTable } from "./pageTable";

/** Pages in a block of a raw file, which has no blocks of its own: 64 KiB, where install and read cost level out. */
const RAW_BLOCK_PAGES = 16;

/** A stored block and the page of the file that it begins with. */
export interface LocatedBlock {
  readonly block: BlockRef;
  readonly firstFilePage: number;
}

/** An open pages file. Pages are counted from its beginning. */
export interface PagesFile extends Disposable {
  readonly file: string;
  /** Whole pages in it. */
  readonly pageCount: number;
  /**
   * The block that holds page `filePage`, which is in the run [runStart, runStart + runPages) of the file.
   * The caller makes sure that the run is in the file.
   */
  locate(filePage: number, runStart: number, runPages: number): LocatedBlock;
  /** The same as numbers. */
  readonly table: Pick<PageTable, "fd" | "blocks">;
  close(): void;
}

/** Opens pages-N.img. Throws IMAGE_MISSING and what the file system says. */
export function openRawPages(file: string): PagesFile {
  return new RawPages(file, openImageFile(file));
}

/**
 * Opens pagez-N.img. `index`: its index, where the file is known not to have changed since that was decoded. Throws what
 * PackedPagesReader.open throws. Its code is loaded only where there is such a file.
 */
export function openPackedPages(file: string, index?: PackedIndex): PackedPages {
  const packed = require("./packed") as typeof import("./packed");
  return new PackedPages(packed.PackedPagesReader.open(file, index));
}

/** Throws IMAGE_TRUNCATED where `pages` ends before page `needed`. */
export function checkPagesLength(pages: PagesFile, needed: number): void {
  if (pages.pageCount >= needed) return;
  throw new FaultlineError(
    "IMAGE_TRUNCATED",
    `a pages file of ${pages.pageCount} pages where its pagemap has ${needed}`,
    {
      file: pages.file,
      offset: pages.pageCount * PAGE_BYTES,
    },
  );
}

class RawPages implements PagesFile {
  readonly pageCount: number;

  constructor(
    readonly file: string,
    private readonly fd: number,
  ) {
    this.pageCount = Math.floor(fstatSync(fd).size / PAGE_BYTES);
  }

  locate(filePage: number, runStart: number, runPages: number): LocatedBlock {
    const firstFilePage = filePage - ((filePage - runStart) % RAW_BLOCK_PAGES);
    const pageCount = Math.min(RAW_BLOCK_PAGES, runStart + runPages - firstFilePage);
    const { fd, file } = this;
    const bytes = pageCount * PAGE_BYTES;
    const offset = firstFilePage * PAGE_BYTES;
    return {
      block: { fd, file, codec: BlockCodec.Raw, offset, storedBytes: bytes, pageCount, checksum: -1 },
      firstFilePage,
    };
  }

  get table(): Pick<PageTable, "fd" | "blocks"> {
    return { fd: this.fd, blocks: { kind: "raw", pagesPerBlock: RAW_BLOCK_PAGES } };
  }

  close(): void {
    closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export class PackedPages implements PagesFile {
  constructor(private readonly reader: PackedPagesReader) {}

  get file(): string {
    return this.reader.file;
  }

  get pageCount(): number {
    return this.reader.pageCount;
  }

  locate(filePage: number): LocatedBlock {
    const index = this.reader.blockOfPage(filePage);
    return { block: this.reader.block(index), firstFilePage: this.reader.firstPage(index) };
  }

  get index(): PackedIndex {
    return this.reader.index;
  }

  get table(): Pick<PageTable, "fd" | "blocks"> {
    const { fd, index } = this.reader;
    return { fd, blocks: { kind: "packed", ...index } };
  }

  close(): void {
    this.reader.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
