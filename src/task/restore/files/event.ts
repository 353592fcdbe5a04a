// Descriptors that stand for events: eventfd, timerfd, signalfd and epoll sets. What an epoll set watches is added by
// the task that owns it, when its descriptors have their numbers (watchFiles).
import type { EventfdFileEntry, EventpollFileEntry, SignalfdEntry, TimerfdEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import type { Script } from "../script";
import { isHeld, setUnread, timerfd } from "../timers";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";

const epollAdd = 1;
const semaphore = 1;

export function makeEventfd(context: FileContext, file: EventfdFileEntry): void {
  const batch = context.script.room(6, 64);
  // O_WRONLY never is set on an eventfd, which is always O_RDWR: the bit is EFD_SEMAPHORE there.
  const flags = (file.flags & (openFlag.nonBlock | semaphore)) | openFlag.closeOnExec;
  batch.call(syscalls.eventfd2, [0, flags]);
  if (file.counter > 0n) {
    const value = batch.place(new Uint8Array(new BigUint64Array([file.counter]).buffer));
    batch.call(syscalls.write, [0, value, 8]);
  }
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

/** Set by startTimers(), but for one that no task has among its descriptors. */
export function makeTimerfd(context: FileContext, file: TimerfdEntry): void {
  const batch = context.script.room(6, 128);
  batch.call(syscalls.timerfd_create, [file.clockid, (file.flags & openFlag.nonBlock) | openFlag.closeOnExec]);
  const timer = isHeld(context.tree, file.id) ? undefined : timerfd(0, file);
  if (timer !== undefined) timer.set(batch, timer.leftNs);
  else setUnread(batch, 0, file);
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

export function makeSignalfd(context: FileContext, file: SignalfdEntry): void {
  const batch = context.script.room(4, 64);
  const mask = batch.place(new Uint8Array(new BigUint64Array([file.sigmask]).buffer));
  batch.call(syscalls.signalfd4, [-1, mask, 8, (file.flags & openFlag.nonBlock) | openFlag.closeOnExec]);
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

export function makeEpoll(context: FileContext, file: EventpollFileEntry): void {
  const batch = context.script.room(4, 64);
  batch.call(syscalls.epoll_create1, [openFlag.closeOnExec]);
  setOwner(batch, 0, file.fown);
  settle(context, batch, 0, fileKey(file.id));
}

/** Adds what an epoll set watches; `epoll` is its number in the task, which has its descriptors placed already. */
export function watchFiles(script: Script, epoll: number, file: EventpollFileEntry): void {
  for (const watched of file.tfd) {
    const batch = script.room(1, 16);
    const event = new DataView(new ArrayBuffer(12)); // struct epoll_event is packed on x86-64
    event.setUint32(0, watched.events, true);
    event.setBigUint64(4, watched.data, true);
    batch.call(syscalls.epoll_ctl, [epoll, epollAdd, watched.tfd, batch.place(new Uint8Array(event.buffer))], {
      purpose: `watching descriptor ${watched.tfd} by epoll`,
    });
  }
}
