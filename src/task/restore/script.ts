// A list of system calls of any length, cut into batches that fit the agent's data area. Pure: nothing runs here.

import { Batch, recordBytes } from "../batch";
import { agentAreaBytes } from "./layout";

export class Script {
  readonly #batches: Batch[] = [];
  readonly #bytesMax: number;

  constructor(bytesMax: number = agentAreaBytes) {
    this.#bytesMax = bytesMax;
  }

  /**
   * The batch for the next group of calls, which needs `calls` records and `dataBytes` of data at most. Slots are good
   * only in the batch they were placed in, so a group asks once and uses what it gets.
   */
  room(calls: number, dataBytes = 0): Batch {
    const needed = calls * recordBytes + dataBytes + calls * 16;
    if (needed > this.#bytesMax) throw new RangeError(`a group of ${calls} calls does not fit one batch`);
    const last = this.#batches.at(-1);
    if (last !== undefined && last.byteLength + needed <= this.#bytesMax) return last;
    const fresh = new Batch();
    this.#batches.push(fresh);
    return fresh;
  }

  /** Adds all calls of another script after those that are there, in as few batches as they fit. */
  append(other: Script): void {
    for (const batch of other.batches) {
      const last = this.#batches.at(-1);
      if (last !== undefined && last.byteLength + batch.byteLength <= this.#bytesMax) last.append(batch);
      else this.#batches.push(batch.copy());
    }
  }

  get batches(): readonly Batch[] {
    return this.#batches.filter((batch) => batch.callCount > 0);
  }

  get callCount(): number {
    return this.#batches.reduce((sum, batch) => sum + batch.callCount, 0);
  }
}
