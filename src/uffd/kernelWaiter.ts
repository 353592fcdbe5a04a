// Waits on the real kernel's descriptors: userfaultfds, pidfds and one eventfd, in one epoll set. Spins for a bounded
// time after activity, because a sleep and a wake-up cost more than most faults take to answer.
import { checked } from "../errors";
import { READY_MAX, SPIN_US_DEFAULT } from "../limits";
import { native } from "../native";
import { KernelUffd } from "./kernelUffd";
import type { Uffd, UffdWaiter, WaitResult } from "./port";

const CONTROL = 0;
const SIGKILL = 9;

interface MutableResult {
  readonly readable: Uffd[];
  readonly exited: number[];
  control: boolean;
}

export class KernelWaiter implements UffdWaiter {
  private readonly epoll: number;
  private readonly control: number;
  private readonly ready = new Float64Array(READY_MAX);
  private readonly result: MutableResult = { readable: [], exited: [], control: false };
  // What an epoll token stands for: a context or the caller's token of a pidfd.
  private readonly uffds = new Map<number, Uffd>();
  private readonly pidfds = new Map<number, { token: number; pidfd: number }>();
  private readonly tokens = new Map<number, number>();
  private nextKey = 1;
  private activeUs = Number.NEGATIVE_INFINITY;

  /** `spinUs`: how long a wait that follows activity polls before it sleeps; 0 never spins. */
  constructor(private readonly spinUs: number = SPIN_US_DEFAULT) {
    this.epoll = checked(native.epollCreate(), "epoll_create1", "no descriptor is left for waiting");
    this.control = checked(native.eventfdCreate(), "eventfd", "no descriptor is left for waiting");
    checked(native.epollAdd(this.epoll, this.control, CONTROL), "epoll_ctl", "waiting cannot be set up");
  }

  /** The eventfd that `interrupt` signals: another thread may signal it by number. */
  get controlDescriptor(): number {
    return this.control;
  }

  add(uffd: Uffd): void {
    const key = this.nextKey++;
    checked(native.epollAdd(this.epoll, uffd.id, key), "epoll_ctl", "a userfaultfd cannot be waited on");
    this.uffds.set(key, uffd);
    this.tokens.set(uffd.id, key);
    if (uffd instanceof KernelUffd) uffd.waitedOnBy = this.epoll;
  }

  remove(uffd: Uffd): void {
    const key = this.tokens.get(uffd.id);
    if (key === undefined || this.uffds.get(key) !== uffd) return;
    this.tokens.delete(uffd.id);
    this.uffds.delete(key);
    if (uffd instanceof KernelUffd) uffd.waitedOnBy = -1;
    native.epollRemove(this.epoll, uffd.id);
  }

  addPidfd(pidfd: number, token: number): void {
    const key = this.nextKey++;
    checked(native.epollAdd(this.epoll, pidfd, key), "epoll_ctl", "a process cannot be watched");
    this.pidfds.set(key, { token, pidfd });
  }

  removePidfd(token: number): void {
    for (const [key, entry] of this.pidfds) {
      if (entry.token !== token) continue;
      native.epollRemove(this.epoll, entry.pidfd);
      this.pidfds.delete(key);
      return;
    }
  }

  kill(token: number): void {
    for (const entry of this.pidfds.values()) {
      // ESRCH: it has exited and been reaped, which is what was wanted.
      if (entry.token === token) native.pidfdSignal(entry.pidfd, SIGKILL);
    }
  }

  wait(timeoutUs: number): WaitResult {
    const { result, ready } = this;
    // Setting a length, even to what it is, is a call into V8's runtime.
    if (result.readable.length > 0) result.readable.length = 0;
    if (result.exited.length > 0) result.exited.length = 0;
    result.control = false;
    const timeout = timeoutUs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, Math.ceil(timeoutUs));
    const spinUs = timeout === 0 ? 0 : Math.max(0, this.activeUs + this.spinUs - this.nowUs());
    const count = native.epollWait(this.epoll, timeout, spinUs, ready);
    checked(count, "epoll_wait", "waiting failed");
    if (count > 0) this.activeUs = this.nowUs();
    for (let i = 0; i < count; i++) this.report(ready[i]!);
    return result;
  }

  private report(key: number): void {
    if (key === CONTROL) {
      native.eventfdClear(this.control);
      this.result.control = true;
      return;
    }
    const uffd = this.uffds.get(key);
    if (uffd !== undefined) {
      this.result.readable.push(uffd);
      return;
    }
    const pidfd = this.pidfds.get(key);
    if (pidfd !== undefined) this.result.exited.push(pidfd.token);
  }

  interrupt(): void {
    native.eventfdSignal(this.control);
  }

  nowUs(): number {
    return native.monotonicUs();
  }

  [Symbol.dispose](): void {
    native.closeDescriptor(this.epoll);
    native.closeDescriptor(this.control);
  }
}
