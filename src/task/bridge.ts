// The bridge: a few instructions in unused bytes of a task's vdso (or of its program's text, where it has no vdso), from
// which its first thread can make a system call while it has no agent, and by which it gets back when its tracer dies. See
// native/agent/bridge.S. Decides nothing; injector.ts says when a thread stands on it.
//
// Writing there gives the task a copy of that page (4 KiB), which it keeps; the bytes are put back as they were.
import { FaultlineError } from "../errors";
import { agentCode, bridgeCode } from "./machineCode";
import { notInSyscall, type RegisterName, type Registers } from "./registers";
import { pokeMemory } from "./taskMemory";
import { findUnusedRoom, type UnusedRoom } from "./vdso";

/** In the order of the code, which is that of struct user_regs_struct. */
const stateRegisters: readonly RegisterName[] = [
  ...(["r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10"] as const),
  ...(["r9", "r8", "ax", "cx", "dx", "si", "di", "ip"] as const),
];

const alignment = 16;
const align = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

export const noRoom = "neither its vdso nor its program has room for the few instructions of a dump";

/** What is the same in every bridge. */
function unfilled(): Uint8Array {
  const { bytes, state } = bridgeCode();
  return bytes.subarray(0, state);
}

/** Where a bridge fits into a task, with the agent's code behind it; undefined where it does not. */
export function bridgeRoom(pid: number): UnusedRoom | undefined {
  return findUnusedRoom(pid, align(bridgeCode().bytes.length) + agentCode().bytes.length, unfilled());
}

/** The bridge's bytes with the state that it leads back to, and the agent's code behind it. */
export function bridgeBytes(registers: Registers, signalMask: bigint): Uint8Array {
  const { bytes, state } = bridgeCode();
  const agent = agentCode().bytes;
  const all = new Uint8Array(align(bytes.length) + agent.length);
  all.set(bytes);
  all.set(agent, align(bytes.length));
  const view = new DataView(all.buffer);
  view.setBigUint64(state, signalMask, true);
  stateRegisters.forEach((name, index) => {
    view.setBigUint64(state + 8 + index * 8, registers.get(name), true);
  });
  return all;
}

export class Bridge {
  readonly pid: number;
  readonly #address: number;
  /** What is put back in the end: not what a dumper left that was killed. */
  readonly #before: Uint8Array;

  private constructor(pid: number, address: number, before: Uint8Array) {
    this.pid = pid;
    this.#address = address;
    this.#before = before;
  }

  /** Finds its place; nothing is written yet. UNSUPPORTED where there is none. */
  static find(pid: number): Bridge {
    const room = bridgeRoom(pid);
    if (room === undefined) throw new FaultlineError("UNSUPPORTED", noRoom, { pid });
    const isLeftOver = unfilled().every((byte, index) => room.before[index] === byte);
    return new Bridge(pid, room.address, isLeftOver ? room.before.fill(0) : room.before);
  }

  /** The `syscall` instruction; the way back follows. */
  get call(): bigint {
    return BigInt(this.#address);
  }

  /** Address of the agent's code. */
  get agent(): number {
    return this.#address + align(bridgeCode().bytes.length);
  }

  /** Writes it. From then on `backTo` are registers from which the thread gets by itself to `registers` and `signalMask`. */
  lay(registers: Registers, signalMask: bigint): void {
    pokeMemory(this.pid, this.#address, bridgeBytes(registers, signalMask));
  }

  /** The registers of a thread that is on its way back to `registers`: stack pointer, flags and segments are right already. */
  backTo(registers: Registers): Registers {
    return registers
      .copy()
      .set("ip", this.#address + bridgeCode().back)
      .set("orig_ax", notInSyscall);
  }

  /** Puts the bytes back as they were. No thread may stand there any more. */
  erase(): void {
    pokeMemory(this.pid, this.#address, this.#before);
  }
}
