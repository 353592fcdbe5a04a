// The general registers of a stopped thread, as PTRACE_GETREGSET(NT_PRSTATUS) lays them out. No kernel calls here.

/** Index of each register in struct user_regs_struct (asm/user_64.h). */
const order = [
  "r15",
  "r14",
  "r13",
  "r12",
  "bp",
  "bx",
  "r11",
  "r10",
  "r9",
  "r8",
  "ax",
  "cx",
  "dx",
  "si",
  "di",
  "orig_ax",
  "ip",
  "cs",
  "flags",
  "sp",
  "ss",
  "fs_base",
  "gs_base",
  "ds",
  "es",
  "fs",
  "gs",
] as const;

export type RegisterName = (typeof order)[number];
export const registerNames: readonly RegisterName[] = order;

const indexOf = new Map<RegisterName, number>(order.map((name, index) => [name, index]));

/** The value of orig_ax outside of a system call. */
export const notInSyscall = 0xffffffffffffffffn;

/** A copy of one thread's 27 general registers; 64-bit values are unsigned bigints. */
export class Registers {
  readonly words: BigUint64Array;

  constructor(words: BigUint64Array = new BigUint64Array(order.length)) {
    this.words = words;
  }

  get(name: RegisterName): bigint {
    return this.words[indexOf.get(name) as number] as bigint;
  }

  set(name: RegisterName, value: number | bigint): this {
    this.words[indexOf.get(name) as number] = BigInt.asUintN(64, BigInt(value));
    return this;
  }

  /** `ax` as a signed number: the result of a system call. */
  result(): bigint {
    return BigInt.asIntN(64, this.get("ax"));
  }

  copy(): Registers {
    return new Registers(this.words.slice());
  }
}
