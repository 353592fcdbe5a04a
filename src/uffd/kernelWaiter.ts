// Waits on the real kernel's descriptors: userfaultfds, pidfds and one eventfd, in one epoll set. Spins for a bounded
// time after activity, because a sleep and a wake-up cost more than most faults take to answer.
import { checked } from "../errors";
import {
  LINGER_IDLE_US,
  LINGER_US,
  READY_MAX,
  SERVE_IDLE_US_MAX,
  SERVE_US_MAX,
  SERVED_MAX,
  SPIN_US_DEFAULT,
} from "../limits";
import { native } from "../native";
import { KernelUffd } from "./kernelUffd";
import type { Served, Uffd, UffdWaiter, WaitResult } from "./port";
import { emptyServed } from "./served";

const CONTROL = 0;
const SIGKILL = 9;

/** Numbers of an entry of epollWait's `served`: see addon.d.ts. */
const SERVED_NUMBERS = 11;
const WRITE = 1;
const WHOLE_BLOCK = 2;

interface MutableResult {
  readonly served: Served[];
  servedCount: number;
  readonly readable: Uffd[];
  readonly exited: number[];
  control: boolean;
}

export class KernelWaiter implements UffdWaiter {
  private readonly epoll: number;
  private readonly control: number;
  private readonly ready = new Float64Array(READY_MAX);
  private readonly servedNumbers = new Float64Array(1 + SERVED_MAX * SERVED_NUMBERS);
  private readonly result: MutableResult = { served: [], servedCount: 0, readable: [], exited: [], control: false };
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
    if (!(uffd instanceof KernelUffd)) return;
    uffd.waitedOnBy = this.epoll;
    uffd.waitToken = key;
  }

  remove(uffd: Uffd): void {
    const key = this.tokens.get(uffd.id);
    if (key === undefined || this.uffds.get(key) !== uffd) return;
    this.tokens.delete(uffd.id);
    this.uffds.delete(key);
    if (uffd instanceof KernelUffd) {
      uffd.stopServing();
      uffd.waitedOnBy = -1;
      uffd.waitToken = -1;
    }
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

  wait(timeoutUs: number, hurried = false): WaitResult {
    const { result, ready } = this;
    // Setting a length, even to what it is, is a call into V8's runtime.
    if (result.readable.length > 0) result.readable.length = 0;
    if (result.exited.length > 0) result.exited.length = 0;
    result.control = false;
    const timeout = timeoutUs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, Math.ceil(timeoutUs));
    const spinUs = timeout === 0 ? 0 : Math.max(0, this.activeUs + this.spinUs - this.nowUs());
    const { servedNumbers } = this;
    const [lingerUs, mostUs] = hurried ? [LINGER_US, SERVE_US_MAX] : [LINGER_IDLE_US, SERVE_IDLE_US_MAX];
    const count = native.epollWait(this.epoll, timeout, spinUs, lingerUs, mostUs, ready, servedNumbers);
    checked(count, "epoll_wait", "waiting failed");
    const servedCount = servedNumbers[0]!;
    if (count + servedCount > 0) this.activeUs = this.nowUs();
    result.servedCount = servedCount;
    for (let i = 0; i < servedCount; i++) this.reportServed(i);
    for (let i = 0; i < count; i++) this.report(ready[i]!);
    return result;
  }

  private reportServed(i: number): void {
    const { servedNumbers: numbers, result } = this;
    const at = 1 + i * SERVED_NUMBERS;
    const uffd = this.uffds.get(numbers[at]!)!;
    result.served[i] ??= emptyServed(uffd);
    const served = result.served[i]!;
    served.uffd = uffd;
    served.isFault = numbers[at + 1] === 0;
    served.page = numbers[at + 2]!;
    served.pageCount = numbers[at + 3]!;
    served.threadId = numbers[at + 4]!;
    served.readUs = numbers[at + 5]!;
    served.doneUs = numbers[at + 6]!;
    const flags = numbers[at + 7]!;
    served.write = (flags & WRITE) !== 0;
    served.wholeBlock = (flags & WHOLE_BLOCK) !== 0;
    served.blockFirst = numbers[at + 8]!;
    served.blockEnd = numbers[at + 9]!;
    served.codec = numbers[at + 10]!;
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

  isContended(): boolean {
    return native.contended() === 1;
  }

  nowUs(): number {
    return native.monotonicUs();
  }

  [Symbol.dispose](): void {
    native.closeDescriptor(this.epoll);
    native.closeDescriptor(this.control);
  }
}
