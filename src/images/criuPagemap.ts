// The pagemap that CRIU gets to see in a directory packed for it: pages that it reads eagerly are present, in a pages file
// of their own; all others are marked so that a lazy restore skips them and any other restore fails. Pure.
//
// Flags, as CRIU 4.2.1 treats them (test/interop/packForCriu.test.ts shows it): an entry with PE_LAZY is skipped by
// `restore --lazy-pages` before any other flag is looked at; PE_PARENT without a parent image makes a plain `restore`
// fail. PE_LAZY alone would be restored as zeros without an error.

import { encodeImage, type Image } from "./framing";
import type { PagemapEntry } from "./messages";
import { PageFlag, type Pagemap } from "./pagemap";

/** The pagemap as it was is kept under this name, and Faultline reads it in place of the one for CRIU. */
export const KEPT_PREFIX = "packed-";

/** Where the eager pages of pages file N are: pages-(N + this).img, so that no switch ever leaves a wrong pair. */
export const EAGER_PAGES_OFFSET = 0x2000_0000;

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
