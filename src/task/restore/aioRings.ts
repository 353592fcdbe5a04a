// Contexts of asynchronous I/O (io_setup(2)): made anew and moved to their addresses, which are their names. The kernel keeps
// the end of the queue of events to itself, so it is brought to where it was by requests that write nothing to nowhere;
// then the ring gets its content, with the events that nobody has read. Requests in flight have ended with the dump.
import { closeSync, openSync } from "node:fs";
import { checked, FaultlineError } from "../../errors";
import type { MmEntry, VmaEntry } from "../../images/messages";
import type { PageIndex } from "../../images/pageIndex";
import { vmaStatus } from "../../images/vmaStatus";
import { native } from "../../native";
import type { Argument, Batch, Call } from "../batch";
import { mapFlag, pageSize, syscalls } from "../constants";
import type { AgentHost } from "./agentHost";
import type { Range } from "./layout";
import { Script } from "./script";

const ioSetup = 206;
const ioGetEvents = 208;
const ioSubmit = 209;
const mayMoveFixed = 3; // MREMAP_MAYMOVE | MREMAP_FIXED
/** struct iocb and struct io_event (linux/aio_abi.h). */
const requestBytes = 64;
const eventBytes = 32;
const writeCommand = 1; // IOCB_CMD_PWRITE
const requestOffset = { command: 16, descriptor: 20, buffer: 24, length: 32 } as const;
/** struct aio_ring of fs/aio.c: the context's index, the number of events that fit, the oldest event, and one past the newest. */
const ringOffset = { index: 0, size: 4, head: 8, tail: 12 } as const;
const requestsAtOnce = 1024;
const requestsMax = 0x10000;

export interface AioRing extends Range {
  readonly requests: number;
}

/** The rings of an address space, in the order of their making; what is wrong with them goes to `problems`. */
export function planRings(mm: MmEntry, problems: string[]): AioRing[] {
  const mapped = new Map(mm.vmas.filter(isRing).map((vma) => [vma.start, vma.end]));
  const rings = mm.aios.flatMap(({ id, nr_req, ring_len }): AioRing[] => {
    const end = mapped.get(id);
    mapped.delete(id);
    if (end === undefined || end - id !== BigInt(ring_len) || nr_req > requestsMax) {
      problems.push(`mm: the AIO context ${id.toString(16)} does not fit its mapping`);
      return [];
    }
    return [{ start: Number(id), end: Number(end), requests: nr_req }];
  });
  for (const start of mapped.keys()) problems.push(`mapping ${start.toString(16)}: an AIO ring without its context`);
  return rings;
}

export function isRing(vma: VmaEntry): boolean {
  return (vma.status & vmaStatus.aioRing) !== 0;
}

/** Makes all rings of a task whose other mappings are there; descriptors 0 to 7 are free, or the lowest is. */
export function makeRings(host: AgentHost, rings: readonly AioRing[], index: PageIndex): void {
  // So that no context comes to lie where another will be.
  for (const { start, end } of rings) {
    const flags = mapFlag.private | mapFlag.anonymous | mapFlag.fixedNoReplace;
    run(host, (batch) => batch.call(syscalls.mmap, [start, end - start, 0, flags, -1, 0]));
  }
  const memory = openSync(`/proc/${host.pid}/mem`, "r+");
  try {
    for (const ring of rings) {
      const content = Buffer.alloc(ring.end - ring.start);
      const pages = content.length / pageSize;
      for (let page = 0; page < pages; page++) {
        const at = ring.start / pageSize + page;
        if (index.lookup(at).kind !== "none")
          index.readPages(at, 1, content.subarray(page * pageSize, (page + 1) * pageSize));
      }
      makeRing(host, memory, ring, content);
    }
  } finally {
    closeSync(memory);
  }
}

function makeRing(host: AgentHost, memory: number, ring: AioRing, content: Buffer): void {
  const length = ring.end - ring.start;
  const first = setUp(host, ring.requests);
  run(host, (batch) =>
    batch.call(syscalls.mremap, [first, length, length, mayMoveFixed, ring.start], { purpose: "moving an AIO ring" }),
  );
  const fresh = Buffer.alloc(16);
  checked(native.readAt(memory, ring.start, fresh), "pread", "an AIO ring cannot be read", { pid: host.pid });
  const size = fresh.readUInt32LE(ringOffset.size);
  const tail = content.readUInt32LE(ringOffset.tail);
  if (size !== content.readUInt32LE(ringOffset.size) || tail >= size || content.readUInt32LE(ringOffset.head) >= size) {
    throw new FaultlineError("UNSUPPORTED", `an AIO ring has ${size} events here, as the dump's does not`, {
      pid: host.pid,
      address: ring.start,
    });
  }
  advance(host, ring, tail);
  fresh.copy(content, ringOffset.index, ringOffset.index, ringOffset.index + 4);
  checked(native.writeAt(memory, ring.start, content), "pwrite", "an AIO ring cannot be filled", { pid: host.pid });
}

/** The address at which the kernel has put the new context. */
function setUp(host: AgentHost, requests: number): bigint {
  const script = new Script();
  const batch = script.room(1, 16);
  const slot = batch.reserve(8);
  batch.call(ioSetup, [requests, slot], { purpose: "making an AIO context" });
  const [result] = host.run(script);
  return result?.data(slot).getBigUint64(0, true) ?? 0n;
}

/** Lets so many requests come and go, all at the end of the queue. */
function advance(host: AgentHost, ring: AioRing, count: number): void {
  if (count === 0) return;
  const open = (batch: Batch): Call => batch.call(syscalls.openat, [-100, batch.text("/dev/null"), 1]);
  const descriptor = run(host, open);
  for (let left = count; left > 0; ) {
    const now = Math.min(left, ring.requests, requestsAtOnce);
    run(host, (batch) => {
      const request = Buffer.alloc(requestBytes);
      request.writeUInt16LE(writeCommand, requestOffset.command);
      request.writeInt32LE(descriptor, requestOffset.descriptor);
      request.writeBigUInt64LE(1n, requestOffset.length);
      const slot = batch.place(request);
      batch.point(slot, requestOffset.buffer, slot);
      const list = batch.place(new Uint8Array(now * 8));
      for (let number = 0; number < now; number++) batch.point(list, number * 8, slot);
      const events: Argument = batch.reserve(now * eventBytes);
      batch.call(ioSubmit, [ring.start, now, list], { purpose: "moving an AIO queue on" });
      return batch.call(ioGetEvents, [ring.start, now, now, events, 0], { purpose: "moving an AIO queue on" });
    });
    left -= now;
  }
  run(host, (batch) => batch.call(syscalls.close, [descriptor]));
}

/** Runs a batch of its own; the result of the call that `compose` answers. */
function run(host: AgentHost, compose: (batch: Batch) => Call): number {
  const script = new Script();
  const call = compose(script.room(4, requestsAtOnce * (8 + eventBytes) + 256));
  return host.run(script)[0]?.value(call) ?? -1;
}
