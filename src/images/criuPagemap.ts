// What CRIU gets to see in a directory packed for it: pages that it reads eagerly are present, in a pages file of their
// own; all others are marked so that a lazy restore skips them and any other restore fails. Pure.
//
// As CRIU 4.2.1 treats entries (test/interop/packForCriu.test.ts shows it): one with PE_LAZY is skipped by
// `restore --lazy-pages` before any other flag is looked at. A plain `restore` goes by the other flags: PE_PARENT makes it
// ask the parent image, and it fails where that has a pagemap without the page. Without a parent image it would read on in
// the pages file, and PE_LAZY alone would give zeros, so the directory gets a parent image that is empty.
import { encodeImage, type Image } from "./framing";
import type { PagemapEntry } from "./messages";
import { PageFlag, type Pagemap } from "./pagemap";
/** The pagemap as it was is kept under this name, and Faultline reads it in place of the one for CRIU. */
export const KEPT_PREFIX = "packed-";

/** Where the eager pages of pages file N are: pages-(N + this).img, so that no switch ever leaves a wrong pair. */
export const EAGER_PAGES_OFFSET = 0x2000_0000;

/** The empty parent image, and the link that makes it one. */
export const EMPTY_PARENT = "packed-parent";
export const PARENT_LINK = "parent";

/** The pagemap of a task in the empty parent image, whose pages file 1 is empty too. */
export function emptyPagemap(): Buffer {
  return encodeImage("PAGEMAP", [], { head: { pages_id: 1 } });
}

/** Whether a run's bytes stay where CRIU reads them. */
export function isEager(flags: number): boolean {
  return (flags & PageFlag.Present) !== 0 && (flags & PageFlag.Lazy) === 0;
}

/** Whether packing for CRIU changes anything: some of the present pages are lazy. */
export function hasLazyPages(pagemap: Pagemap): boolean {
  const both = PageFlag.Present | PageFlag.Lazy;
  return pagemap.flags.some((flags) => (flags & both) === both);
}

/** The pagemap image for CRIU. */
export function criuPagemap(image: Image<"PAGEMAP">): Buffer {
  const records = image.records.map(({ message }) => ({ message: criuEntry(message) }));
  return encodeImage("PAGEMAP", records, {
    head: { pages_id: image.head.pages_id + EAGER_PAGES_OFFSET },
    framing: image.framing,
  });
}

function criuEntry(entry: PagemapEntry): PagemapEntry {
  const flags = entry.in_parent === true ? PageFlag.Parent : (entry.flags ?? PageFlag.Present);
  const both = PageFlag.Present | PageFlag.Lazy;
  if ((flags & both) !== both) return entry;
  return { ...entry, flags: PageFlag.Lazy | PageFlag.Parent };
}
