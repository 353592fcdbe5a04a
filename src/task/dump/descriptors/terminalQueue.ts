// What a program has written to a pseudo-terminal and its master has not read yet. The kernel lets nobody look at it, so
// it is read and written back at once, raw, while all who could notice are stopped (ioctl_tty(2)).
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { checked, FaultlineError } from "../../../errors";
import { native } from "../../../native";

const request = { getTermios: 0x5401, setTermios: 0x5402, available: 0x541b } as const;
const termiosBytes = 36;
const outputFlagsAt = 4;
/** The kernel gives at most a page at once. */
const pieceBytes = 4096;

/** The unread output, which stays unread. `master` is a descriptor of the master, `index` the terminal's number. */
export function peekOutput(master: number, index: number, pid: number): Buffer {
  const length = new Int32Array(1);
  native.ioctlBuffer(master, request.available, length);
  const bytes = Buffer.alloc(length[0] as number);
  if (bytes.length === 0) return bytes;
  const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
  const slave = openSync(`/dev/pts/${index}`, flags);
  try {
    const own = Buffer.alloc(termiosBytes);
    checked(native.ioctlBuffer(slave, request.getTermios, own), "TCGETS", "a terminal cannot be read", { pid });
    const raw = Buffer.from(own);
    raw.writeUInt32LE(0, outputFlagsAt);
    checked(native.ioctlBuffer(slave, request.setTermios, raw), "TCSETS", "a terminal cannot be read", { pid });
    try {
      let got = 0;
      while (got < bytes.length) {
        got += readSync(master, bytes, got, Math.min(pieceBytes, bytes.length - got), null);
      }
      writeBack(slave, bytes, pid);
    } finally {
      native.ioctlBuffer(slave, request.setTermios, own);
    }
  } finally {
    closeSync(slave);
  }
  return bytes;
}

function writeBack(slave: number, bytes: Buffer, pid: number): void {
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(slave, bytes, done);
  } catch (cause) {
    throw new FaultlineError("SYSTEM", "output of a terminal could not be put back", { pid, cause });
  }
}
