// What is left of timers, as at one instant for the whole tree: that at which it stood. Each is read at a moment of its own
// while the clocks of the world go on; told as it was read, the timers of a tree would drift apart with every dump.
// Each is read between two looks at the clock, again where too much time went by between them.
import type { Batch, BatchResult, Slot } from "../batch";
import { clockValue, goesOn, lookAtClock, nsPerSecond } from "../clock";
import { syscalls } from "../constants";

const itimerCount = 3;
const itimerReal = 0;
/** Timers between two looks at the clock: some microseconds. */
const groupTimers = 16;
/** Two looks at the clock are near enough, nanoseconds; so near they are unless the processor was taken away in between. */
const apartNs = 100_000n;
const attemptsMax = 10;
const nsPerUs = 1000n;

/** struct itimerval / itimerspec as four numbers: interval, then value. */
export interface TimerValue {
  readonly intervalSeconds: bigint;
  readonly intervalFraction: bigint;
  readonly seconds: bigint;
  readonly fraction: bigint;
}

/** A value and when it was so (clockNs()). */
export interface Reading<T> {
  readonly value: T;
  readonly fromNs: bigint;
  readonly toNs: bigint;
}

/** The closest of some readings: as soon as one is close enough, and there is always one. */
export function closest<T>(read: () => Reading<T>, first: Reading<T> = read()): Reading<T> {
  let best = first;
  for (let attempt = 1; attempt < attemptsMax && best.toNs - best.fromNs > apartNs; attempt++) {
    const next = read();
    if (next.toNs - next.fromNs < best.toNs - best.fromNs) best = next;
  }
  return best;
}

/**
 * How long ago `instantNs` was in the middle of a reading: what a timer that has not expired had left then, beyond what it
 * has left now. More than its interval where it expired in between: that expiration is in the image already.
 */
export function sinceNs({ fromNs, toNs }: Reading<unknown>, instantNs: bigint): bigint {
  return (fromNs + toNs) / 2n - instantNs;
}

interface Group {
  readonly before: Slot;
  readonly values: readonly Slot[];
  readonly after: Slot;
}

/** The questions after all timers of a task, as calls in a batch: the three interval timers, then those of `ids`. */
export class TimerQuestions {
  readonly #groups: Group[] = [];

  constructor(batch: Batch, ids: readonly number[]) {
    const interval = Array.from({ length: itimerCount }, (_, which) => [syscalls.getitimer, which] as const);
    const calls = [...interval, ...ids.map((id) => [syscalls.timer_gettime, id] as const)];
    for (let at = 0; at < calls.length; at += groupTimers) {
      const before = lookAtClock(batch);
      const values = calls.slice(at, at + groupTimers).map(([call, which]) => {
        const value = batch.reserve(32);
        batch.call(call, [which, value]);
        return value;
      });
      this.#groups.push({ before, values, after: lookAtClock(batch) });
    }
  }

  /** One reading for each group of timers. */
  read(result: BatchResult): Reading<readonly TimerValue[]>[] {
    return this.#groups.map(({ before, values, after }) => ({
      value: values.map((slot) => timerValue(result.data(slot))),
      fromNs: clockValue(result, before),
      toNs: clockValue(result, after),
    }));
  }
}

function timerValue(view: DataView): TimerValue {
  return {
    intervalSeconds: view.getBigUint64(0, true),
    intervalFraction: view.getBigUint64(8, true),
    seconds: view.getBigUint64(16, true),
    fraction: view.getBigUint64(24, true),
  };
}

/** What the timers had left at `instantNs`. `clocks`: those of the timers behind the three interval timers. */
export function valuesAt(
  readings: readonly Reading<readonly TimerValue[]>[],
  clocks: readonly number[],
  instantNs: bigint,
): { readonly itimers: readonly TimerValue[]; readonly posix: readonly TimerValue[] } {
  const values = readings.flatMap((reading, group) =>
    reading.value.map((value, index) => {
      const which = group * groupTimers + index;
      const isInterval = which < itimerCount;
      const moves = isInterval ? which === itimerReal : goesOn(clocks[which - itimerCount] as number);
      return moves ? longer(value, sinceNs(reading, instantNs), isInterval ? nsPerUs : 1n) : value;
    }),
  );
  return { itimers: values.slice(0, itimerCount), posix: values.slice(itimerCount) };
}

/** With `moreNs` more left, where anything is left; `unitNs`: what its fractions count. */
function longer(value: TimerValue, moreNs: bigint, unitNs: bigint): TimerValue {
  const { seconds, fraction } = value;
  if (seconds === 0n && fraction === 0n) return value;
  const left = seconds * nsPerSecond + fraction * unitNs + moreNs;
  return { ...value, seconds: left / nsPerSecond, fraction: (left % nsPerSecond) / unitNs };
}
