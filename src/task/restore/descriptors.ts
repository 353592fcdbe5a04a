// Which descriptor numbers the restore uses for itself. Every open file of the tree is made once, in the root's stub,
// under a number that no task of the tree uses (its master); the stubs of all other tasks inherit the masters by fork,
// and each task then copies what it needs to the numbers of the image and closes the masters. Pure.

/** Numbers below this are scratch while files are made: free before and after each one. */
export const scratchDescriptors = 8;

export class Masters {
  readonly #used: ReadonlySet<number>;
  readonly #numbers = new Map<string, number>();
  #next = scratchDescriptors;

  /** `used` are the descriptor numbers of all tasks of the tree. */
  constructor(used: Iterable<number>) {
    this.#used = new Set(used);
  }

  /** The number for an object, chosen at the first question. */
  of(key: string): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    while (this.#used.has(this.#next)) this.#next++;
    const number = this.#next++;
    this.#numbers.set(key, number);
    return number;
  }

  has(key: string): boolean {
    return this.#numbers.has(key);
  }

  get count(): number {
    return this.#numbers.size;
  }

  /** The largest number in use, for the limit on open files. */
  get highest(): number {
    return Math.max(scratchDescriptors, this.#next, ...this.#used);
  }

  /** The masters as runs of numbers [first, last], for close_range(2). */
  runs(): { first: number; last: number }[] {
    const runs: { first: number; last: number }[] = [];
    for (const number of [...this.#numbers.values()].sort((a, b) => a - b)) {
      const last = runs.at(-1);
      if (last !== undefined && last.last === number - 1) last.last = number;
      else runs.push({ first: number, last: number });
    }
    return runs;
  }
}
