// A batch of system calls for the in-target agent: composes the 64-byte records and the data next to them, and reads
// the results back. Pure: bytes in, bytes out; injector.ts runs it.
import { type ErrorCode, errorName, FaultlineError } from "../errors";
import { syscallName } from "./constants";

export const recordBytes = 64;
const tolerateFlag = 1;
const resultOffset = 56;
const errnoMax = 4095n;

/** A place in the batch's data area; as an argument it becomes its address in the target. */
export class Slot {
  readonly offset: number;
  readonly length: number;

  constructor(offset: number, length: number) {
    this.offset = offset;
    this.length = length;
  }

  /** The address `bytes` into this slot, as an argument. */
  at(bytes: number): Slot {
    return new Slot(this.offset + bytes, this.length - bytes);
  }
}

export type Argument = number | bigint | Slot;

/** A call that was added to a batch: the handle by which its result is asked for. */
export interface Call {
  readonly index: number;
  readonly name: string;
}

export interface CallOptions {
  /** A failure of this call neither ends the batch nor throws; its result is the negative errno. */
  readonly tolerate?: boolean;
  /** This errno is no failure. Any other ends nothing, but throws after the batch. */
  readonly accept?: number;
  /** What the call is for, in the error of a failure; default is the system call's name. */
  readonly purpose?: string;
  /** What more there is to say about a failure in task `pid`, asked for while the task still stands where it failed. */
  readonly explain?: (errno: number, pid: number) => Explanation | undefined;
}

export interface Explanation {
  readonly code: ErrorCode;
  readonly advice: string;
}

interface Recorded extends Call {
  readonly number: number;
  readonly args: readonly Argument[];
  readonly tolerate: boolean;
  readonly accept: number | undefined;
  readonly explain: CallOptions["explain"];
}

interface Fixup {
  readonly offset: number;
  readonly target: Slot;
}

export class Batch {
  readonly #calls: Recorded[] = [];
  /** Those with an errno that is no failure. */
  readonly #accepting: Recorded[] = [];
  readonly #data: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  readonly #fixups: Fixup[] = [];
  #dataBytes = 0;
  /** What encode() made last, and for which address: a batch that is run again and again is encoded once. */
  #encoded: { readonly address: number; readonly image: Uint8Array } | undefined;

  /** Adds a system call. Arguments beyond those given are 0; negative numbers are sign-extended. */
  call(number: number, args: readonly Argument[] = [], options: CallOptions = {}): Call {
    if (args.length > 6) throw new RangeError("a system call has at most six arguments");
    const call: Recorded = {
      index: this.#calls.length,
      name: options.purpose ?? syscallName(number),
      number,
      args,
      tolerate: options.tolerate ?? options.accept !== undefined,
      accept: options.accept,
      explain: options.explain,
    };
    this.#add(call);
    this.#encoded = undefined;
    return call;
  }

  #add(call: Recorded): void {
    this.#calls.push(call);
    if (call.accept !== undefined) this.#accepting.push(call);
  }

  /** Adds all calls of another batch, with their data. Handles that `other` gave out are not good for this one. */
  append(other: Batch): void {
    const shift = this.#dataBytes;
    const moved = (slot: Slot): Slot => new Slot(slot.offset + shift, slot.length);
    for (const call of other.#calls) {
      const args = call.args.map((argument) => (argument instanceof Slot ? moved(argument) : argument));
      this.#add({ ...call, index: this.#calls.length, args });
    }
    for (const { offset, bytes } of other.#data) this.#data.push({ offset: offset + shift, bytes });
    for (const { offset, target } of other.#fixups) {
      this.#fixups.push({ offset: offset + shift, target: moved(target) });
    }
    this.#dataBytes += other.#dataBytes;
    this.#encoded = undefined;
  }

  copy(): Batch {
    const batch = new Batch();
    batch.append(this);
    return batch;
  }

  /** Room for `length` bytes that a call writes; zero at first. Aligned to 16 bytes. */
  reserve(length: number): Slot {
    const slot = new Slot(this.#dataBytes, length);
    this.#dataBytes += Math.ceil(length / 16) * 16;
    this.#encoded = undefined;
    return slot;
  }

  /** Bytes for a call to read. */
  place(bytes: Uint8Array): Slot {
    const slot = this.reserve(bytes.length);
    this.#data.push({ offset: slot.offset, bytes });
    return slot;
  }

  /** A NUL-terminated string for a call to read. */
  text(value: string): Slot {
    return this.place(Buffer.from(`${value}\0`));
  }

  /** Writes the address of `target` at `bytes` into `slot`: a pointer inside a structure. */
  point(slot: Slot, bytes: number, target: Slot): void {
    this.#fixups.push({ offset: slot.offset + bytes, target });
    this.#encoded = undefined;
  }

  get callCount(): number {
    return this.#calls.length;
  }

  /** The bytes that the batch takes in the target. */
  get byteLength(): number {
    return this.#calls.length * recordBytes + this.#dataBytes;
  }

  /** The batch as it lies at `address` in the target: the records, then the data. Not to be written to. */
  encode(address: number): Uint8Array {
    if (this.#encoded?.address !== address) this.#encoded = { address, image: this.#encode(address) };
    return this.#encoded.image;
  }

  #encode(address: number): Uint8Array {
    const image = new Uint8Array(this.byteLength);
    const view = new DataView(image.buffer);
    const dataStart = this.#calls.length * recordBytes;
    const addressOf = (slot: Slot): bigint => BigInt(address + dataStart + slot.offset);
    for (const call of this.#calls) {
      const record = call.index * recordBytes;
      view.setUint32(record, call.number, true);
      view.setUint32(record + 4, call.tolerate ? tolerateFlag : 0, true);
      call.args.forEach((argument, index) => {
        const at = record + 8 + index * 8;
        // Most are small: a bigint for each would be most of the work. The upper half is zero already.
        if (typeof argument === "number" && argument >>> 0 === argument) view.setUint32(at, argument, true);
        else {
          const value = argument instanceof Slot ? addressOf(argument) : BigInt.asUintN(64, BigInt(argument));
          view.setBigUint64(at, value, true);
        }
      });
    }
    for (const { offset, bytes } of this.#data) image.set(bytes, dataStart + offset);
    for (const { offset, target } of this.#fixups) view.setBigUint64(dataStart + offset, addressOf(target), true);
    return image;
  }

  /**
   * Reads the batch back after it ran in task `tid`; `made` is the number of records that the agent finished.
   * Throws an error naming the call where one failed that was not tolerated.
   */
  decode(image: Uint8Array, made: number, tid: number): BatchResult {
    const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
    const failed = this.#calls[made] ?? this.#accepting.find((call) => !isAccepted(view, call));
    if (failed !== undefined) {
      const errno = errnoOf(view, failed);
      const explanation = failed.explain?.(errno, tid);
      const code = explanation?.code ?? (errno === 1 || errno === 13 ? "PERMISSION" : "SYSTEM");
      const number = syscallName(failed.number);
      const what = failed.name === number ? number : `${failed.name} (${number})`;
      throw new FaultlineError(code, `${what} failed inside the task: ${errorName(errno)}`, {
        pid: tid,
        syscall: number,
        errno,
        advice: explanation?.advice,
      });
    }
    return new BatchResult(view, this.#calls.length * recordBytes);
  }
}

/** The errno of a call that failed, or 0. */
function errnoOf(view: DataView, { index }: Call): number {
  const value = view.getBigInt64(index * recordBytes + resultOffset, true);
  return value < 0n && value >= -errnoMax ? Number(-value) : 0;
}

function isAccepted(view: DataView, call: Recorded): boolean {
  const errno = errnoOf(view, call);
  return errno === 0 || errno === call.accept;
}

/** The results of a batch that ran. */
export class BatchResult {
  readonly #view: DataView;
  readonly #dataStart: number;

  constructor(view: DataView, dataStart: number) {
    this.#view = view;
    this.#dataStart = dataStart;
  }

  /** The call's result; a negative errno only for tolerated calls. */
  value(call: Call): number {
    return Number(this.value64(call));
  }

  value64(call: Call): bigint {
    return this.#view.getBigInt64(call.index * recordBytes + resultOffset, true);
  }

  /** What the slot holds after the batch, as a view for multi-byte reads. */
  data(slot: Slot): DataView {
    const { buffer, byteOffset } = this.#view;
    return new DataView(buffer, byteOffset + this.#dataStart + slot.offset, slot.length);
  }

  bytes(slot: Slot): Uint8Array {
    const view = this.data(slot);
    return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  }
}
