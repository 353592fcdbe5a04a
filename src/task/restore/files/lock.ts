// File locks, taken anew by their owner when its descriptors have their numbers (flock(2), fcntl(2)).
import type { FileLockEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import type { Script } from "../script";

/** file_lock_entry.flag. */
const lockFlag = { posix: 1, flock: 2, ofd: 4, lease: 8 } as const;
const lockType = { read: 0, write: 1 } as const;
const flockOperation = { shared: 1, exclusive: 2, nonBlocking: 4 } as const;
const setLock = 6;
const setLease = 1024;
const setOfdLock = 37;

export function lockObstacle(lock: FileLockEntry): string | undefined {
  const kinds: readonly number[] = Object.values(lockFlag);
  if (!kinds.includes(lock.flag)) return `a lock of kind ${lock.flag} on descriptor ${lock.fd}`;
  if (lock.type !== lockType.read && lock.type !== lockType.write) return `a lock of type ${lock.type}`;
  return undefined;
}

export function takeLock(script: Script, lock: FileLockEntry): void {
  const purpose = `locking descriptor ${lock.fd}`;
  const batch = script.room(1, 48);
  if (lock.flag === lockFlag.flock) {
    const operation = lock.type === lockType.write ? flockOperation.exclusive : flockOperation.shared;
    batch.call(syscalls.flock, [lock.fd, operation | flockOperation.nonBlocking], { purpose });
    return;
  }
  if (lock.flag === lockFlag.lease) {
    batch.call(syscalls.fcntl, [lock.fd, setLease, lock.type], { purpose });
    return;
  }
  const range = new DataView(new ArrayBuffer(32)); // struct flock
  range.setInt16(0, lock.type, true);
  range.setBigInt64(8, lock.start, true);
  range.setBigInt64(16, lock.len, true);
  const command = lock.flag === lockFlag.ofd ? setOfdLock : setLock;
  batch.call(syscalls.fcntl, [lock.fd, command, batch.place(new Uint8Array(range.buffer))], { purpose });
}
