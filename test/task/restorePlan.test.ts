// The plans of a restore, which are pure: what is refused before anything is made, and where things go.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { FaultlineError } from "../../src/errors";
import { ImageDirectory } from "../../src/images/directory";
import type { VmaEntry } from "../../src/images/messages";
import { vmaStatus } from "../../src/images/vmaStatus";
import { syscalls } from "../../src/task/constants";
import { Masters, scratchDescriptors } from "../../src/task/restore/descriptors";
import { agentBytes, findHole } from "../../src/task/restore/layout";
import { loadTree } from "../../src/task/restore/loadTree";
import { planRestore } from "../../src/task/restore/plan";
import { Script } from "../../src/task/restore/script";
import { lazySpans, makeMappings, planSpace } from "../../src/task/restore/spacePlan";
import { composeXstate, xstateLayout } from "../../src/task/xstate";

const fixtures = join(__dirname, "..", "..", "..", "test", "fixtures");
const pageBytes = 4096;
const ranges = fc.array(
  fc.tuple(fc.integer({ min: 0, max: 0x7dffffff }), fc.integer({ min: 1, max: 0x100000 })).map(([start, pages]) => ({
    start: start * pageBytes,
    end: (start + pages) * pageBytes,
  })),
  { maxLength: 40 },
);

test("the agent's hole overlaps no mapping of any task", () => {
  fc.assert(
    fc.property(ranges, (taken) => {
      const hole = findHole(taken, agentBytes);
      assert.ok(hole >= 0x100000 && hole % pageBytes === 0);
      for (const range of taken) assert.ok(range.end <= hole || range.start >= hole + agentBytes);
    }),
  );
});

test("masters are numbers that no task uses, and their runs are exactly they", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(200)), fc.uniqueArray(fc.string(), { maxLength: 100 }), (used, keys) => {
      const masters = new Masters(used);
      const numbers = keys.map((key) => masters.of(key));
      assert.equal(new Set(numbers).size, keys.length);
      for (const number of numbers) assert.ok(number >= scratchDescriptors && !used.includes(number));
      const inRuns = masters.runs().flatMap(({ first, last }) => {
        return Array.from({ length: last - first + 1 }, (_, index) => first + index);
      });
      assert.deepEqual(
        inRuns,
        [...numbers].sort((a, b) => a - b),
      );
    }),
  );
});

test("a script of any length is cut into batches that fit, in order", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3000), { maxLength: 200 }), (sizes) => {
      const script = new Script(8192);
      sizes.forEach((size, index) => {
        const batch = script.room(1, size);
        batch.call(index, [batch.place(new Uint8Array(size))]);
      });
      assert.equal(script.callCount, sizes.length);
      for (const batch of script.batches) assert.ok(batch.byteLength <= 8192);
    }),
  );
});

const vma = (start: bigint, end: bigint, status: number, flags = 0x22): VmaEntry => ({
  start,
  end,
  pgoff: 0n,
  shmid: 0n,
  prot: 3,
  flags,
  status,
  fd: -1n,
});
const shape = { dataBytes: 0x6000, codeBytes: 0x2000 };
const mm = { ...emptyMm(), vmas: [] as VmaEntry[] };

function emptyMm() {
  const zero = 0n;
  return {
    mm_start_code: 0x400000n,
    mm_end_code: 0x401000n,
    mm_start_data: zero,
    mm_end_data: zero,
    mm_start_stack: zero,
    mm_start_brk: zero,
    mm_brk: zero,
    mm_arg_start: zero,
    mm_arg_end: zero,
    mm_env_start: zero,
    mm_env_end: zero,
    exe_file_id: 1,
    mm_saved_auxv: [],
    aios: [],
  };
}

test("lazy spans join neighbours and leave out what is locked, huge or of a file", () => {
  const regular = vmaStatus.regular | vmaStatus.anonPrivate;
  const vmas = [
    vma(0x10000000n, 0x10001000n, regular),
    vma(0x10001000n, 0x10003000n, regular),
    vma(0x10003000n, 0x10004000n, regular, 0x2022),
    vma(0x10004000n, 0x10005000n, vmaStatus.regular | vmaStatus.filePrivate, 2),
    vma(0x10005000n, 0x10006000n, regular),
  ];
  const problems: string[] = [];
  const plan = planSpace({ ...mm, vmas }, shape, problems);
  assert.deepEqual(problems, []);
  assert.deepEqual(lazySpans(plan, 0x1000), [
    { start: 0x10000000, end: 0x10003000 },
    { start: 0x10005000, end: 0x10006000 },
  ]);
});

test("lazy spans go over what is not mapped, but for where the agent or the vdso is", () => {
  const regular = vmaStatus.regular | vmaStatus.anonPrivate;
  const at = [0x10000000n, 0x20000000n, 0x30000000n, 0x40000000n];
  const vmas = at.map((start) => vma(start, start + 0x1000n, regular));
  vmas.push(vma(0x38000000n, 0x38006000n, vmaStatus.vvar), vma(0x38006000n, 0x38008000n, vmaStatus.vdso));
  const problems: string[] = [];
  const plan = planSpace({ ...mm, vmas }, shape, problems);
  assert.deepEqual(problems, []);
  assert.deepEqual(lazySpans(plan, 0x18000000), [
    { start: 0x10000000, end: 0x10001000 },
    { start: 0x20000000, end: 0x30001000 },
    { start: 0x40000000, end: 0x40001000 },
  ]);
});

/** Start, end and advice of every madvise(2) of a script, and whether it may find nothing mapped in between. */
function advices(script: Script): [number, number, number, boolean][] {
  const recordBytes = 64;
  return script.batches.flatMap((batch) => {
    const view = new DataView(batch.encode(0).buffer);
    const found: [number, number, number, boolean][] = [];
    for (let at = 0; at < batch.callCount * recordBytes; at += recordBytes) {
      if (view.getUint32(at, true) !== syscalls.madvise) continue;
      const [start, length, advice] = [8, 16, 24].map((offset) => Number(view.getBigUint64(at + offset, true)));
      found.push([start!, start! + length!, advice!, view.getUint32(at + 4, true) === 1]);
    }
    return found;
  });
}

test("neighbours get the same advice by one call, which goes over nothing else", () => {
  const regular = vmaStatus.regular | vmaStatus.anonPrivate;
  const page = 0x1000n;
  const advised = (start: bigint, madv: bigint): VmaEntry => ({ ...vma(start, start + page, regular), madv });
  const [dontFork, mergeable] = [1n << 10n, 1n << 12n];
  const vmas = [
    advised(0x10000000n, dontFork),
    advised(0x10001000n, dontFork | mergeable),
    advised(0x10003000n, dontFork | mergeable),
    vma(0x10004000n, 0x10005000n, regular),
    advised(0x10005000n, dontFork),
    advised(0x10009000n, dontFork), // behind the agent
  ];
  const plan = planSpace({ ...mm, vmas }, shape, []);
  const script = new Script();
  makeMappings(script, plan, { mapped: () => 3, shared: () => 3 }, 0x10006000);
  assert.deepEqual(
    advices(script).sort(([a, , c], [b, , d]) => a - b || c - d),
    [
      [0x10000000, 0x10004000, 10, true],
      [0x10001000, 0x10002000, 12, false],
      [0x10003000, 0x10004000, 12, false],
      [0x10005000, 0x10006000, 10, false],
      [0x10009000, 0x1000a000, 10, false],
    ],
  );
});

test("everything wrong with an address space is told at once", () => {
  const regular = vmaStatus.regular | vmaStatus.anonPrivate;
  const vmas = [
    vma(0x1000n, 0x1000n, regular),
    vma(0x1001n, 0x3000n, regular),
    vma(0x10000000n, 0x10003000n, regular),
    vma(0x10002000n, 0x10004000n, regular),
    vma(0x20000000n, 0x20001000n, vmaStatus.regular | vmaStatus.shadowStack),
    vma(0x7ffffffff000n, 0x800000000000n, regular),
    vma(0x30000000n, 0x30001000n, vmaStatus.regular | vmaStatus.vdso),
  ];
  const problems: string[] = [];
  planSpace({ ...mm, vmas, mm_brk: -1n }, shape, problems);
  for (const word of ["1000-1000", "1001-3000", "overlaps", "shadow stack", "7ffffffff000", "vdso", "heap"]) {
    assert.ok(
      problems.some((problem) => problem.includes(word)),
      `${word} is not in ${problems.join("; ")}`,
    );
  }
});

test("the fixtures of another kernel's CRIU are read, and refused only for what differs here", () => {
  for (const name of ["patchwork", "python-http", "redis"]) {
    using images = ImageDirectory.open(join(fixtures, name, "images"));
    const tree = loadTree(images);
    assert.ok(tree.tasks.length >= 1);
    assert.ok(tree.tasks.every((task) => task.dead || task.threads.length >= 1));
    try {
      const plan = planRestore(tree);
      assert.ok(plan.files.make.callCount > 0);
    } catch (error) {
      assert.ok(error instanceof FaultlineError && error.code === "IMAGE_UNSUPPORTED", String(error));
    }
  }
});

test("the extended state keeps every component at the processor's place", () => {
  using images = ImageDirectory.open(join(fixtures, "patchwork", "images"));
  const state = loadTree(images).tasks[0]?.threads[0]?.core.thread_info?.fpregs;
  assert.ok(state?.xsave !== undefined);
  const layout = xstateLayout();
  const area = composeXstate(state, layout, 4096);
  const view = new DataView(area.buffer);
  assert.equal(view.getUint32(24, true), state.mxcsr);
  assert.deepEqual(Array.from(new Uint32Array(area.slice(160, 416).buffer)), state.xmm_space);
  assert.equal(view.getBigUint64(512, true) & ~state.xsave.xstate_bv, 0n);
  if (layout.size(5) > 0) assert.equal(view.getBigUint64(layout.offset(5), true), state.xsave.opmask_reg[0]);
});
