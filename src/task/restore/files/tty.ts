// Terminals: pairs inside the tree, with their numbers, settings and unread data, and the terminal of a shell job, which
// becomes the one that we run on. Sessions get their controlling terminal when their leader has its descriptors.
import { closeSync, constants, openSync, readFileSync, statSync } from "node:fs";
import { FaultlineError } from "../../../errors";
import type { TermiosEntry, TtyFileEntry, TtyInfoEntry } from "../../../images/messages";
import { TtyType } from "../../../images/messages";
import { encodeText } from "../../../images/text";
import { syscalls } from "../../constants";
import { type TerminalInput, termiosBytes, typingOf } from "../../terminalInput";
import type { Script } from "../script";
import type { TaskImage } from "../treeImage";
import { type FileContext, fileKey, openFlag, setOwner, setStatus, settle } from "./context";

/** ioctl_tty(2). */
const request = {
  setTermios: 0x5402,
  exclusive: 0x540c,
  setControlling: 0x540e,
  setGroup: 0x5410,
  setWindow: 0x5414,
  type: 0x5412, // TIOCSTI
  packet: 0x5420,
  lock: 0x40045431,
  openPeer: 0x5441, // TIOCGPTPEER
} as const;
const ptmxDevice = 0x502;
const controlCharacters = 19;
/** What fits into a slave's own queue; more waits on its way there. */
const queueBytes = 4095;
const bytesPerBatch = 64;
/** How often a number is asked for that another has, and the pause in between, milliseconds: 0.2 s in all. */
const takenAttempts = 20;
const takenPauseMs = 10;
/** Pseudo-terminals that a machine has at most; the number wanted is reached by opening those before it. */
const ptyMax = 4096;
const fchown = 93;

export interface TtyPlan {
  /** Files that we open ourselves and hand to the root's stub; each names its master. */
  readonly foreign: readonly ForeignFile[];
}

export interface ForeignFile {
  readonly key: string;
  open(): number;
}

const isMaster = (info: TtyInfoEntry): boolean => info.rdev === ptmxDevice;

/** A slave whose master was closed: nobody could ask it for its settings. */
const isHungUp = (info: TtyInfoEntry): boolean => !isMaster(info) && info.termios === undefined;
const isConsole = (info: TtyInfoEntry): boolean => info.type === TtyType.CONSOLE || info.type === TtyType.VT;

export function ttyObstacle(info: TtyInfoEntry | undefined, shellJob: boolean, paired: boolean): string | undefined {
  if (info === undefined) return "a terminal without its description";
  if (info.type === TtyType.PTY && info.pty !== undefined && (paired || isHungUp(info))) return undefined;
  if (info.type === TtyType.CONSOLE || info.type === TtyType.VT) return undefined;
  if (info.type === TtyType.EXT_TTY || (info.type === TtyType.PTY && !paired)) {
    return shellJob ? undefined : "a terminal of a session outside of the image; say --shell-job where it is ours";
  }
  return `a terminal of type ${info.type}`;
}

/** Makes all terminals of the tree. `ttys` are the open files; `data` is what was unread, by tty id. */
export function makeTerminals(
  context: FileContext,
  ttys: readonly TtyFileEntry[],
  data: ReadonlyMap<number, TerminalInput>,
  shellJob: boolean,
): ForeignFile[] {
  const foreign: ForeignFile[] = [];
  const infoOf = (tty: TtyFileEntry): TtyInfoEntry | undefined => context.tree.ttys.get(tty.tty_info_id);
  const masters = ttys.filter((tty) => {
    const info = infoOf(tty);
    return info !== undefined && isMaster(info);
  });
  const paired = new Set(masters.map((tty) => infoOf(tty)?.pty?.index));
  for (const tty of ttys) {
    const info = infoOf(tty);
    const obstacle = ttyObstacle(info, shellJob, paired.has(info?.pty?.index));
    if (obstacle !== undefined) context.problems.push(`file ${tty.id}: ${obstacle}`);
  }
  for (const tty of masters) foreign.push(makeMaster(context, tty, infoOf(tty) as TtyInfoEntry));
  for (const tty of ttys) {
    const info = infoOf(tty);
    if (info === undefined || isMaster(info)) continue;
    if (isConsole(info)) openConsole(context, tty, info);
    else if (info.type === TtyType.PTY && isHungUp(info)) continue;
    else if (paired.has(info.pty?.index)) openSlave(context, tty, info);
    else foreign.push(ownTerminal(context, tty));
  }
  hangUp(
    context,
    ttys.filter((tty) => {
      const info = infoOf(tty);
      return info?.type === TtyType.PTY && isHungUp(info);
    }),
  );
  for (const tty of masters) configure(context, tty, ttys, data);
  return foreign;
}

function makeMaster(context: FileContext, tty: TtyFileEntry, info: TtyInfoEntry): ForeignFile {
  const descriptor = context.masters.of(fileKey(tty.id));
  const batch = context.script.room(6, 96);
  const unlocked = batch.place(new Uint8Array(4)); // until configure() is done
  batch.call(syscalls.ioctl, [descriptor, request.lock, unlocked]);
  setStatus(batch, descriptor, tty.flags);
  setOwner(batch, descriptor, tty.fown);
  return { key: fileKey(tty.id), open: () => openPtmx(info.pty?.index ?? -1) };
}

/**
 * Opens the terminal of a number. It may be taken for a moment by another restore, on its way to a higher one: that does what
 * openFirstPtmx() does.
 */
function openPtmx(index: number): number {
  for (let attempt = 1; attempt <= takenAttempts; attempt++) {
    const fd = openFirstPtmx(index);
    if (fd >= 0) return fd;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, takenPauseMs);
  }
  throw new FaultlineError("BUSY", `the pseudo-terminal /dev/pts/${index} is taken`, {
    advice: "end what uses it, see `fuser /dev/pts/N`",
  });
}

/** The kernel gives the lowest free number: those before it are taken until ours comes. -1 where it is taken. */
function openFirstPtmx(index: number): number {
  const held: number[] = [];
  try {
    for (;;) {
      const fd = openSync("/dev/ptmx", constants.O_RDWR | constants.O_NOCTTY);
      const got = Number(/^tty-index:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1] ?? -1);
      if (got === index) return fd;
      held.push(fd);
      if (got > index || held.length > ptyMax) return -1;
    }
  } finally {
    for (const fd of held) closeSync(fd);
  }
}

function openSlave(context: FileContext, tty: TtyFileEntry, info: TtyInfoEntry): void {
  const batch = context.script.room(6, 96);
  const flags = (tty.flags & (openFlag.accessMode | openFlag.nonBlock)) | openFlag.noTerminal | openFlag.closeOnExec;
  batch.call(syscalls.openat, [-100, batch.text(`/dev/pts/${info.pty?.index}`), flags]);
  setOwner(batch, 0, tty.fown);
  settle(context, batch, 0, fileKey(tty.id));
}

/** Slaves of terminals, each made for the moment in which its master is closed again. */
function hangUp(context: FileContext, ttys: readonly TtyFileEntry[]): void {
  for (const id of new Set(ttys.map((tty) => tty.tty_info_id))) {
    const slaves = ttys.filter((tty) => tty.tty_info_id === id);
    const batch = context.script.room(4 + slaves.length * 6, 96 + slaves.length * 48);
    batch.call(syscalls.openat, [-100, batch.text("/dev/ptmx"), openFlag.readWrite | openFlag.noTerminal]);
    batch.call(syscalls.ioctl, [0, request.lock, batch.place(new Uint8Array(4))]);
    for (const slave of slaves) {
      const flags = (slave.flags & (openFlag.accessMode | openFlag.nonBlock)) | openFlag.noTerminal;
      batch.call(syscalls.ioctl, [0, request.openPeer, flags], { purpose: "opening a terminal that is hung up" });
      setOwner(batch, 1, slave.fown);
      settle(context, batch, 1, fileKey(slave.id));
    }
    batch.call(syscalls.close, [0]);
  }
}

/** By its path, which must lead to the same device still; its settings are the machine's. */
function openConsole(context: FileContext, tty: TtyFileEntry, info: TtyInfoEntry): void {
  const path = context.tree.files.get(tty.regf_id ?? -1)?.reg?.name ?? "";
  const found = path === "" ? undefined : statSync(path, { throwIfNoEntry: false });
  if (found?.isCharacterDevice() !== true || found.rdev !== info.rdev) {
    context.problems.push(`file ${tty.id}: ${path} is not the terminal that it was`);
    return;
  }
  const batch = context.script.room(6, path.length * 4 + 64);
  const flags = (tty.flags & (openFlag.accessMode | openFlag.nonBlock)) | openFlag.noTerminal | openFlag.closeOnExec;
  const name = batch.place(Buffer.concat([encodeText(path), Buffer.from([0])]));
  batch.call(syscalls.openat, [-100, name, flags], { purpose: `opening ${path}` });
  setOwner(batch, 0, tty.fown);
  settle(context, batch, 0, fileKey(tty.id));
}

/** The terminal that we run on, opened anew with the access that the program had. */
function ownTerminal(context: FileContext, tty: TtyFileEntry): ForeignFile {
  const descriptor = context.masters.of(fileKey(tty.id));
  setStatus(context.script.room(1), descriptor, tty.flags);
  const open = (): number => {
    // Only here: Node takes 2 ms to load it, with all that it knows of streams and sockets.
    const { isatty } = require("node:tty") as typeof import("node:tty");
    const ours = [0, 1, 2].find((standard) => isatty(standard));
    if (ours === undefined) {
      throw new FaultlineError("UNSUPPORTED", "--shell-job needs a terminal to give to the program", {
        advice: "run it from a shell on a terminal",
      });
    }
    return openSync(`/proc/self/fd/${ours}`, (tty.flags & openFlag.accessMode) | constants.O_NOCTTY);
  };
  return { key: fileKey(tty.id), open };
}

/** Settings and unread data of a pair, through a slave opened for the moment. */
function configure(
  context: FileContext,
  master: TtyFileEntry,
  ttys: readonly TtyFileEntry[],
  data: ReadonlyMap<number, TerminalInput>,
): void {
  const info = context.tree.ttys.get(master.tty_info_id) as TtyInfoEntry;
  const slaves = ttys.flatMap((tty) => {
    const other = context.tree.ttys.get(tty.tty_info_id);
    return other !== undefined && !isMaster(other) && other.pty?.index === info.pty?.index ? [other] : [];
  });
  const slaveInfo = slaves[0] ?? info;
  const descriptor = context.masters.of(fileKey(master.id));
  const toMaster = data.get(info.id)?.bytes ?? new Uint8Array();
  const input = slaves.map((slave) => data.get(slave.id)).find((found) => found !== undefined);
  const settings = slaveInfo.termios === undefined ? Buffer.alloc(termiosBytes) : termiosOf(slaveInfo.termios);
  const typing = typingOf(input ?? { bytes: Buffer.alloc(0), marks: [] }, settings);
  const toSlave = typing.bytes;
  let batch = context.script.room(6, toMaster.length + 512);
  const flags = openFlag.readWrite | openFlag.noTerminal | openFlag.closeOnExec;
  // A slave that was never opened stays so: closing it again would be the end of file to the master.
  const untouched = info.locked && slaves.length === 0;
  const target = untouched ? descriptor : 0;
  if (!untouched) batch.call(syscalls.openat, [-100, batch.text(`/dev/pts/${info.pty?.index}`), flags]);
  const { uid, gid, termios, winsize } = slaveInfo;
  if (!untouched && ((uid ?? 0) !== 0 || (gid ?? 0) !== 0)) batch.call(fchown, [0, uid ?? 0, gid ?? 0]);
  if (toMaster.length + toSlave.length > 0) {
    // Raw, so that the line discipline changes nothing a second time.
    batch.call(syscalls.ioctl, [0, request.setTermios, batch.place(new Uint8Array(termiosBytes))]);
    if (toMaster.length > 0) batch.call(syscalls.write, [0, batch.place(toMaster), toMaster.length]);
    if (toSlave.length > 0) {
      batch.call(syscalls.ioctl, [0, request.setTermios, batch.place(typing.settings)]);
      typeBytes(context, descriptor, toSlave);
    }
  }
  batch = context.script.room(8, 512);
  if (winsize !== undefined) {
    const size = new Uint16Array([winsize.ws_row, winsize.ws_col, winsize.ws_xpixel, winsize.ws_ypixel]);
    batch.call(syscalls.ioctl, [target, request.setWindow, batch.place(new Uint8Array(size.buffer))]);
  }
  if (termios !== undefined) batch.call(syscalls.ioctl, [target, request.setTermios, batch.place(settings)]);
  if (slaveInfo.exclusive) batch.call(syscalls.ioctl, [0, request.exclusive, 0]);
  if (info.packet_mode) {
    const on = batch.place(new Uint8Array(new Int32Array([1]).buffer));
    batch.call(syscalls.ioctl, [descriptor, request.packet, on]);
  }
  if (!untouched) batch.call(syscalls.close, [0]);
  if (info.locked) {
    const locked = batch.place(new Uint8Array(new Int32Array([1]).buffer));
    batch.call(syscalls.ioctl, [descriptor, request.lock, locked]);
  }
}

/** The slave, at descriptor 0, gets what fits into its queue at once; what the master writes arrives some time later. */
function typeBytes(context: FileContext, master: number, bytes: Buffer): void {
  const now = bytes.subarray(0, queueBytes);
  for (let at = 0; at < now.length; at += bytesPerBatch) {
    const piece = now.subarray(at, at + bytesPerBatch);
    const batch = context.script.room(piece.length, piece.length * 16);
    for (const byte of piece) batch.call(syscalls.ioctl, [0, request.type, batch.place(Uint8Array.of(byte))]);
  }
  const rest = bytes.subarray(queueBytes);
  if (rest.length === 0) return;
  const batch = context.script.room(1, rest.length + 16);
  batch.call(syscalls.write, [master, batch.place(rest), rest.length]);
}

/** CRIU keeps the control characters as words of four bytes each; the kernel's struct termios has no speeds. */
function termiosOf(termios: TermiosEntry): Buffer {
  const bytes = Buffer.alloc(termiosBytes);
  [termios.c_iflag, termios.c_oflag, termios.c_cflag, termios.c_lflag].forEach((flags, index) => {
    bytes.writeUInt32LE(flags, index * 4);
  });
  bytes[16] = termios.c_line;
  const words = new Uint8Array(new Uint32Array(termios.c_cc).buffer).subarray(0, controlCharacters);
  bytes.set(words, 17);
  return bytes;
}

/** What a session's leader does when it has its descriptors: takes its terminal, and names the foreground group. */
export function controlTerminals(script: Script, task: TaskImage, ttys: Iterable<TtyInfoEntry>): void {
  const done = new Set<number>();
  for (const info of ttys) {
    const index = info.pty?.index;
    if (task.session !== task.pid || info.sid !== task.pid || index === undefined || done.has(index)) continue;
    done.add(index);
    const batch = script.room(4, 64);
    const flags = openFlag.readWrite | openFlag.noTerminal | openFlag.closeOnExec;
    // Descriptors 0 to 7 may be the task's own by now, so this comes before they are placed.
    batch.call(syscalls.openat, [-100, batch.text(`/dev/pts/${index}`), flags]);
    batch.call(syscalls.ioctl, [0, request.setControlling, 0], { purpose: `taking the terminal /dev/pts/${index}` });
    if (info.pgrp > 0) {
      const group = batch.place(new Uint8Array(new Int32Array([info.pgrp]).buffer));
      batch.call(syscalls.ioctl, [0, request.setGroup, group], { purpose: `foreground group ${info.pgrp}` });
    }
    batch.call(syscalls.close, [0]);
  }
}
