// Where page bytes come from, as the pager sees it: image pages to stored blocks. Implementations open files.
import type { BlockRef } from "../images/block";
import type { PageTable } from "../images/pageTable";

/** A run of image pages in one stored block. */
export interface PageRun {
  /** The first image page of the run, at most the one asked for. */
  readonly imagePage: number;
  readonly pageCount: number;
  /** Where `imagePage` is in the block, pages. */
  readonly skip: number;
  readonly block: BlockRef;
}

export interface PageSource {
  /**
   * The run of one block that holds the image page, or undefined where the image has no bytes for it.
   * Throws a FaultlineError where the image is damaged.
   */
  locate(imagePage: number): PageRun | undefined;
  /**
   * The pages of it that may be looked up without asking; those that it leaves out are asked for. Undefined where there is
   * no such table, or it cannot be had: then all are.
   */
  table?(): PageTable | undefined;
}
