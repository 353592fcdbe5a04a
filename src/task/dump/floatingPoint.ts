// Floating point and vector registers: from the XSAVE area of PTRACE_GETREGSET to CRIU's fpregs entry. Pure.
// Layout: Intel SDM volume 1, 13.4 (legacy region, header); where the components are is the processor's own: Intel's and
// AMD's have AVX-512 elsewhere.
import type { Init } from "../../images/message";
import type { UserX86FpregsEntry } from "../../images/messages";
import { component, type XstateLayout } from "../xstate";

const headerOffset = 512;
const componentsOffset = 576;
const softwareFeaturesOffset = 464;

/** The fpregs entry of one thread. Components that the processor lacks stay empty. */
export function floatingPointEntry(xstate: Uint8Array, layout: XstateLayout): Init<UserX86FpregsEntry> {
  const view = new DataView(xstate.buffer, xstate.byteOffset, xstate.byteLength);
  const words = (offset: number, count: number): number[] =>
    Array.from({ length: count }, (_, index) => view.getUint32(offset + index * 4, true));
  const longs = (offset: number, count: number): bigint[] =>
    Array.from({ length: count }, (_, index) => view.getBigUint64(offset + index * 8, true));
  const entry: Init<UserX86FpregsEntry> = {
    cwd: view.getUint16(0, true),
    swd: view.getUint16(2, true),
    twd: view.getUint8(4),
    fop: view.getUint16(6, true),
    rip: view.getBigUint64(8, true),
    rdp: view.getBigUint64(16, true),
    mxcsr: view.getUint32(24, true),
    mxcsr_mask: view.getUint32(28, true),
    st_space: words(32, 32),
    xmm_space: words(160, 64),
  };
  if (xstate.length <= headerOffset) return entry;
  const features = view.getBigUint64(softwareFeaturesOffset, true);
  const offsetOf = (index: number): number | undefined => {
    const offset = layout.offset(index);
    const isThere =
      layout.size(index) > 0 && offset >= componentsOffset && offset + layout.size(index) <= xstate.length;
    return isThere && (features & (1n << BigInt(index))) !== 0n ? offset : undefined;
  };
  const words32 = (index: number, count: number): number[] => {
    const offset = offsetOf(index);
    return offset === undefined ? [] : words(offset, count);
  };
  const words64 = (index: number, count: number): bigint[] => {
    const offset = offsetOf(index);
    return offset === undefined ? [] : longs(offset, count);
  };
  return {
    ...entry,
    xsave: {
      xstate_bv: view.getBigUint64(headerOffset, true),
      ymmh_space: words32(component.avx, 64),
      bndreg_state: words64(component.boundRegisters, 8),
      bndcsr_state: words64(component.boundConfiguration, 8),
      opmask_reg: words64(component.opmask, 8),
      zmm_upper: words64(component.zmmUpper, 64),
      hi16_zmm: words64(component.highZmm, 128),
      pkru: words32(component.protectionKeys, 2),
      cet: { cet: 0n, ssp: 0n },
    },
  };
}
