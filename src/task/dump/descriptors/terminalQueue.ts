// What waits in a pseudo-terminal: its program's output, and input that the program has not read. The kernel lets nobody look
// at it, so it is read and written back at once while all who could notice are stopped (ioctl_tty(2)).
import { closeSync, constants, readSync, writeSync } from "node:fs";
import { checked, FaultlineError } from "../../../errors";
import { native } from "../../../native";
import {
  goingSettings,
  lineEnds,
  rawSettings,
  readsLines,
  stoppingSettings,
  type TerminalInput,
  termiosBytes,
  typingOf,
} from "../../terminalInput";

const request = {
  getTermios: 0x5401,
  setTermios: 0x5402,
  flow: 0x540a, // TCXONC
  type: 0x5412, // TIOCSTI: one byte arrives at the slave at once, while what the master writes arrives some time later
  available: 0x541b,
  packetMode: 0x80045438,
  setPacketMode: 0x5420,
  getLock: 0x80045439,
  setLock: 0x40045431,
  peer: 0x5441, // TIOCGPTPEER
} as const;
const flow = { stop: 0, go: 1 } as const; // TCOOFF, TCOON
const stopByte = 19;
/** More than the kernel gives at once, which is a page. */
const pieceBytes = 8192;
/** What fits into the slave's own queue; more waits on its way there. */
const queueBytes = 4095;
/** A writer waits for the kernel's worker, which moves what was written to the reader's side. */
const triesMax = 1000;

/** Calls `look` with the slave, which gets its own settings back. The slave must have been opened before. */
function withSlave<T>(master: number, pid: number, look: (slave: number, settings: Buffer) => T): T {
  const slave = openPeer(master, pid);
  try {
    const settings = Buffer.alloc(termiosBytes);
    checked(native.ioctlBuffer(slave, request.getTermios, settings), "TCGETS", "a terminal cannot be read", { pid });
    try {
      return look(slave, settings);
    } finally {
      native.ioctlBuffer(slave, request.setTermios, settings);
    }
  } finally {
    closeSync(slave);
  }
}

/** The slave of a master, whatever its name leads to; a locked one (unlockpt(3)) opens for the moment. */
function openPeer(master: number, pid: number): number {
  const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
  const isLocked = number(master, request.getLock) !== 0;
  if (isLocked) native.ioctlBuffer(master, request.setLock, new Int32Array([0]));
  const slave = native.ioctlNumber(master, request.peer, flags);
  if (isLocked) native.ioctlBuffer(master, request.setLock, new Int32Array([1]));
  return checked(slave, "TIOCGPTPEER", "the slave of a terminal cannot be opened", { pid });
}

function setSettings(slave: number, settings: Buffer, pid: number): void {
  checked(native.ioctlBuffer(slave, request.setTermios, settings), "TCSETS", "a terminal cannot be read", { pid });
}

function number(fd: number, what: number): number {
  const value = new Int32Array(1);
  return native.ioctlBuffer(fd, what, value) < 0 ? 0 : (value[0] as number);
}

/** Bytes that a read of one end gives; those that the kernel was about to hand over have arrived then. */
function available(end: number): number {
  const epoll = native.epollCreate();
  try {
    native.epollAdd(epoll, end, 0); // it looks at the terminal, as poll(2) does, which waits for the kernel's worker
    return number(end, request.available);
  } finally {
    native.closeDescriptor(epoll);
  }
}

/**
 * Runs `use` while the master is not in packet mode (TIOCPKT), where every read begins with a byte of its own and settings are
 * told. A status that waits to be told is lost with it.
 */
function withoutPackets<T>(master: number, use: () => T): T {
  if (number(master, request.packetMode) === 0) return use();
  native.ioctlBuffer(master, request.setPacketMode, new Int32Array([0]));
  try {
    return use();
  } finally {
    native.ioctlBuffer(master, request.setPacketMode, new Int32Array([1]));
  }
}

/** The unread output, which stays unread. `master` is a descriptor of the master. */
export function peekOutput(master: number, pid: number): Buffer {
  if (available(master) === 0) return Buffer.alloc(0);
  return withoutPackets(master, () =>
    withSlave(master, pid, (slave, settings) => {
      setSettings(slave, rawSettings(settings), pid);
      const pieces: Buffer[] = [];
      const piece = Buffer.alloc(pieceBytes);
      // More than a page waits elsewhere in the kernel, and must be out before anything is written back.
      for (let ready = available(master); ready > 0; ready = available(master)) {
        pieces.push(Buffer.from(piece.subarray(0, readSync(master, piece, 0, Math.min(ready, pieceBytes), null))));
      }
      const bytes = Buffer.concat(pieces);
      const stopAgain = letGo(slave, master, settings, bytes.subarray(0, 1), pid);
      writeBack(slave, bytes.subarray(1), pid, () => available(master));
      stopAgain();
      return bytes;
    }),
  );
}

/**
 * Writes the first byte back. A terminal whose output was stopped, by its user (^S) or by a program (tcflow(3)), takes none:
 * it goes on for the moment. Answers what stops it again.
 */
function letGo(slave: number, master: number, settings: Buffer, first: Buffer, pid: number): () => void {
  const takes = (): boolean => {
    try {
      return writeSync(slave, first) === first.length;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
      throw error;
    }
  };
  if (takes()) return () => undefined;
  setSettings(slave, goingSettings(settings), pid);
  if (takes()) {
    return () => {
      setSettings(slave, stoppingSettings(settings, stopByte), pid);
      checked(
        native.ioctlBuffer(slave, request.type, Buffer.from([stopByte])),
        "TIOCSTI",
        "a terminal cannot be stopped",
        {
          pid,
        },
      );
    };
  }
  checked(native.ioctlNumber(slave, request.flow, flow.go), "TCXONC", "a terminal cannot be read", { pid });
  writeBack(slave, first, pid, () => available(master));
  return () => {
    setSettings(slave, rawSettings(settings), pid);
    checked(native.ioctlNumber(slave, request.flow, flow.stop), "TCXONC", "a terminal cannot be stopped", { pid });
  };
}

/**
 * The unread input of the slave, which stays unread, with a line that is not complete yet. Null where there is none; in packet
 * mode also where nothing can be read yet, as a status may wait to be told.
 */
export function peekInput(master: number, pid: number): TerminalInput | null {
  if (number(master, request.packetMode) !== 0 && !hasInput(master, pid)) return null;
  return withoutPackets(master, () => readInput(master, pid));
}

function hasInput(master: number, pid: number): boolean {
  const slave = openPeer(master, pid);
  try {
    return available(slave) > 0;
  } finally {
    closeSync(slave);
  }
}

function readInput(master: number, pid: number): TerminalInput | null {
  return withSlave(master, pid, (slave, settings) => {
    const pieces: Buffer[] = [];
    const marks: number[] = [];
    if (readsLines(settings)) readLines(slave, lineEnds(settings), pieces, marks);
    setSettings(slave, rawSettings(settings), pid);
    for (let piece = readPiece(slave); (piece?.length ?? 0) > 0; piece = readPiece(slave)) pieces.push(piece as Buffer);
    const input = { bytes: Buffer.concat(pieces), marks };
    const typing = typingOf(input, settings);
    setSettings(slave, typing.settings, pid);
    const typed = typeBytes(slave, typing.bytes.subarray(0, queueBytes));
    writeBack(master, typing.bytes.subarray(typed), pid, () => available(slave));
    return typing.bytes.length === 0 ? null : input;
  });
}

/** Answers how many bytes were taken: none without CAP_SYS_ADMIN. */
function typeBytes(slave: number, bytes: Buffer): number {
  const taken = bytes.findIndex((_, at) => native.ioctlBuffer(slave, request.type, bytes.subarray(at, at + 1)) < 0);
  return taken < 0 ? bytes.length : taken;
}

function readLines(slave: number, ends: ReadonlySet<number>, pieces: Buffer[], marks: number[]): void {
  let length = 0;
  for (let line = readPiece(slave); line !== undefined; line = readPiece(slave)) {
    pieces.push(line);
    length += line.length;
    if (!ends.has(line.at(-1) ?? -1)) marks.push(length);
  }
}

/** What one read gives, undefined when there is nothing. */
function readPiece(slave: number): Buffer | undefined {
  const buffer = Buffer.alloc(pieceBytes);
  try {
    return buffer.subarray(0, readSync(slave, buffer, 0, pieceBytes, null));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return undefined;
    throw error;
  }
}

function writeBack(fd: number, bytes: Buffer, pid: number, settle: () => void): void {
  let tries = 0;
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
      tries = 0;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EAGAIN" || ++tries === triesMax) {
        throw new FaultlineError("SYSTEM", "what waited in a terminal could not be put back", { pid, cause });
      }
      settle();
    }
  }
}
