// Descriptors whose whole state is in /proc/PID/fdinfo: eventfd, epoll, timerfd, signalfd, pidfd, inotify
// (proc_pid_fdinfo(5)). Each function adds one file entry.
import type { Init } from "../../../images/message";
import type { FhEntry } from "../../../images/messages";
import { clockNs, nsPerSecond } from "../../clock";
import { parseFields, readProc } from "../../proc";
import type { ImageSet } from "../imageSet";
import { type OpenFile, openFlag } from "../openFile";
import { closest, sinceNs } from "../timers";

const semaphoreFlag = 1; // EFD_SEMAPHORE

export function addEventfd(images: ImageSet, id: number, file: OpenFile): void {
  const counter = BigInt(`0x${file.fields.get("eventfd-count") ?? "0"}`);
  const semaphore = file.fields.get("eventfd-semaphore") === "1" ? semaphoreFlag : 0;
  images.addFile("EVENTFD", { id, efd: { id, flags: file.flags | semaphore, fown: file.owner(), counter } });
}

/** One line of an epoll's fdinfo. */
export interface EpollTarget {
  readonly fd: number;
  readonly events: number;
  readonly data: bigint;
  readonly position: bigint;
  readonly inode: bigint;
  readonly device: number;
}

const epollLine =
  /^tfd:\s*(\d+)\s+events:\s*([0-9a-f]+)\s+data:\s*([0-9a-f]+)\s+pos:(\d+)\s+ino:([0-9a-f]+)\s+sdev:([0-9a-f]+)/gm;

export function parseEpollTargets(info: string): EpollTarget[] {
  return [...info.matchAll(epollLine)].map(([, fd, events, data, position, inode, device]) => ({
    fd: Number(fd),
    events: Number.parseInt(events as string, 16),
    data: BigInt(`0x${data}`),
    position: BigInt(position as string),
    inode: BigInt(`0x${inode}`),
    device: Number.parseInt(device as string, 16),
  }));
}

/** `targets`: the epoll's targets with the descriptor numbers under which the dumped task now has them. */
export function addEpoll(images: ImageSet, id: number, file: OpenFile, targets: readonly EpollTarget[]): void {
  images.addFile("EVENTPOLL", {
    id,
    epfd: {
      id,
      flags: file.flags,
      fown: file.owner(),
      tfd: targets.map((target) => ({
        id: 0,
        tfd: target.fd,
        events: target.events,
        data: target.data,
        dev: target.device,
        inode: target.inode,
        pos: target.position,
      })),
    },
  });
}

/** A time of a timerfd's fdinfo, "(seconds, nanoseconds)". */
function timeNs(fields: ReadonlyMap<string, string>, name: string): bigint {
  const match = /\((\d+), (\d+)\)/.exec(fields.get(name) ?? "");
  return BigInt(match?.[1] ?? 0) * nsPerSecond + BigInt(match?.[2] ?? 0);
}

/** What it had left when the tree stood, at `frozenNs`. */
export function addTimerfd(images: ImageSet, id: number, file: OpenFile, frozenNs: bigint): void {
  const reading = closest(() => {
    const fromNs = clockNs();
    const value = parseFields(readProc(file.pid, `fdinfo/${file.fd}`));
    return { value, fromNs, toNs: clockNs() };
  });
  const fields = reading.value;
  const left = timeNs(fields, "it_value");
  const value = left === 0n ? 0n : left + sinceNs(reading, frozenNs);
  const interval = timeNs(fields, "it_interval");
  images.addFile("TIMERFD", {
    id,
    tfd: {
      ...{ id, flags: file.flags, fown: file.owner() },
      clockid: Number(fields.get("clockid")),
      ticks: BigInt(fields.get("ticks") ?? "0"),
      settime_flags: Number.parseInt(fields.get("settime flags") ?? "0", 8),
      ...{ vsec: value / nsPerSecond, vnsec: value % nsPerSecond },
      ...{ isec: interval / nsPerSecond, insec: interval % nsPerSecond },
    },
  });
}

export function addSignalfd(images: ImageSet, id: number, file: OpenFile): void {
  const sigmask = BigInt(`0x${file.fields.get("sigmask") ?? "0"}`);
  images.addFile("SIGNALFD", { id, sgfd: { id, flags: file.flags, fown: file.owner(), sigmask } });
}

const inotifyLine =
  /^inotify wd:([0-9a-f]+) ino:([0-9a-f]+) sdev:([0-9a-f]+) mask:([0-9a-f]+) ignored_mask:([0-9a-f]+) fhandle-bytes:([0-9a-f]+) fhandle-type:([0-9a-f]+) f_handle:([0-9a-f]*)/gm;

export interface InotifyWatch {
  readonly watch: number;
  readonly inode: bigint;
  readonly device: number;
  readonly mask: number;
  readonly ignoredMask: number;
  readonly handleType: number;
  readonly handle: Buffer;
}

export function parseInotifyWatches(info: string): InotifyWatch[] {
  const hex = (text: string | undefined): number => Number.parseInt(text as string, 16);
  return [...info.matchAll(inotifyLine)].map(([, watch, inode, device, mask, ignored, , type, handle]) => ({
    watch: hex(watch),
    inode: BigInt(`0x${inode}`),
    device: hex(device),
    mask: hex(mask),
    ignoredMask: hex(ignored),
    handleType: hex(type),
    handle: Buffer.from(handle as string, "hex"),
  }));
}

const handleWords = 16;

/** A file handle (name_to_handle_at(2)) as CRIU's images have it. */
export function fileHandle(
  watch: Pick<InotifyWatch, "handle" | "handleType">,
  path: string | undefined,
): Init<FhEntry> {
  const padded = Buffer.alloc(handleWords * 8);
  watch.handle.copy(padded);
  const handle = Array.from({ length: handleWords }, (_, index) => padded.readBigUInt64LE(index * 8));
  return { bytes: watch.handle.length, type: watch.handleType, handle, path };
}

export function addInotify(
  images: ImageSet,
  id: number,
  file: OpenFile,
  pathOf: (watch: InotifyWatch) => string | undefined,
): void {
  const wd = parseInotifyWatches(file.info).map((watch) => ({
    ...{ id: 0, i_ino: watch.inode, mask: watch.mask, ignored_mask: watch.ignoredMask },
    ...{ s_dev: watch.device, wd: watch.watch },
    f_handle: fileHandle(watch, pathOf(watch)),
  }));
  images.addFile("INOTIFY", { id, ify: { id, flags: file.flags, fown: file.owner(), wd } });
}

export function addPidfd(images: ImageSet, id: number, file: OpenFile): void {
  images.addFile("PIDFD", {
    id,
    pidfd: {
      ...{ id, ino: Number(file.stat.ino & 0xffffffffn), flags: file.flags & ~openFlag.accessMode, fown: file.owner() },
      nspid: Number(file.fields.get("Pid") ?? "-1"),
    },
  });
}
