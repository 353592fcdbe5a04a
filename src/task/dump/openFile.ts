// One open file of a frozen task as seen from outside: its /proc entries, and a duplicate of it on demand. Facts only.
import { type BigIntStats, closeSync, statSync } from "node:fs";
import { checked, FaultlineError } from "../../errors";
import type { Init } from "../../images/message";
import type { FownEntry } from "../../images/messages";
import { native } from "../../native";
import { parseFields, pathText, readProc, readProcLink } from "../proc";

/** fcntl(2) commands (linux/fcntl.h). */
const getSignal = 11;
const getOwnerEx = 16;
const getOwnerUids = 17;

/** open(2) flags, octal as fcntl.h has them. */
export const openFlag = {
  writeOnly: 0o1,
  readWrite: 0o2,
  accessMode: 0o3,
  closeOnExec: 0o2000000,
  path: 0o10000000,
  direct: 0o40000,
} as const;

/** The file types of st_mode (inode(7)). */
export const modeType = {
  mask: 0o170000,
  socket: 0o140000,
  link: 0o120000,
  regular: 0o100000,
  block: 0o060000,
  directory: 0o040000,
  character: 0o020000,
  fifo: 0o010000,
} as const;

export const noOwner: Init<FownEntry> = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

export class OpenFile {
  readonly pid: number;
  readonly fd: number;
  /** Where /proc/PID/fd/N points: a path, "pipe:[inode]", "anon_inode:[eventfd]", ... */
  readonly link: string;
  readonly stat: BigIntStats;
  /** /proc/PID/fdinfo/N as it is. */
  readonly info: string;
  readonly fields: ReadonlyMap<string, string>;
  /** open(2) flags with O_CLOEXEC, which is the descriptor's. */
  readonly rawFlags: number;

  constructor(pid: number, fd: number) {
    this.pid = pid;
    this.fd = fd;
    this.link = pathText(readProcLink(pid, `fd/${fd}`));
    try {
      this.stat = statSync(`/proc/${pid}/fd/${fd}`, { bigint: true });
    } catch (cause) {
      const gone = (cause as NodeJS.ErrnoException).code === "ENOENT";
      throw new FaultlineError(gone ? "NOT_FOUND" : "SYSTEM", "an open file cannot be looked at", {
        pid,
        file: `/proc/${pid}/fd/${fd}`,
        cause,
      });
    }
    this.info = readProc(pid, `fdinfo/${fd}`);
    this.fields = parseFields(this.info);
    this.rawFlags = Number.parseInt(this.fields.get("flags") ?? "0", 8);
  }

  get closeOnExec(): boolean {
    return (this.rawFlags & openFlag.closeOnExec) !== 0;
  }

  /** The flags of the open file itself. */
  get flags(): number {
    return (this.rawFlags & ~openFlag.closeOnExec) >>> 0;
  }

  /** The file offset, bytes. */
  get position(): bigint {
    return BigInt(this.fields.get("pos") ?? "0");
  }

  get inode(): number {
    return Number(this.stat.ino);
  }

  get mode(): number {
    return Number(this.stat.mode);
  }

  get type(): number {
    return this.mode & modeType.mask;
  }

  /** A duplicate of the descriptor in this process (pidfd_getfd(2)), which the caller closes. */
  duplicate(): number {
    const { pid } = this;
    const pidfd = checked(native.pidfdOpen(pid), "pidfd_open", "cannot open a pidfd of the task", { pid });
    try {
      const copy = native.pidfdGetfd(pidfd, this.fd);
      return checked(copy, "pidfd_getfd", "cannot duplicate a descriptor of the task", { pid });
    } finally {
      closeSync(pidfd);
    }
  }

  /** Runs `use` with a duplicate of the descriptor in this process. */
  withCopy<T>(use: (fd: number) => T): T {
    const copy = this.duplicate();
    try {
      return use(copy);
    } finally {
      closeSync(copy);
    }
  }

  /** Who gets SIGIO (F_SETOWN, F_SETSIG of fcntl(2)). */
  owner(): Init<FownEntry> {
    if ((this.flags & openFlag.path) !== 0) return noOwner;
    return this.withCopy((fd) => {
      const who = new Int32Array(2);
      if (native.fcntlBuffer(fd, getOwnerEx, who) < 0) return noOwner;
      const signum = Math.max(0, native.fcntlNumber(fd, getSignal, 0));
      if (who[1] === 0) return { ...noOwner, signum };
      const uids = new Uint32Array(2);
      native.fcntlBuffer(fd, getOwnerUids, uids);
      return {
        uid: uids[0] as number,
        euid: uids[1] as number,
        signum,
        pid_type: who[0] as number,
        pid: who[1] as number,
      };
    });
  }
}
