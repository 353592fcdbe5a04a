// The extended processor state of a thread, as CRIU's images hold it, as the XSAVE area that ptrace(2) takes.
// The layout of the area is the processor's own (CPUID leaf 0xD); nothing here touches a thread.
import type { UserX86FpregsEntry } from "../images/messages";
import { native } from "../native";

/** Components of the XSAVE area (Intel SDM volume 1, 13.1). */
export const component = {
  x87: 0,
  sse: 1,
  avx: 2,
  boundRegisters: 3,
  boundConfiguration: 4,
  opmask: 5,
  zmmUpper: 6,
  highZmm: 7,
  protectionKeys: 9,
} as const;
const componentCount = 19;
const legacyBytes = 512;
const headerBytes = 64;

export interface XstateLayout {
  offset(component: number): number;
  /** Bytes of the component, 0 where the processor has none. */
  size(component: number): number;
}

let layout: XstateLayout | undefined;

/** This processor's layout. */
export function xstateLayout(): XstateLayout {
  if (layout !== undefined) return layout;
  const pairs = new Uint32Array(componentCount * 2);
  native.xstateLayout(pairs);
  layout = { offset: (index) => pairs[index * 2] ?? 0, size: (index) => pairs[index * 2 + 1] ?? 0 };
  return layout;
}

function words32(view: DataView, offset: number, values: readonly number[], bytesMax: number): void {
  values.slice(0, bytesMax / 4).forEach((value, index) => {
    view.setUint32(offset + index * 4, value, true);
  });
}

function words64(view: DataView, offset: number, values: readonly bigint[], bytesMax: number): void {
  values.slice(0, bytesMax / 8).forEach((value, index) => {
    view.setBigUint64(offset + index * 8, value, true);
  });
}

/** Components that the state uses but this processor does not have, by number. */
export function missingComponents(registers: UserX86FpregsEntry, target: XstateLayout): number[] {
  const used = registers.xsave?.xstate_bv ?? 0n;
  const known = Object.values(component).filter((index) => index >= 2);
  return known.filter((index) => (used & (1n << BigInt(index))) !== 0n && target.size(index) === 0);
}

/** The XSAVE area in its standard form, `length` bytes as the kernel gives for this machine. */
export function composeXstate(registers: UserX86FpregsEntry, target: XstateLayout, length: number): Uint8Array {
  const area = new Uint8Array(length);
  const view = new DataView(area.buffer);
  view.setUint16(0, registers.cwd, true);
  view.setUint16(2, registers.swd, true);
  view.setUint16(4, registers.twd, true);
  view.setUint16(6, registers.fop, true);
  view.setBigUint64(8, registers.rip, true);
  view.setBigUint64(16, registers.rdp, true);
  view.setUint32(24, registers.mxcsr, true);
  view.setUint32(28, registers.mxcsr_mask, true);
  words32(view, 32, registers.st_space, 128);
  words32(view, 160, registers.xmm_space, 256);
  const { xsave } = registers;
  if (xsave === undefined) {
    view.setBigUint64(legacyBytes, 3n, true);
    return area;
  }
  let present = 3n;
  const put = (index: number, write: (offset: number, size: number) => void): void => {
    const offset = target.offset(index);
    const size = target.size(index);
    if (size === 0 || offset < legacyBytes + headerBytes || offset + size > length) return;
    write(offset, size);
    present |= 1n << BigInt(index);
  };
  put(component.avx, (offset, size) => words32(view, offset, xsave.ymmh_space, size));
  put(component.boundRegisters, (offset, size) => words64(view, offset, xsave.bndreg_state, size));
  put(component.boundConfiguration, (offset, size) => words64(view, offset, xsave.bndcsr_state, size));
  put(component.opmask, (offset, size) => words64(view, offset, xsave.opmask_reg, size));
  put(component.zmmUpper, (offset, size) => words64(view, offset, xsave.zmm_upper, size));
  put(component.highZmm, (offset, size) => words64(view, offset, xsave.hi16_zmm, size));
  put(component.protectionKeys, (offset, size) => words32(view, offset, xsave.pkru, size));
  // A component that was in its initial state at dump stays so: its bit is clear in the image.
  view.setBigUint64(legacyBytes, xsave.xstate_bv & present, true);
  return area;
}
