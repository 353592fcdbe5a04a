// The images that a page server makes of what it is sent: one pagemap and one pages file for each object. All or nothing:
// files get their names when the peer has said that it is done. Knows no protocol.
import { closeSync, existsSync, fsyncSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { FaultlineError } from "../errors";
import { encodeImage } from "../images/framing";
import type { Init } from "../images/message";
import type { PagemapEntry } from "../images/messages";
import { PageFlag } from "../images/pagemap";
import { PAGE_BYTES } from "../limits";

/** Where a page server begins to number its pages files, so that none is like one written by the dump itself (CRIU). */
const PAGES_ID_FIRST = 0x10001;
const UNFINISHED = ".receiving";

interface OpenObject {
  readonly name: string;
  readonly pagesId: number;
  readonly fd: number;
  readonly entries: { message: Init<PagemapEntry> }[];
  endPage: number;
}

export class ReceivedPages {
  private readonly finished: string[] = [];
  private readonly names = new Set<string>();
  private nextId = PAGES_ID_FIRST;
  private open: OpenObject | undefined;
  pages = 0;

  constructor(private readonly directory: string) {}

  get objects(): number {
    return this.names.size;
  }

  /** Whether the parent directory, that an incremental dump builds on, has the object. */
  parentHas(name: string): boolean {
    return existsSync(join(this.directory, "parent", name));
  }

  /** Throws BUSY where the directory has the object already, PEER where it was sent before. */
  begin(name: string): void {
    this.endObject();
    const file = join(this.directory, name);
    if (existsSync(file)) {
      throw new FaultlineError("BUSY", "the object is in the image directory already", {
        file,
        advice: "give each dump a directory of its own",
      });
    }
    if (this.names.has(name)) throw new FaultlineError("PEER", `the peer sent ${name} twice`);
    while (existsSync(join(this.directory, `pages-${this.nextId}.img`))) this.nextId++;
    const pagesId = this.nextId++;
    const fd = openSync(join(this.directory, `pages-${pagesId}.img${UNFINISHED}`), "w", 0o600);
    this.finished.push(`pages-${pagesId}.img`);
    this.names.add(name);
    this.open = { name, pagesId, fd, entries: [], endPage: 0 };
  }

  /** The next run of the object. Where `flags` has Present, its bytes follow by write(). */
  run(page: number, pageCount: number, flags: number): void {
    const { open } = this;
    if (open === undefined) throw new FaultlineError("PEER", "the peer sent pages of no object");
    if (page < open.endPage || pageCount === 0) {
      throw new FaultlineError("PEER", `the peer sent pages of ${open.name} out of order`, {
        address: page * PAGE_BYTES,
      });
    }
    if ((flags & PageFlag.Parent) !== 0 && !this.parentHas(open.name)) {
      throw new FaultlineError("PEER", `the peer leaves pages of ${open.name} to a parent that is not here`, {
        address: page * PAGE_BYTES,
        advice: "make the link `parent` in the image directory before the dump",
      });
    }
    open.endPage = page + pageCount;
    // Readers before CRIU 4.2 know only the older of the two counts.
    const compat = pageCount < 2 ** 32 ? pageCount : 0;
    const vaddr = BigInt(page) * BigInt(PAGE_BYTES);
    open.entries.push({ message: { vaddr, compat_nr_pages: compat, nr_pages: BigInt(pageCount), flags } });
    if ((flags & PageFlag.Present) !== 0) this.pages += pageCount;
  }

  write(bytes: Uint8Array): void {
    const { fd } = this.open!;
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  }

  private endObject(): void {
    const { open } = this;
    if (open === undefined) return;
    this.open = undefined;
    fsyncSync(open.fd);
    closeSync(open.fd);
    const fd = openSync(join(this.directory, open.name + UNFINISHED), "w", 0o600);
    this.finished.push(open.name);
    const image = encodeImage("PAGEMAP", open.entries, { head: { pages_id: open.pagesId } });
    for (let at = 0; at < image.length; ) at += writeSync(fd, image, at);
    fsyncSync(fd);
    closeSync(fd);
  }

  /** All is there: the files get their names, pages before the pagemaps that lead to them. */
  commit(): void {
    this.endObject();
    for (const name of this.finished) {
      renameSync(join(this.directory, name + UNFINISHED), join(this.directory, name));
    }
    const fd = openSync(this.directory, "r");
    fsyncSync(fd);
    closeSync(fd);
    this.finished.length = 0;
  }

  /** Takes away what was not committed. */
  abandon(): void {
    if (this.open !== undefined) closeSync(this.open.fd);
    this.open = undefined;
    for (const name of this.finished) unlinkSync(join(this.directory, name + UNFINISHED));
    this.finished.length = 0;
  }
}
