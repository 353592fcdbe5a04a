// Where the pages of a recorded address space go in a process that has a program of its own: whole neighbourhoods are
// shifted, so that what lay side by side still does. Arithmetic only.

/** Where nothing of a program is: below its text and its libraries, in pages. */
const FREE_FIRST = 0x2_0000_0000;
/** Each neighbourhood gets 2 TiB. */
const ROOM_PAGES = 0x2000_0000;
const ROOMS_MAX = 24;
/** What is farther apart than that, 64 GiB, is another neighbourhood. */
const GAP_PAGES = 0x100_0000;

export interface Area {
  readonly page: number;
  readonly pages: number;
}

export class Places {
  private readonly firsts: number[] = [];

  /** `areas` in address order. Throws RangeError for more neighbourhoods, or larger ones, than there is room for. */
  constructor(areas: readonly Area[]) {
    let end = Number.NEGATIVE_INFINITY;
    for (const { page, pages } of areas) {
      if (page - end > GAP_PAGES) this.firsts.push(page);
      end = Math.max(end, page + pages);
      if (end - this.firsts[this.firsts.length - 1]! > ROOM_PAGES - GAP_PAGES) throw new RangeError("too large");
    }
    if (this.firsts.length > ROOMS_MAX) throw new RangeError("too many places");
  }

  /** The page that stands for `page`; one that was mapped later goes with the neighbourhood below it. */
  of(page: number): number {
    let room = 0;
    while (room + 1 < this.firsts.length && this.firsts[room + 1]! <= page) room++;
    return FREE_FIRST + room * ROOM_PAGES + GAP_PAGES / 2 + (page - (this.firsts[room] ?? page));
  }
}
