// Runs the pager's own code on made-up faults before the first real one comes: V8 compiles what has run often, and an
// answer that takes 50 µs interpreted takes 5 µs compiled. Touches no kernel and no file.
import { BlockCodec, type BlockRef } from "../images/block";
import { PageIndex } from "../images/pageIndex";
import type { PagesFile } from "../images/pagesFile";
import { Space } from "../space/space";
import { PlainQueue } from "../uffd/plainQueue";
import type {
  FaultEvent,
  InstallOutcome,
  QueueOutcome,
  Served,
  Uffd,
  UffdEvent,
  UffdWaiter,
  WaitResult,
} from "../uffd/port";
import { emptyServed } from "../uffd/served";
import { IndexSource } from "./imageSource";
import { Pager } from "./pager";
import { defaultPagerOptions } from "./requests";

/** After so many faults V8 has compiled what there is to compile. */
const FAULTS = 4000;
const FAULTS_IN_STEP = 25;
const PAGES = 4096;
const FIRST_PAGE = 0x10000;
const BLOCK_PAGES = 16;

/** A context whose pages are flags in an array. */
class MadeUpUffd implements Uffd {
  readonly id = -1;
  readonly queue: UffdEvent[] = [];
  private readonly present = new Uint8Array(PAGES * 2);

  read(): readonly UffdEvent[] {
    return this.queue.splice(0);
  }
  serve(): void {}
  stopServing(): void {}
  serveOne(page: number): number {
    return this.install(page, 1).kind === "installed" ? 1 : 0;
  }
  private install(page: number, pageCount: number): InstallOutcome {
    let count = 0;
    while (count < pageCount && this.present[page - FIRST_PAGE + count] === 0) {
      this.present[page - FIRST_PAGE + count++] = 1;
    }
    return count === 0 ? { kind: "present" } : { kind: "installed", pageCount: count };
  }
  installPages(page: number, _block: unknown, _skip: number, pageCount: number): InstallOutcome {
    return this.install(page, pageCount);
  }
  private readonly installs = new PlainQueue(
    (page, block, skip, pageCount) => this.installPages(page, block, skip, pageCount),
    () => this.queue.length > 0,
  );
  queuePages(page: number, block: BlockRef, skip: number, pageCount: number): boolean {
    return this.installs.queuePages(page, block, skip, pageCount);
  }
  installQueued(runCount: number): QueueOutcome {
    return this.installs.installQueued(runCount);
  }
  dropQueued(): void {
    this.installs.dropQueued();
  }
  installBytes(page: number, _bytes: Uint8Array, pageCount: number): InstallOutcome {
    return this.install(page, pageCount);
  }
  installZero(page: number, pageCount: number): InstallOutcome {
    return this.install(page, pageCount);
  }
  poison(): InstallOutcome {
    return { kind: "gone" };
  }
  wake(): void {}
  unregister(): "unregistered" {
    return "unregistered";
  }
  close(): void {}
  [Symbol.dispose](): void {}
}

class MadeUpWaiter implements UffdWaiter {
  private readonly result = {
    served: [] as Served[],
    servedCount: 0,
    readable: [] as Uffd[],
    exited: [],
    control: false,
  };
  private answered: number | undefined;
  uffd = new MadeUpUffd();
  private timeUs = 0;

  add(): void {}
  remove(): void {}
  addPidfd(): void {}
  removePidfd(): void {}
  kill(): void {}
  /** The next wait answers a fault of the page by itself, where the layout has it. */
  serve(page: number): void {
    if (page < FIRST_PAGE + PAGES) this.answered = page;
  }
  wait(): WaitResult {
    this.result.readable.length = 0;
    this.result.servedCount = 0;
    if (this.answered !== undefined) this.result.served[this.result.servedCount++] = this.served(this.answered);
    this.answered = undefined;
    if (this.uffd.queue.length > 0) this.result.readable.push(this.uffd);
    return this.result;
  }
  private served(page: number): Served {
    const served = emptyServed(this.uffd);
    served.isFault = true;
    served.page = page;
    served.pageCount = this.uffd.serveOne(page);
    served.codec = BlockCodec.Raw;
    served.blockFirst = page - ((page - FIRST_PAGE) % BLOCK_PAGES);
    served.blockEnd = served.blockFirst + BLOCK_PAGES;
    served.readUs = this.nowUs();
    served.doneUs = this.nowUs();
    return served;
  }
  interrupt(): void {}
  isContended(): boolean {
    return false;
  }
  nowUs(): number {
    this.timeUs += 4;
    return this.timeUs;
  }
  [Symbol.dispose](): void {}
}

function madeUpPages(): PagesFile {
  return {
    file: "",
    pageCount: PAGES,
    locate(filePage) {
      const firstFilePage = filePage - (filePage % BLOCK_PAGES);
      const storedBytes = BLOCK_PAGES * 4096;
      const offset = firstFilePage * 4096;
      const block = {
        fd: -1,
        file: "",
        codec: BlockCodec.Raw,
        offset,
        storedBytes,
        pageCount: BLOCK_PAGES,
        checksum: -1,
      };
      return { block, firstFilePage };
    },
    table: { fd: -1, blocks: { kind: "raw", pagesPerBlock: BLOCK_PAGES } },
    close: () => undefined,
    [Symbol.dispose]: () => undefined,
  };
}

function madeUpIndex(): PageIndex {
  const pages = madeUpPages();
  const pagemap = {
    file: "",
    pagesId: 1,
    runCount: 1,
    pageCount: PAGES,
    presentPages: PAGES,
    starts: Float64Array.of(FIRST_PAGE),
    counts: Float64Array.of(PAGES),
    flags: Uint8Array.of(6),
    filePages: Float64Array.of(0),
  };
  return new PageIndex(pagemap, { pages: () => pages, parent: () => undefined });
}

export class WarmUp {
  private readonly waiter = new MadeUpWaiter();
  private readonly pager = new Pager(this.waiter, defaultPagerOptions);
  private readonly source = new IndexSource(madeUpIndex());
  private faults = 0;
  private random = 1;
  private session = 0;

  /** Does a little, about a millisecond; false when there is no more to do. */
  step(): boolean {
    if (!this.pager.busy) this.restart();
    for (let i = 0; i < FAULTS_IN_STEP; i++) {
      this.random = (Math.imul(this.random, 1103515245) + 12345) >>> 0;
      const page = FIRST_PAGE + ((this.random >>> 8) % (PAGES + BLOCK_PAGES));
      if (i % 2 === 0) this.waiter.uffd.queue.push(this.fault(page));
      else this.waiter.serve(page);
      // Two steps: one answers, one works in the background.
      this.pager.step(0);
      this.pager.step(0);
    }
    this.faults += FAULTS_IN_STEP;
    return this.faults < FAULTS;
  }

  private fault(page: number): FaultEvent {
    return { kind: "fault", page, write: false, minor: false, writeProtected: false, threadId: 0 };
  }

  private restart(): void {
    this.waiter.uffd = new MadeUpUffd();
    const space = Space.empty();
    space.addZero(FIRST_PAGE, PAGES + BLOCK_PAGES);
    space.addImage(FIRST_PAGE, PAGES, 0, FIRST_PAGE);
    this.pager.openSession(++this.session, "");
    const { uffd } = this.waiter;
    this.pager.addContext(this.session, { uffd, space, sources: [this.source], imagePid: 0, pid: 0, pidfd: -1 });
    this.pager.startDrain(this.session);
  }
}
