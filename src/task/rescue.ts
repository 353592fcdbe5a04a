// The way back for a task whose tracer dies while it runs the agent: the rt_sigreturn(2) frame that puts it where it
// was. Pure: composes bytes. The agent uses it only when nobody suppresses its closing signal any more.
//
// What it cannot do: unmap the agent's data area (it stays), and keep the remaining time of a sleep that was interrupted
// (the call starts anew). Before there is a data area to put the frame in, bridge.ts is the way back.

import type { RegisterName, Registers } from "./registers";

/** Layout of struct ucontext and struct sigcontext (asm/sigcontext.h, asm-generic/ucontext.h), bytes. */
const ucontextBytes = 304;
const stackFlagsOffset = 24;
const registersOffset = 40;
const registerOrder: readonly RegisterName[] = [
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
  "di",
  "si",
  "bp",
  "bx",
  "dx",
  "ax",
  "cx",
  "sp",
  "ip",
  "flags",
];
const segmentsOffset = registersOffset + registerOrder.length * 8;
const floatingPointOffset = registersOffset + 184;
const maskOffset = 296;
const xstateOffset = 320; // 64-byte aligned, as XRSTOR wants it

const fxsaveBytes = 512;
const softwareBytesOffset = 464;
const magic1 = 0x46505853;
const magic2 = 0x46505845;
const flagXstate = 1;
const flagSegmentSaved = 2;
const flagStrictSegment = 4;
const invalidStackFlags = 0x7fffffff; // sigaltstack refuses it, so that the alternate stack stays as it is

export interface RescueState {
  /** With an interrupted system call undone already (interruption.ts). */
  readonly registers: Registers;
  readonly signalMask: bigint;
  /** The XSAVE area as PTRACE_GETREGSET(NT_X86_XSTATE) gives it. */
  readonly xstate: Uint8Array;
}

/** Bytes that rescueFrame() takes. */
export function rescueFrameBytes(xstate: Uint8Array): number {
  return xstateOffset + xstate.length + 16;
}

/** The frame as it lies at `address`, which must be 64-byte aligned; the stack pointer of rt_sigreturn points at it. */
export function rescueFrame(address: number, state: RescueState): Uint8Array {
  const frame = new Uint8Array(rescueFrameBytes(state.xstate));
  const view = new DataView(frame.buffer);
  const { registers } = state;
  view.setBigUint64(0, BigInt(flagXstate | flagSegmentSaved | flagStrictSegment), true);
  view.setUint32(stackFlagsOffset, invalidStackFlags, true);
  registerOrder.forEach((name, index) => {
    view.setBigUint64(registersOffset + index * 8, registers.get(name), true);
  });
  view.setUint16(segmentsOffset, Number(registers.get("cs") & 0xffffn), true);
  view.setUint16(segmentsOffset + 6, Number(registers.get("ss") & 0xffffn), true);
  view.setBigUint64(floatingPointOffset, BigInt(address + xstateOffset), true);
  view.setBigUint64(maskOffset, state.signalMask, true);
  frame.set(state.xstate, xstateOffset);
  const software = xstateOffset + softwareBytesOffset;
  const features = view.getBigUint64(software, true); // the regset carries the feature mask here
  const extended = state.xstate.length > fxsaveBytes;
  frame.fill(0, software, software + 48);
  if (extended) {
    view.setUint32(software, magic1, true);
    view.setUint32(software + 4, state.xstate.length + 4, true);
    view.setBigUint64(software + 8, features, true);
    view.setUint32(software + 16, state.xstate.length, true);
    view.setUint32(xstateOffset + state.xstate.length, magic2, true);
  }
  return frame;
}

if (registersOffset + 256 !== maskOffset || maskOffset + 8 !== ucontextBytes) {
  throw new Error("struct ucontext is laid out wrong");
}
