// Holds that the simulated kernel is right: the same steps on it and on the real kernel give the same events, outcomes,
// results and bytes. First the table of what the kernel does, written out; then generated sequences.
//   npm run conformance -- --seed S --sequences N      replays or widens the generated ones
import assert from "node:assert/strict";
import { test } from "node:test";
import { ARENA_PAGES, type Call, describeStep, type Ioctl, Lockstep, type Step } from "./lockstep";
import { generateStep } from "./lockstepGenerator";
import { RandomChooser } from "./scheduler";

/** A step and what it must give, on both kernels. */
type Line = readonly [Step, readonly string[]];

function call(slot: number, body: Call): Step {
  return { slot, call: body };
}
function ioctl(context: number, body: Ioctl): Step {
  return { context, ioctl: body };
}
const readEvents = ioctl(0, { kind: "read-events" });
function copy(page: number, imagePage: number, pageCount: number): Step {
  return ioctl(0, { kind: "copy", page, imagePage, pageCount });
}
function queue(runs: readonly (readonly [number, number, number])[], runCount = runs.length): Step {
  const copies = runs.map(([page, imagePage, pageCount]) => ({ page, imagePage, pageCount }));
  return ioctl(0, { kind: "queue", runs: copies, runCount });
}
function zero(page: number, pageCount: number): Step {
  return ioctl(0, { kind: "zero", page, pageCount });
}
function read(page: number, slot = 0): Step {
  return call(slot, { kind: "read", page });
}

async function holds(lines: readonly Line[]): Promise<void> {
  const kernels = await Lockstep.start();
  try {
    for (const [step, expected] of lines) assert.deepEqual(await kernels.step(step), expected, describeStep(step));
  } finally {
    await kernels.end();
  }
}

const table: Record<string, readonly Line[]> = {
  "COPY over a fresh range gives its bytes, and over what is present EEXIST, then EAGAIN with partial progress": [
    [copy(4, 10, 3), ["installed 3"]],
    [read(5), ["0: token 12"]],
    [copy(4, 10, 1), ["present"]],
    [copy(2, 8, 8), ["installed 2"]],
    [copy(6, 20, 2), ["present"]],
  ],
  "a queue of installs goes on behind what was partial, and stops at what the kernel refuses": [
    [zero(6, 1), ["installed 1"]],
    [
      queue([
        [0, 10, 3],
        [3, 20, 2],
        [5, 30, 4],
        [20, 40, 1],
      ]),
      ["2 whole, 1 of the next, present"],
    ],
    [read(2), ["0: token 13"]],
    [read(4), ["0: token 22"]],
    [read(5), ["0: token 31"]],
    [
      queue(
        [
          [7, 50, 2],
          [9, 60, 2],
        ],
        1,
      ),
      ["1 whole, 0 of the next, done"],
    ],
    [read(8), ["0: token 52"]],
    [read(9), ["0: asleep"]],
    [call(1, { kind: "mprotect", page: 12, pageCount: 2, protection: "read" }), ["1: value 0"]],
    [
      queue([
        [9, 60, 2],
        [11, 70, 2],
      ]),
      ["1 whole, 0 of the next, gone", "0: token 61"],
    ],
    [call(1, { kind: "dontneed", page: 0, pageCount: 2 }), ["1: asleep"]],
    [queue([[30, 0, 4]]), ["0 whole, 0 of the next, changing"]],
  ],
  "an install wakes the threads that wait for it, read or not": [
    [read(3), ["0: asleep"]],
    [call(1, { kind: "write", page: 4 }), ["1: asleep"]],
    [readEvents, ["fault 3 read", "fault 4 write"]],
    [copy(0, 0, 8), ["installed 8", "0: token 4", "1: token 5"]],
    [read(4), ["0: token -1"]],
  ],
  "a fault that is woken before it was read is asked again": [
    [read(3), ["0: asleep"]],
    [ioctl(0, { kind: "wake", page: 3, pageCount: 1 }), ["woken", "0: asleep"]],
    [readEvents, ["fault 3 read"]],
    [zero(0, 16), ["installed 16", "0: token 0"]],
  ],
  "faults are handed out before an older event, and an unread event refuses installs": [
    [call(1, { kind: "dontneed", page: 8, pageCount: 4 }), ["1: asleep"]],
    [read(9), ["0: asleep"]],
    [copy(40, 0, 1), ["changing"]],
    [zero(40, 1), ["changing"]],
    [readEvents, ["fault 9 read", "remove 8 of 4", "1: value 0"]],
    [zero(9, 1), ["installed 1", "0: token 0"]],
  ],
  "MADV_FREE raises REMOVE like MADV_DONTNEED, one for each VMA": [
    [call(0, { kind: "mprotect", page: 10, pageCount: 2, protection: "read" }), ["0: value 0"]],
    [call(0, { kind: "free", page: 8, pageCount: 6 }), ["0: asleep"]],
    [readEvents, ["remove 8 of 2", "0: asleep"]],
    [readEvents, ["remove 10 of 2", "0: asleep"]],
    [readEvents, ["remove 12 of 2", "0: value 0"]],
    [call(0, { kind: "advise-remove", page: 8, pageCount: 6 }), ["0: errno EINVAL"]],
  ],
  "MADV_DONTNEED takes present pages away, MADV_FREE leaves them": [
    [copy(0, 0, 4), ["installed 4"]],
    [call(0, { kind: "dontneed", page: 0, pageCount: 2 }), ["0: asleep"]],
    [readEvents, ["remove 0 of 2", "0: value 0"]],
    [call(0, { kind: "free", page: 2, pageCount: 2 }), ["0: asleep"]],
    [readEvents, ["remove 2 of 2", "0: value 0"]],
    [read(2), ["0: token 3"]],
    [read(0), ["0: asleep"]],
    [zero(0, 1), ["installed 1", "0: token 0"]],
  ],
  "mprotect raises nothing, yet COPY across its border finds nothing; COPY into PROT_READ works": [
    [call(0, { kind: "mprotect", page: 8, pageCount: 4, protection: "read" }), ["0: value 0"]],
    [readEvents, []],
    [copy(6, 0, 4), ["gone"]],
    [copy(6, 0, 2), ["installed 2"]],
    [copy(8, 2, 4), ["installed 4"]],
    [read(9), ["0: token 4"]],
    [call(0, { kind: "write", page: 9 }), ["0: segv"]],
    [call(0, { kind: "mprotect", page: 8, pageCount: 4, protection: "write" }), ["0: value 0"]],
    [copy(12, 6, 4), ["installed 4"]],
  ],
  "munmap, a shrinking mremap and a mapping over raise UNMAP with the range of the call": [
    [call(0, { kind: "munmap", page: 4, pageCount: 2 }), ["0: asleep"]],
    [readEvents, ["unmap 4 of 2", "0: value 0"]],
    [copy(4, 0, 1), ["gone"]],
    [copy(3, 0, 2), ["gone"]],
    [call(0, { kind: "mmap", page: 3, pageCount: 4 }), ["0: asleep"]],
    [readEvents, ["unmap 3 of 4", "0: value 3"]],
    [copy(3, 0, 1), ["gone"]],
    [read(3), ["0: token 0"]],
    [call(0, { kind: "munmap", page: 3, pageCount: 4 }), ["0: value 0"]],
    [call(0, { kind: "mremap", page: 7, pageCount: 89, newCount: 80, mayMove: false }), ["0: asleep"]],
    [readEvents, ["unmap 87 of 9", "0: value 7"]],
  ],
  "growth in place raises nothing and its tail is registered": [
    [call(0, { kind: "munmap", page: 60, pageCount: 36 }), ["0: asleep"]],
    [readEvents, ["unmap 60 of 36", "0: value 0"]],
    [call(0, { kind: "mremap", page: 0, pageCount: 60, newCount: 70, mayMove: false }), ["0: value 0"]],
    [readEvents, []],
    [read(65), ["0: asleep"]],
    [readEvents, ["fault 65 read"]],
    [zero(60, 10), ["installed 10", "0: token 0"]],
  ],
  "a move over a lazy range raises UNMAP(destination), REMAP(old length), UNMAP(source), one after another": [
    [copy(2, 2, 1), ["installed 1"]],
    [call(0, { kind: "mremap", page: 0, pageCount: 8, newCount: 12, mayMove: true, fixedTo: 40 }), ["0: asleep"]],
    [copy(20, 0, 1), ["changing"]],
    [readEvents, ["unmap 40 of 12", "0: asleep"]],
    [copy(20, 0, 1), ["changing"]],
    [readEvents, ["remap 0 to 40 of 8", "0: asleep"]],
    [copy(20, 0, 1), ["changing"]],
    [readEvents, ["unmap 0 of 8", "0: value 40"]],
    [read(42), ["0: token 3"]],
    [read(50), ["0: asleep"]],
    [readEvents, ["fault 50 read"]],
    [zero(50, 1), ["installed 1", "0: token 0"]],
    [copy(1, 1, 1), ["gone"]],
  ],
  "MREMAP_DONTUNMAP raises REMAP only, and the old range stays registered": [
    [copy(0, 0, 2), ["installed 2"]],
    [
      call(0, { kind: "mremap", page: 0, pageCount: 4, newCount: 4, mayMove: true, fixedTo: 50, dontUnmap: true }),
      ["0: asleep"],
    ],
    [readEvents, ["unmap 50 of 4", "0: asleep"]],
    [readEvents, ["remap 0 to 50 of 4", "0: value 50"]],
    [read(51), ["0: token 2"]],
    [read(1), ["0: asleep"]],
    [readEvents, ["fault 1 read"]],
    [zero(0, 4), ["installed 4", "0: token 0"]],
    [copy(52, 2, 2), ["installed 2"]],
  ],
  "mremap across a border is EFAULT, impossible flags are EINVAL": [
    [call(0, { kind: "mprotect", page: 8, pageCount: 4, protection: "read" }), ["0: value 0"]],
    [call(0, { kind: "mremap", page: 6, pageCount: 4, newCount: 8, mayMove: false }), ["0: errno EFAULT"]],
    [call(0, { kind: "mremap", page: 0, pageCount: 4, newCount: 4, mayMove: true, fixedTo: 2 }), ["0: errno EINVAL"]],
    [call(0, { kind: "mremap", page: 0, pageCount: 4, newCount: 4, mayMove: false, fixedTo: 9 }), ["0: errno EINVAL"]],
    [call(0, { kind: "mremap", page: 0, pageCount: 4, newCount: 8, mayMove: false }), ["0: errno ENOMEM"]],
  ],
  "fork hands out the child's context when the event is read; until then the parent's installs are refused": [
    [copy(0, 0, 2), ["installed 2"]],
    [call(0, { kind: "fork" }), ["0: asleep"]],
    [copy(4, 4, 1), ["changing"]],
    [readEvents, ["fork", "0: value 0", "2: value 0"]],
    [read(1, 2), ["2: token 2"]],
    [read(4, 2), ["2: asleep"]],
    [copy(4, 4, 1), ["installed 1"]],
    [ioctl(1, { kind: "read-events" }), ["fault 4 read"]],
    [ioctl(1, { kind: "copy", page: 4, imagePage: 4, pageCount: 2 }), ["installed 2", "2: token 5"]],
    [call(2, { kind: "exit" }), ["2: ended"]],
    [ioctl(1, { kind: "copy", page: 8, imagePage: 8, pageCount: 1 }), ["exited"]],
    [ioctl(1, { kind: "zero", page: 8, pageCount: 1 }), ["exited"]],
    [ioctl(1, { kind: "unregister", page: 8, pageCount: 1 }), ["exited"]],
  ],
  "the last close gives zeros to whoever waits": [
    [read(7), ["0: asleep"]],
    [ioctl(0, { kind: "close" }), ["closed", "0: token 0"]],
    [read(8), ["0: token 0"]],
  ],
  "unregister gives zeros to whoever waits there, and the rest stays lazy": [
    [read(7), ["0: asleep"]],
    [ioctl(0, { kind: "unregister", page: 6, pageCount: 4 }), ["unregistered", "0: token 0"]],
    [copy(4, 0, 4), ["gone"]],
    [copy(7, 0, 1), ["gone"]],
    [copy(4, 0, 2), ["installed 2"]],
    [read(20), ["0: asleep"]],
    [copy(20, 3, 1), ["installed 1", "0: token 4"]],
  ],
  "a poisoned page raises SIGBUS until COPY, not ZEROPAGE, goes over it": [
    [read(7), ["0: asleep"]],
    [ioctl(0, { kind: "poison", page: 6, pageCount: 4 }), ["installed 4", "0: bus"]],
    [zero(7, 1), ["present"]],
    [copy(7, 7, 1), ["installed 1"]],
    [read(7), ["0: token 8"]],
  ],
};

for (const [name, lines] of Object.entries(table)) {
  test(name, () => holds(lines));
}

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

async function runSequence(seed: number, stepCount: number): Promise<number> {
  const chooser = new RandomChooser(seed);
  const kernels = await Lockstep.start();
  const history: Step[] = [];
  try {
    for (let i = 0; i < stepCount; i++) {
      const step = generateStep(kernels.simulated, chooser);
      if (step === undefined) break;
      history.push(step);
      await kernels.step(step);
    }
  } catch (error) {
    const told = history.map(describeStep).join("\n  ");
    throw new Error(`replay: npm run conformance -- --seed ${seed} --sequences 1\n  ${told}\n${error}`);
  } finally {
    await kernels.end();
  }
  return history.length;
}

test("generated sequences of steps give the same on the simulated and on the real kernel", async () => {
  assert.ok(ARENA_PAGES > 64);
  const first = option("seed", 1);
  let steps = 0;
  for (let seed = first; seed < first + option("sequences", 60); seed++) steps += await runSequence(seed, 80);
  assert.ok(steps > 20);
});
