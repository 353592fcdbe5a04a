// Which pages a restore touched, in order of first touch, for the next restore's working set. Keeps no time of its own
// and writes no file: whoever owns the pager does that when the recording is over.
import { RECORD_HOLD_US, RECORD_QUIET_US, WORKING_SET_PAGES_MAX } from "../limits";

export class Recording {
  /** In order of first touch. */
  private readonly pages = new Set<number>();
  /** The task's address space and its copies made by fork that are still served. */
  users = 0;
  /** No drain before this time: what it brings is not seen being touched. */
  drainAfterUs = 0;
  private holdEndUs = Number.POSITIVE_INFINITY;

  constructor(
    readonly imagesDir: string,
    readonly imagePid: number,
  ) {}

  /** `page` is where the image has it; of shared memory and untouched pages, where the task has it. */
  touched(page: number): void {
    if (this.pages.size < WORKING_SET_PAGES_MAX) this.pages.add(page);
  }

  /** The tasks run. */
  began(nowUs: number): void {
    this.holdEndUs = nowUs + RECORD_HOLD_US;
    this.faulted(nowUs);
  }

  faulted(nowUs: number): void {
    this.drainAfterUs = Math.min(nowUs + RECORD_QUIET_US, this.holdEndUs);
  }

  /** In order of first touch. */
  result(): Float64Array<ArrayBuffer> {
    return Float64Array.from(this.pages);
  }
}
