// Descriptors that stand for events: eventfd, timerfd, signalfd and epoll sets. What an epoll set watches is added by
// the task that owns it, when its descriptors have their numbers (watchFiles).
import type { EventfdFileEntry, EventpollFileEntry, SignalfdEntry, TimerfdEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import type { Script } from "../script";
import { type FileContext, fileKey, openFlag, setOwner, settle } from "./context";

const epollAdd = 1;
const semaphore = 1;
const timerAbsolute = 1;
/** TFD_IOC_SET_TICKS, _IOW('T', 0, u64). */
const setTicks = 0x40085400;

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

/** The time left is what the image has (timerfd_gettime), also for timers set to an absolute time. */
export function makeTimerfd(context: FileContext, file: TimerfdEntry): void {
  const batch = context.script.room(6, 128);
  batch.call(syscalls.timerfd_create, [file.clockid, (file.flags & openFlag.nonBlock) | openFlag.closeOnExec]);
  // A periodic timer with unread expirations shows no time left, as the kernel starts it again only when they are read.
  const expired = file.vsec === 0n && file.vnsec === 0n;
  const first = expired ? [file.isec, file.insec] : [file.vsec, file.vnsec];
  const setting = new BigInt64Array([file.isec, file.insec, ...first]);
  if (setting.some((word) => word !== 0n)) {
    const slot = batch.place(new Uint8Array(setting.buffer));
    batch.call(syscalls.timerfd_settime, [0, file.settime_flags & ~(timerAbsolute | 2), slot, 0]);
  }
  if (file.ticks > 0n) {
    const ticks = batch.place(new Uint8Array(new BigUint64Array([file.ticks]).buffer));
    batch.call(syscalls.ioctl, [0, setTicks, ticks]);
  }
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
