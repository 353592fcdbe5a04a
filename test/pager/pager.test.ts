// The pager's decisions, one at a time, on a scripted context. Whole programs run on the simulated kernel (test/model).
import assert from "node:assert/strict";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { BlockCodec, type BlockRef } from "../../src/images/block";
import type { FindOwners } from "../../src/pager/doom";
import { Pager, type PagerHooks } from "../../src/pager/pager";
import type { PageSource } from "../../src/pager/pageSource";
import { defaultPagerOptions, type PagerOptions, type SessionReport } from "../../src/pager/requests";
import { Space } from "../../src/space/space";
import { PlainQueue } from "../../src/uffd/plainQueue";
import type {
  InstallOutcome,
  QueueOutcome,
  Served,
  ServePlan,
  Uffd,
  UffdEvent,
  UffdWaiter,
  WaitResult,
} from "../../src/uffd/port";
import { emptyServed } from "../../src/uffd/served";

const FIRST = 1000;
const PAGES = 64;

/** A context that does as told: `script` answers the next installs, then pages are simply installed once. */
class Scripted implements Uffd {
  readonly calls: string[] = [];
  readonly queue: UffdEvent[] = [];
  readonly script: (InstallOutcome | Error)[] = [];
  readonly there = new Set<number>();
  closed = false;
  exited = false;
  constructor(readonly id: number) {}

  read(): readonly UffdEvent[] {
    return this.queue.splice(0);
  }
  /** What waits may answer by themselves, as the pager said last. */
  plan: ServePlan | undefined;
  serve(plan: ServePlan): void {
    this.plan = plan;
  }
  stopServing(): void {
    this.plan = undefined;
  }
  private install(what: string, page: number, pageCount: number): InstallOutcome {
    // The pager asks for a page far away to learn whether the address space still exists.
    if (page > 2 ** 30) return { kind: this.exited ? "exited" : "gone" };
    this.calls.push(`${what} ${page - FIRST}+${pageCount}`);
    const next = this.script.shift();
    if (next instanceof Error) throw next;
    if (this.exited) return { kind: "exited" };
    const outcome = next ?? { kind: "installed", pageCount };
    if (outcome.kind === "installed") for (let i = 0; i < outcome.pageCount; i++) this.there.add(page - FIRST + i);
    return outcome;
  }
  installPages(page: number, block: BlockRef, skip: number, pageCount: number): InstallOutcome {
    // The right bytes: page i of the image is at i * 4096.
    assert.equal(block.offset / 4096 + skip, page - FIRST - this.shift);
    return this.install("copy", page, pageCount);
  }
  private readonly installs = new PlainQueue(
    (page, block, skip, pageCount) => this.installPages(page, block, skip, pageCount),
    () => this.queue.length > 0,
  );
  queuePages(page: number, block: BlockRef, skip: number, pageCount: number): boolean {
    return this.installs.queuePages(page, block, skip, pageCount);
  }
  installQueued(runCount: number): QueueOutcome {
    return this.installs.installQueued(runCount);
  }
  dropQueued(): void {
    this.installs.dropQueued();
  }
  /** How far the layout was moved from where the image had it. */
  shift = 0;
  installBytes(page: number, _bytes: Uint8Array, pageCount: number): InstallOutcome {
    return this.install("bytes", page, pageCount);
  }
  installZero(page: number, pageCount: number): InstallOutcome {
    return this.install("zero", page, pageCount);
  }
  poison(page: number, pageCount: number): InstallOutcome {
    return this.install("poison", page, pageCount);
  }
  wake(page: number): void {
    this.calls.push(`wake ${page - FIRST}`);
  }
  unregister(page: number, pageCount: number): "unregistered" {
    this.calls.push(`unregister ${page - FIRST}+${pageCount}`);
    return "unregistered";
  }
  close(): void {
    this.closed = true;
  }
  [Symbol.dispose](): void {}
}

class ScriptedWaiter implements UffdWaiter {
  readonly uffds: Uffd[] = [];
  readonly killed: number[] = [];
  readonly exits: number[] = [];
  readonly served: Served[] = [];
  /** Not reported as readable, whatever they have. */
  readonly hidden: Uffd[] = [];
  timeUs = 0;
  lastTimeoutUs = 0;
  add(uffd: Uffd): void {
    this.uffds.push(uffd);
  }
  remove(uffd: Uffd): void {
    this.uffds.splice(this.uffds.indexOf(uffd), 1);
  }
  addPidfd(): void {}
  removePidfd(): void {}
  kill(token: number): void {
    this.killed.push(token);
  }
  wait(timeoutUs: number): WaitResult {
    this.lastTimeoutUs = timeoutUs;
    const readable = this.uffds.filter((uffd) => (uffd as Scripted).queue.length > 0 && !this.hidden.includes(uffd));
    // Time passes where nothing is ready.
    if (readable.length === 0) this.timeUs += Math.min(timeoutUs, 1_000_000);
    const served = this.served.splice(0);
    return { served, servedCount: served.length, readable, exited: this.exits.splice(0), control: false };
  }
  interrupt(): void {}
  contended = false;
  isContended(): boolean {
    return this.contended;
  }
  nowUs(): number {
    this.timeUs += 0.25;
    return this.timeUs;
  }
  [Symbol.dispose](): void {}
}

const source: PageSource = {
  locate(imagePage) {
    const first = imagePage - (imagePage % 16);
    const bytes = 16 * 4096;
    const block = {
      fd: 0,
      file: "f",
      codec: BlockCodec.Raw,
      offset: first * 4096,
      storedBytes: bytes,
      pageCount: 16,
      checksum: -1,
    };
    return { imagePage: first, pageCount: 16, skip: 0, block };
  },
};

function setUp(options: Partial<PagerOptions> = {}, pidfd = 7, pages: PageSource = source, record = false) {
  const waiter = new ScriptedWaiter();
  const reports: SessionReport[] = [];
  const pager = new Pager(
    waiter,
    { ...defaultPagerOptions, stayLazy: true, ...options },
    {
      sessionDone: (report) => reports.push(report),
    },
  );
  const uffd = new Scripted(1);
  const space = Space.empty();
  space.addZero(FIRST, PAGES + 32);
  space.addImage(FIRST, PAGES, 0, 0);
  pager.openSession(1, "images", record);
  const context = pager.addContext(1, { uffd, space, sources: [pages], imagePid: 42, pid: 42, pidfd });
  return { waiter, pager, uffd, space, context, reports };
}

function fault(page: number): UffdEvent {
  return { kind: "fault", page: FIRST + page, write: false, minor: false, writeProtected: false, threadId: 9 };
}

test("a fault gets its own page first; the rest of its block follows when no other fault comes", () => {
  const { pager, uffd } = setUp();
  uffd.queue.push(fault(20));
  pager.step();
  assert.deepEqual(uffd.calls, ["copy 20+1"]);
  for (let i = 0; i < 4; i++) pager.step();
  assert.deepEqual(uffd.calls, ["copy 20+1", "copy 21+11", "copy 16+4"]);
});

/** What a wait says of a fault that it answered, in a block of 16 pages. */
function servedFault(uffd: Scripted, page: number, wholeBlock = false): Served {
  const blockFirst = FIRST + page - (page % 16);
  const block = { blockFirst, blockEnd: blockFirst + 16, wholeBlock };
  const about = { codec: BlockCodec.Raw, threadId: 9, write: false, readUs: 1, doneUs: 3 };
  return { ...emptyServed(uffd), ...about, ...block, isFault: true, page: FIRST + page, pageCount: 1 };
}

/** Waits answer by themselves what such a source has. */
const tabled: PageSource = {
  ...source,
  table: () => ({
    runCount: 1,
    starts: Float64Array.of(0),
    counts: Float64Array.of(PAGES),
    flags: Uint8Array.of(4),
    filePages: Float64Array.of(0),
    fd: 0,
    blocks: { kind: "raw", pagesPerBlock: 16 },
  }),
};

test("what a wait answered is noted before the events that it read, and its block is brought afterwards", () => {
  const { waiter, pager, uffd, space } = setUp({}, 7, tabled);
  assert.deepEqual([uffd.plan], [undefined], "what it needs of the images is not opened before the tasks run");
  pager.startDrain(1);
  assert.deepEqual(uffd.plan?.ranges, Float64Array.of(FIRST, PAGES, 0, 0));
  waiter.served.push(servedFault(uffd, 20));
  uffd.queue.push({ kind: "remove", page: FIRST + 20, pageCount: 1 });
  pager.step();
  assert.equal(space.at(FIRST + 20).kind, "zero", "removed after it was installed");
  assert.equal(uffd.plan, undefined, "a plan from before the event is no longer good");
  for (let i = 0; i < 4; i++) pager.step();
  assert.deepEqual(uffd.calls, ["copy 21+11", "copy 16+4"]);
  assert.equal(pager.report(0).sessions[0]?.faults, 1);
});

test("a plan is made anew after the next fault behind an event; none is made for what is recorded or failed", () => {
  const { pager, uffd, context } = setUp({}, 7, tabled);
  uffd.queue.push(fault(3), { kind: "unmap", page: FIRST + 32, pageCount: 32 });
  pager.step();
  assert.deepEqual(uffd.plan?.ranges, Float64Array.of(FIRST, 3, 0, 0, FIRST + 4, 28, 0, 4));
  uffd.script.push(new FaultlineError("IMAGE_CORRUPT", "a block is corrupt"));
  uffd.queue.push(fault(8));
  pager.step();
  assert.equal(context.state, "failed");
  assert.equal(uffd.plan, undefined);
  const recorded = setUp({}, 7, tabled, true);
  recorded.pager.startDrain(1);
  assert.equal(recorded.uffd.plan, undefined);
});

test("a copy made by fork that only a wait has read about is served where its parent ends", () => {
  const { waiter, pager, uffd } = setUp({}, 7, tabled);
  pager.startDrain(1);
  const child = new Scripted(2);
  uffd.exited = true;
  waiter.exits.push(1);
  // It is read as the context ends: no wait has said that it is readable.
  waiter.hidden.push(uffd);
  uffd.queue.push({ kind: "fork", child });
  pager.step();
  assert.ok(uffd.closed);
  assert.ok(waiter.uffds.includes(child) && !child.closed);
});

test("where others want its processor the drain makes small steps and sleeps in between", () => {
  const { waiter, pager, uffd } = setUp({ stayLazy: false });
  waiter.contended = true;
  pager.startDrain(1);
  pager.step();
  assert.deepEqual(uffd.calls, ["copy 0+16"]);
  pager.step();
  assert.ok(waiter.lastTimeoutUs > 0, "it sleeps before the next step");
  assert.deepEqual(uffd.calls, ["copy 0+16", "copy 16+16"]);
  waiter.contended = false;
  pager.step();
  assert.deepEqual(uffd.calls.slice(2, 4), ["copy 32+16", "copy 48+16"], "one step for all that is left");
});

test("faults in a row get the rest of their block at once", () => {
  const { pager, uffd } = setUp();
  uffd.queue.push(fault(3));
  pager.step();
  uffd.queue.push(fault(4));
  pager.step();
  assert.deepEqual(uffd.calls, ["copy 3+1", "copy 4+1", "copy 5+11"]);
});

test("a fault read together with an older REMOVE gets a zero page", () => {
  const { pager, uffd } = setUp();
  uffd.queue.push(fault(20), { kind: "remove", page: FIRST + 20, pageCount: 1 });
  pager.step();
  assert.deepEqual(uffd.calls, ["zero 20+1"]);
});

test("events of a batch are applied in their order: REMAP, then UNMAP of what it left", () => {
  const { pager, uffd, space } = setUp();
  uffd.shift = 500;
  uffd.queue.push(
    fault(510),
    { kind: "remap", from: FIRST, to: FIRST + 500, pageCount: 64 },
    { kind: "unmap", page: FIRST, pageCount: 64 },
  );
  pager.step();
  assert.deepEqual(uffd.calls, ["copy 510+1"]);
  assert.equal(space.at(FIRST + 5).kind, "outside");
});

test("EAGAIN defers a fault: it is planned again from the new layout, and never forgotten", () => {
  const { pager, uffd, space } = setUp();
  uffd.script.push({ kind: "changing" }, { kind: "changing" }, { kind: "changing" });
  uffd.queue.push(fault(20));
  for (let i = 0; i < 3; i++) pager.step();
  assert.equal(space.at(FIRST + 20).kind, "image");
  uffd.queue.push({ kind: "remove", page: FIRST + 20, pageCount: 1 });
  for (let i = 0; i < 6; i++) pager.step();
  assert.deepEqual(uffd.calls.slice(0, 4), ["copy 20+1", "copy 20+1", "copy 20+1", "zero 20+1"]);
  assert.equal(pager.session(1).deferredFaults, 1);
});

test("retries of a deferred fault come after growing pauses, not in a busy loop", () => {
  const { pager, uffd, waiter } = setUp();
  for (let i = 0; i < 40; i++) uffd.script.push({ kind: "changing" });
  uffd.queue.push(fault(20));
  while (uffd.calls.length < 12) pager.step();
  assert.ok(waiter.timeUs > 5000, `${waiter.timeUs} µs for 12 tries`);
  while (!uffd.there.has(20)) pager.step();
});

test("a page that is there already wakes its threads", () => {
  const { pager, uffd } = setUp();
  uffd.script.push({ kind: "present" });
  uffd.queue.push(fault(20));
  pager.step();
  assert.deepEqual(uffd.calls, ["copy 20+1", "wake 20"]);
});

test("a page that is gone wakes its threads", () => {
  const { pager, uffd } = setUp();
  uffd.script.push({ kind: "gone" });
  uffd.queue.push(fault(20));
  pager.step();
  assert.deepEqual(uffd.calls, ["copy 20+1", "wake 20"]);
});

test("a run across a split is halved until it fits", () => {
  const { pager, uffd } = setUp({ stayLazy: false });
  uffd.script.push({ kind: "gone" }, { kind: "gone" });
  pager.startDrain(1);
  pager.step();
  assert.deepEqual(uffd.calls.slice(0, 4), ["copy 0+16", "copy 0+8", "copy 0+4", "copy 4+8"]);
});

test("a partial install goes on behind it", () => {
  const { pager, uffd } = setUp({ stayLazy: false });
  uffd.script.push({ kind: "installed", pageCount: 5 }, { kind: "present" });
  pager.startDrain(1);
  pager.step();
  assert.deepEqual(uffd.calls.slice(0, 3), ["copy 0+16", "copy 5+11", "copy 6+10"]);
});

test("a zero fault next to zero pages is widened, and never over image pages", () => {
  const { pager, uffd } = setUp();
  uffd.queue.push(fault(70));
  pager.step();
  assert.deepEqual(uffd.calls, ["zero 70+1", "zero 71+15"]);
  uffd.queue.push({ kind: "remove", page: FIRST + 60, pageCount: 2 }, fault(60));
  pager.step();
  assert.deepEqual(uffd.calls.slice(2), ["zero 60+1", "zero 61+1"]);
});

test("the drain goes in order, and ends with unregister and close once nothing is missing", () => {
  const { pager, uffd, reports } = setUp({ stayLazy: false });
  pager.step();
  assert.deepEqual(uffd.calls, [], "not before the restore is complete");
  pager.startDrain(1);
  pager.run();
  assert.deepEqual(uffd.calls, ["copy 0+16", "copy 16+16", "copy 32+16", "copy 48+16", "unregister 0+96"]);
  assert.ok(uffd.closed);
  assert.equal(reports[0]!.state, "done");
  assert.equal(reports[0]!.drainedPages, 64);
});

test("--stay-lazy never drains, and ends when all has been touched", () => {
  const { pager, uffd, reports } = setUp();
  pager.startDrain(1);
  for (let i = 0; i < 20; i++) pager.step();
  assert.deepEqual(uffd.calls, []);
  for (let i = 0; i < PAGES; i++) {
    if (uffd.there.has(i)) continue;
    uffd.queue.push(fault(i));
    for (let k = 0; k < 5; k++) pager.step();
  }
  assert.equal(reports[0]?.state, "done");
});

test("--drain-rate holds the pace", () => {
  const { pager, waiter } = setUp({ stayLazy: false, drainRateBytes: 64 * 4096 });
  pager.addContext(1, { uffd: new Scripted(2), space: wide(), sources: [source], imagePid: 43, pid: 43, pidfd: -1 });
  pager.startDrain(1);
  pager.run();
  assert.ok(waiter.timeUs > 1_800_000, `192 pages at 64 a second took ${waiter.timeUs} µs`);
});

function wide(): Space {
  const space = Space.empty();
  space.addImage(FIRST, 128, 0, 0);
  return space;
}

test("several tasks are drained in turns", () => {
  const { pager, uffd } = setUp({ stayLazy: false });
  const other = new Scripted(2);
  pager.addContext(1, { uffd: other, space: wide(), sources: [source], imagePid: 43, pid: 43, pidfd: -1 });
  pager.startDrain(1);
  pager.step();
  pager.step();
  assert.ok(uffd.calls.length > 0 && other.calls.length > 0);
});

test("a fork's child has the parent's layout of that moment, and its own afterwards", () => {
  const { pager, uffd, context } = setUp();
  const child = new Scripted(2);
  uffd.queue.push({ kind: "fork", child }, { kind: "remove", page: FIRST + 20, pageCount: 1 }, fault(20));
  pager.step();
  child.queue.push(fault(20));
  pager.step();
  assert.deepEqual(uffd.calls, ["zero 20+1"]);
  assert.deepEqual(child.calls, ["copy 20+1"]);
  assert.equal(context.session.forks, 1);
});

test("ESRCH ends a context although pages are missing", () => {
  const { pager, uffd, reports } = setUp({ stayLazy: false });
  uffd.exited = true;
  pager.startDrain(1);
  pager.run();
  assert.ok(uffd.closed);
  assert.equal(reports[0]!.contexts[0]!.state, "exited");
  assert.equal(reports[0]!.state, "done");
});

test("the exit of a process whose memory lives on does not end its context", () => {
  const { pager, uffd, waiter } = setUp();
  waiter.exits.push(1);
  pager.step();
  assert.ok(!uffd.closed);
  uffd.exited = true;
  for (let i = 0; i < 4; i++) pager.step();
  assert.ok(uffd.closed);
});

test("bytes that cannot be read: kill sends SIGKILL and the context stays open until the task is gone", () => {
  const { pager, uffd, waiter, reports } = setUp({ stayLazy: false });
  uffd.script.push(new FaultlineError("IMAGE_TRUNCATED", "the page file ends early", { file: "pages-1.img" }));
  uffd.queue.push(fault(20));
  pager.startDrain(1);
  for (let i = 0; i < 5; i++) pager.step();
  assert.deepEqual(waiter.killed, [1]);
  assert.ok(!uffd.closed);
  assert.deepEqual(uffd.calls, ["copy 20+1"], "no page after the failure");
  uffd.exited = true;
  waiter.exits.push(1);
  pager.run();
  assert.ok(uffd.closed);
  assert.equal(reports[0]!.state, "failed");
  assert.match(reports[0]!.error!, /pages-1\.img/);
});

test("bytes that cannot be read: poison, and kill where no pid is known, poison every missing page", () => {
  for (const [policy, pidfd] of [
    ["poison", 7],
    ["kill", -1],
  ] as const) {
    const { pager, uffd, reports } = setUp({ stayLazy: false, onError: policy }, pidfd);
    uffd.script.push(new FaultlineError("IMAGE_CORRUPT", "a page block has a wrong checksum", { file: "f" }));
    pager.startDrain(1);
    pager.run();
    assert.ok(uffd.calls.includes("poison 0+64"), uffd.calls.join());
    assert.equal(reports[0]!.state, "failed");
  }
});

test("bytes that cannot be read: wait keeps the fault, serves the others, and tries again", () => {
  const { pager, uffd } = setUp({ onError: "wait" });
  uffd.script.push(new FaultlineError("IMAGE_TRUNCATED", "the page file ends early", { file: "f" }));
  uffd.queue.push(fault(20));
  pager.step();
  uffd.queue.push(fault(50));
  pager.step();
  assert.ok(uffd.there.has(50) && !uffd.there.has(20));
  for (let i = 0; i < 12 && !uffd.there.has(20); i++) pager.step();
  assert.ok(uffd.there.has(20));
});

/** A forked copy in which every page is missing, whose process `find` may find. */
function setUpCopy(find: FindOwners | undefined, heldElsewhere = false) {
  const waiter = new ScriptedWaiter();
  const reports: SessionReport[] = [];
  const dropped: number[] = [];
  const hooks: PagerHooks = {
    sessionDone: (report) => reports.push(report),
    contextEnded: (context) => dropped.push(context.uffd.id),
    heldElsewhere,
    ...(find === undefined ? {} : { findOwners: find }),
  };
  const pager = new Pager(waiter, { ...defaultPagerOptions, stayLazy: true }, hooks);
  const parent = new Scripted(1);
  const copy = new Scripted(2);
  pager.openSession(1, "images");
  pager.addContext(1, { uffd: parent, space: wide(), sources: [source], imagePid: 42, pid: 42, pidfd: 7 });
  pager.startDrain(1);
  parent.queue.push({ kind: "fork", child: copy });
  pager.step();
  parent.exited = true;
  waiter.exits.push(1);
  pager.step();
  return { waiter, pager, copy, reports, dropped };
}

const unreadable = () => new FaultlineError("IMAGE_CORRUPT", "a page block has a wrong checksum", { file: "f" });

test("bytes that cannot be read in a copy: its process is looked for by one poisoned page at a time, and killed", () => {
  const marks: boolean[] = [];
  const { pager, copy, waiter, reports } = setUpCopy((_page, mark) => {
    marks.push(mark());
    return marks.length === 3 ? [70, 71] : [];
  });
  copy.script.push(unreadable());
  copy.queue.push(fault(20));
  for (let i = 0; i < 12; i++) pager.step();
  assert.deepEqual(marks, [true, true, true]);
  assert.deepEqual(copy.calls, ["copy 20+1", "poison 0+1", "poison 1+1", "poison 2+1"]);
  assert.deepEqual(waiter.killed, [2, 3], "both processes that share the memory");
  assert.ok(!copy.closed, "open until it is gone");
  copy.exited = true;
  waiter.exits.push(3);
  pager.run();
  assert.equal(reports[0]!.state, "failed");
});

test("a copy whose process is not found is poisoned whole in the end", () => {
  const { pager, copy, waiter, reports } = setUpCopy(() => []);
  copy.script.push(unreadable());
  copy.queue.push(fault(20));
  pager.run();
  assert.deepEqual(waiter.killed, []);
  // The fault that is still parked asks by a zero page, which the kernel refuses over poison: its threads are woken.
  assert.deepEqual(copy.calls, ["copy 20+1", "poison 0+128", "zero 20+1", "unregister 0+128"]);
  assert.equal(reports[0]!.state, "failed");
});

test("poisoning that the kernel puts off is tried again, not forgotten", () => {
  const { pager, copy, reports } = setUpCopy(undefined);
  copy.script.push(unreadable(), { kind: "changing" }, { kind: "changing" });
  copy.queue.push(fault(20));
  pager.run();
  assert.ok(copy.there.has(127), copy.calls.join());
  assert.equal(reports[0]!.state, "failed");
});

/** A kernel that will not poison: every try is refused. */
function refusePoison(copy: Scripted): void {
  copy.poison = () => {
    throw new FaultlineError("SYSTEM", "the kernel refused to install pages", { syscall: "UFFDIO_POISON", errno: 22 });
  };
}

test("stop() leaves what it can neither kill nor poison to the watchdog, which is not told that it ended", () => {
  const { pager, copy, dropped } = setUpCopy(() => [], true);
  refusePoison(copy);
  const report = pager.stop();
  assert.deepEqual(dropped, [1], "the parent has exited, the copy has not");
  assert.equal(report.sessions[0]!.state, "failed");
  assert.match(report.sessions[0]!.error!, /stopped with pages missing/);
});

test("stop() without a watchdog never closes a context with pages missing: it waits until the task is gone", () => {
  const { pager, copy, waiter } = setUpCopy(() => []);
  refusePoison(copy);
  copy.close = () => {
    assert.ok(copy.exited, "closed while its task lives");
  };
  const wait = waiter.wait.bind(waiter);
  waiter.wait = (timeoutUs) => {
    if (waiter.timeUs > 60_000_000) copy.exited = true;
    return wait(timeoutUs);
  };
  pager.stop();
  assert.ok(waiter.timeUs > 60_000_000);
});

test("stop() with pages missing kills, and closes only when the task is gone", () => {
  const { pager, uffd, waiter } = setUp();
  const kill = waiter.kill.bind(waiter);
  waiter.kill = (token) => {
    kill(token);
    assert.ok(!uffd.closed);
    uffd.exited = true;
    waiter.exits.push(token);
  };
  const report = pager.stop();
  assert.deepEqual(waiter.killed, [1]);
  assert.ok(uffd.closed);
  assert.equal(report.sessions[0]!.state, "failed");
});

test("a page without a mapping is given up only when no event was on its way", () => {
  const { pager, uffd, space } = setUp({ stayLazy: false });
  uffd.script.push({ kind: "gone" }, { kind: "gone" }, { kind: "gone" }, { kind: "gone" }, { kind: "gone" });
  pager.startDrain(1);
  // The event of the move arrives just after the refusals.
  const read = uffd.read.bind(uffd);
  let reads = 0;
  uffd.read = () => {
    if (reads++ === 0) {
      uffd.shift = 500;
      return [
        { kind: "remap", from: FIRST, to: FIRST + 500, pageCount: 64 },
        { kind: "unmap", page: FIRST, pageCount: 64 },
      ];
    }
    return read();
  };
  pager.step();
  assert.equal(space.missingPages, 64, "nothing was dropped");
  pager.run();
  assert.ok(uffd.there.has(500) && uffd.there.has(563));
});
