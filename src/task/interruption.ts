// A system call that the freeze interrupted: how the program sees none of it. Pure; see signal(7) on restarts.
import { restart, syscalls } from "./constants";
import { notInSyscall, type Registers } from "./registers";

/** The length of the `syscall` instruction, by which the instruction pointer goes back. */
const instructionBytes = 2n;
const eintr = 4n;

/**
 * Calls that answer plain EINTR to any wake-up, a tracer's included, and may simply be made again: nothing was done
 * yet when they say EINTR. Calls that restart by themselves (futex, read of a pipe, nanosleep, ...) never reach this.
 */
const rerunnable = new Set<number>([
  syscalls.epoll_wait,
  syscalls.epoll_pwait,
  syscalls.epoll_pwait2,
  syscalls.semop,
  syscalls.semtimedop,
  syscalls.rt_sigtimedwait,
  syscalls.io_getevents,
  syscalls.io_pgetevents,
  syscalls.read,
  syscalls.readv,
  syscalls.recvfrom,
  syscalls.recvmsg,
  syscalls.recvmmsg,
  syscalls.write,
  syscalls.writev,
  syscalls.sendto,
  syscalls.sendmsg,
  syscalls.accept,
  syscalls.accept4,
  syscalls.wait4,
  syscalls.waitid,
  syscalls.msgrcv,
  syscalls.msgsnd,
]);

export type Interruption =
  /** No system call was interrupted: in user mode, or the call had completed. */
  | "none"
  /** -ERESTARTSYS and friends: the kernel makes the call again unless a handler runs first. */
  | "restarts"
  /** -ERESTART_RESTARTBLOCK: the remaining time is kernel state of this task and is lost in an image. */
  | "restart-block"
  /** -EINTR of a call that can be made again. */
  | "spurious-eintr";

/** What the stop at `registers` did to a call in progress. Meant for a stop without a signal to deliver. */
export function classifyInterruption(registers: Registers): Interruption {
  const call = registers.get("orig_ax");
  if (BigInt.asIntN(64, call) < 0n) return "none";
  const result = -registers.result();
  if (result === BigInt(restart.restartBlock)) return "restart-block";
  if (result === BigInt(restart.sys) || result === BigInt(restart.noIntr) || result === BigInt(restart.noHand)) {
    return "restarts";
  }
  return result === eintr && rerunnable.has(Number(call)) ? "spurious-eintr" : "none";
}

/**
 * A copy of the registers with which the program goes on as if never stopped.
 * "rerun": every interrupted call is made again from its start, by user registers alone: for images and rescue frames.
 * "resume": the kernel still holds the task's restart state, so only a spurious EINTR is put right.
 * Where a signal is about to be delivered (`signalDue`), an EINTR is the program's own and stays.
 */
export function undoInterruption(registers: Registers, how: "rerun" | "resume", signalDue = false): Registers {
  const copy = registers.copy();
  const kind = classifyInterruption(registers);
  const again = kind === "spurious-eintr" ? !signalDue : how === "rerun" && kind !== "none";
  if (again) copy.set("ax", registers.get("orig_ax")).set("ip", registers.get("ip") - instructionBytes);
  if (again || how === "rerun") copy.set("orig_ax", notInSyscall);
  return copy;
}
