// Floating point and vector registers: from the XSAVE area of PTRACE_GETREGSET to CRIU's fpregs entry. Pure.
// Layout: Intel SDM volume 1, 13.4 (legacy region, header, standard-format components).
import type { Init } from "../../images/message";
import type { UserX86FpregsEntry } from "../../images/messages";

/** Components of the standard format: bit in XSTATE_BV, offset and size in bytes as on all processors that have them. */
const components = {
  ymm: { bit: 2, offset: 576, bytes: 256 },
  bndreg: { bit: 3, offset: 960, bytes: 64 },
  bndcsr: { bit: 4, offset: 1024, bytes: 64 },
  opmask: { bit: 5, offset: 1088, bytes: 64 },
  zmmUpper: { bit: 6, offset: 1152, bytes: 512 },
  hi16Zmm: { bit: 7, offset: 1664, bytes: 1024 },
  pkru: { bit: 9, offset: 2688, bytes: 8 },
} as const;
const headerOffset = 512;
const softwareFeaturesOffset = 464;

/** The fpregs entry of one thread. Components that the processor lacks stay empty. */
export function floatingPointEntry(xstate: Uint8Array): Init<UserX86FpregsEntry> {
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
  const has = (component: { bit: number; offset: number; bytes: number }): boolean =>
    (features & (1n << BigInt(component.bit))) !== 0n && xstate.length >= component.offset + component.bytes;
  const { ymm, bndreg, bndcsr, opmask, zmmUpper, hi16Zmm, pkru } = components;
  return {
    ...entry,
    xsave: {
      xstate_bv: view.getBigUint64(headerOffset, true),
      ymmh_space: has(ymm) ? words(ymm.offset, 64) : [],
      bndreg_state: has(bndreg) ? longs(bndreg.offset, 8) : [],
      bndcsr_state: has(bndcsr) ? longs(bndcsr.offset, 8) : [],
      opmask_reg: has(opmask) ? longs(opmask.offset, 8) : [],
      zmm_upper: has(zmmUpper) ? longs(zmmUpper.offset, 64) : [],
      hi16_zmm: has(hi16Zmm) ? longs(hi16Zmm.offset, 128) : [],
      pkru: has(pkru) ? words(pkru.offset, 2) : [],
      cet: { cet: 0n, ssp: 0n },
    },
  };
}
