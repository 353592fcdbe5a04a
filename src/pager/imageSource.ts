// An image directory as the pager's source of pages.
import { FaultlineError } from "../errors";
import type { ImageDirectory } from "../images/directory";
import type { PageIndex } from "../images/pageIndex";
import type { PageTable } from "../images/pageTable";
import type { PageRun, PageSource } from "./pageSource";
import type { SourceName } from "./requests";

/** The pages of one index. */
export class IndexSource implements PageSource {
  constructor(private readonly index: PageIndex) {}

  locate(imagePage: number): PageRun | undefined {
    const found = this.index.lookup(imagePage);
    if (found.kind !== "block") return undefined;
    const { piece, block } = found;
    return { imagePage: piece.firstPage, pageCount: piece.pageCount, skip: piece.skip, block };
  }

  table(): PageTable | undefined {
    try {
      return this.index.table;
    } catch (error) {
      // Whoever needs a page meets it again, and the policy for it.
      if (!(error instanceof FaultlineError)) throw error;
      return undefined;
    }
  }
}

/** The pages of a task or of a shared memory object. Throws IMAGE_MISSING where the directory has none. */
export function openSource(directory: ImageDirectory, name: SourceName): PageSource {
  if (name.kind === "task") return new IndexSource(directory.pageIndex(name.id));
  if (name.kind === "shmem") return new IndexSource(directory.shmemPageIndex(name.id));
  throw new FaultlineError("UNSUPPORTED", `pages of kind ${String(name.kind)}`);
}
