// The machine code that runs inside a task, as the addon holds it (native/agent): bytes and where its entries are. Knows
// nothing of any task.
import { checked } from "../errors";
import { native } from "../native";
import { pageSize } from "./constants";

export interface AgentCode {
  readonly bytes: Uint8Array;
  /** Offset of the entry for a thread that has a way back and nothing to do. */
  readonly leave: number;
}

export interface BridgeCode {
  /** Begins with a `syscall` instruction, after which the way back follows. */
  readonly bytes: Uint8Array;
  /** Offset of the way back. */
  readonly back: number;
  /** Offset of the state: the signal mask, fifteen general registers, the instruction pointer. */
  readonly state: number;
}

function load(copy: (buffer: Uint8Array, entries: Int32Array) => number): { bytes: Uint8Array; entries: Int32Array } {
  const buffer = new Uint8Array(pageSize);
  const entries = new Int32Array(2);
  return { bytes: buffer.subarray(0, checked(copy(buffer, entries), "copy", "the code does not fit a page")), entries };
}

let agent: AgentCode | undefined;
let bridge: BridgeCode | undefined;

export function agentCode(): AgentCode {
  if (agent === undefined) {
    const { bytes, entries } = load(native.agentCode);
    agent = { bytes, leave: entries[0] as number };
  }
  return agent;
}

export function bridgeCode(): BridgeCode {
  if (bridge === undefined) {
    const { bytes, entries } = load(native.bridgeCode);
    bridge = { bytes, back: entries[0] as number, state: entries[1] as number };
  }
  return bridge;
}
