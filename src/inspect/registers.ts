// The registers of every thread of a task, as the image has them. x86-64 only, as the images that this project reads.
import { FaultlineError } from "../errors";
import type { ThreadInfoX86, UserX86FpregsEntry } from "../images/messages";
import type { Checkpoint } from "./checkpoint";
import { type FloatingState, type RegisterName, registerNames } from "./elfCore";
import { describeVma } from "./mappings";

export interface ThreadRegisters {
  readonly threadId: number;
  readonly name: string;
  readonly registers: Readonly<Record<RegisterName, bigint>>;
  readonly floating: FloatingState;
  /** Where the thread is: "/usr/lib/libc.so.6+0x108f36", an offset in the file; undefined outside of any mapping. */
  readonly location: string | undefined;
  /** Bit n-1 for signal n. */
  readonly blockedSignals: bigint;
}

/** The threads of task `pid`, its leader first. A dead task has none. Throws NOT_FOUND, IMAGE_UNSUPPORTED. */
export function threadRegisters(checkpoint: Checkpoint, pid: number): ThreadRegisters[] {
  const entry = checkpoint.task(pid);
  if (entry.dead) return [];
  const threadIds = [pid, ...entry.threads.filter((threadId) => threadId !== pid)];
  return threadIds.map((threadId) => oneThread(checkpoint, pid, threadId));
}

function oneThread(checkpoint: Checkpoint, pid: number, threadId: number): ThreadRegisters {
  const core = checkpoint.core(threadId);
  const info = core.thread_info;
  if (info === undefined) {
    throw new FaultlineError("IMAGE_UNSUPPORTED", "a thread's core has no x86-64 registers", {
      file: `${checkpoint.path}/core-${threadId}.img`,
      pid,
    });
  }
  return {
    threadId,
    name: core.thread_core?.comm ?? core.tc?.comm ?? "?",
    registers: generalRegisters(info),
    floating: floatingState(info.fpregs),
    location: locationOf(checkpoint, pid, BigInt.asUintN(64, info.gpregs.ip)),
    blockedSignals: core.thread_core?.blk_sigset ?? core.tc?.blk_sigset ?? 0n,
  };
}

function locationOf(checkpoint: Checkpoint, pid: number, address: bigint): string | undefined {
  const mm = checkpoint.mm(pid);
  const vma = mm?.vmas.find(({ start, end }) => start <= address && address < end);
  if (mm === undefined || vma === undefined) return undefined;
  const name = describeVma(checkpoint, mm, vma, []).name;
  return `${name === "" ? "anonymous memory" : name}+0x${(address - vma.start + vma.pgoff).toString(16)}`;
}

function generalRegisters(info: ThreadInfoX86): Record<RegisterName, bigint> {
  const pairs = registerNames.map((name) => [name, BigInt.asUintN(64, info.gpregs[name])] as const);
  return Object.fromEntries(pairs) as Record<RegisterName, bigint>;
}

function floatingState(state: UserX86FpregsEntry): FloatingState {
  const { xsave } = state;
  return {
    controlWord: state.cwd,
    statusWord: state.swd,
    tagWord: state.twd,
    opcode: state.fop,
    instructionPointer: state.rip,
    dataPointer: state.rdp,
    mxcsr: state.mxcsr,
    mxcsrMask: state.mxcsr_mask,
    x87: state.st_space,
    sse: state.xmm_space,
    extended:
      xsave === undefined
        ? undefined
        : {
            xstateBv: xsave.xstate_bv,
            ymmHigh: xsave.ymmh_space,
            boundRegisters: xsave.bndreg_state,
            boundControl: xsave.bndcsr_state,
            opmask: xsave.opmask_reg,
            zmmHigh: xsave.zmm_upper,
            zmmHigh16: xsave.hi16_zmm,
            pkru: xsave.pkru,
          },
  };
}
