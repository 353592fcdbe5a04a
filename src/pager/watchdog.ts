// The watchdog process, as the pager sees it: it holds a duplicate of every userfaultfd, so that the death of the pager
// closes none of them (which would zero-fill all that is missing, in silence), and then applies the policy.
// The process itself is native/watchdog. Any thread may send: a message is one packet.
import { join } from "node:path";
import { checked } from "../errors";
import { addonPath, native } from "../native";
import type { ErrorPolicy } from "./requests";

const program = join(addonPath, "..", "faultline-watchdog");
const messageBytes = 16;
/** How long close() waits for the watchdog to end, milliseconds: it does at once where no context is left. */
const closeWaitMs = 1000;
const EAGAIN = 11;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const kind = { add: 1, drop: 2 } as const;

/** The sending side for one thread; `socket` is Watchdog.socket. */
export class WatchdogLink {
  readonly #socket: number;

  constructor(socket: number) {
    this.#socket = socket;
  }

  /** Before the first fault of a context is answered. `pid` 0: a copy made by fork, found below its parent. */
  add(context: number, uffd: number, pid: number): void {
    this.#send(kind.add, context, pid, [uffd]);
  }

  /** When nothing is missing in a context any more, or its task has gone. */
  drop(context: number): void {
    this.#send(kind.drop, context, 0, []);
  }

  #send(what: number, context: number, pid: number, descriptors: readonly number[]): void {
    const message = new DataView(new ArrayBuffer(messageBytes));
    message.setUint32(0, what, true);
    message.setUint32(4, context, true);
    message.setInt32(8, pid, true);
    const done = native.sendDescriptors(this.#socket, new Uint8Array(message.buffer), new Int32Array(descriptors));
    checked(done, "sendmsg", "the watchdog does not listen");
  }
}

export class Watchdog implements Disposable {
  /** Open as long as the pager lives: its last close is what the watchdog waits for. */
  readonly socket: number;
  readonly pid: number;
  #open = true;

  private constructor(socket: number, pid: number) {
    this.socket = socket;
    this.pid = pid;
  }

  /** `poison` cannot be done without the pager's knowledge of what is missing: it kills too. */
  static start(policy: ErrorPolicy): Watchdog {
    const out = new Int32Array(2);
    const word = policy === "wait" ? "wait" : "kill";
    checked(native.spawnWatchdog(program, word, out), "posix_spawn", "the watchdog cannot be started", {
      file: program,
      advice: "run `npm ci` again",
    });
    return new Watchdog(out[0] as number, out[1] as number);
  }

  link(): WatchdogLink {
    return new WatchdogLink(this.socket);
  }

  /** Ends the watchdog. With contexts left it applies its policy first, and stays without us where one does not end. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native.closeDescriptor(this.socket);
    const untilMs = Date.now() + closeWaitMs;
    while (native.reap(this.pid, false) === -EAGAIN && Date.now() < untilMs) {
      Atomics.wait(sleeper, 0, 0, 1);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
