// Terminals: the shell's own (--shell-job) and pseudo-terminal pairs of the tree (tty(4), pty(7), ioctl_tty(2)).
import { existsSync } from "node:fs";
import { native } from "../../../native";
import { deviceNumbers } from "../../devices";
import { readStat } from "../../proc";
import type { ImageSet } from "../imageSet";
import type { OpenFile } from "../openFile";
import { heldFile, type RegularFiles } from "../regularFiles";
import { peekInput, peekOutput } from "./terminalQueue";

const request = {
  getTermios: 0x5401, // TCGETS: struct termios, 36 bytes
  getLockedTermios: 0x5456,
  getWindowSize: 0x5413,
  getExclusive: 0x80045440,
  getPacketMode: 0x80045438,
  getPtyLock: 0x80045439,
  getPtyNumber: 0x80045430,
  getForegroundGroup: 0x540f,
  getSession: 0x5429,
} as const;
const termiosBytes = 36;
const controlCharacters = 19;
const ttyType = { unknown: 0, pty: 1, console: 2, vt: 3, currentTty: 4, serial: 6 } as const;
const majorSlaveFirst = 136;
const majorSlaveLast = 143;

function number(fd: number, what: number): number {
  const value = new Int32Array(1);
  return native.ioctlBuffer(fd, what, value) < 0 ? 0 : (value[0] as number);
}

function termios(fd: number, what: number) {
  const buffer = Buffer.alloc(termiosBytes + 8);
  if (native.ioctlBuffer(fd, what, buffer) < 0) return undefined;
  const cflag = buffer.readUInt32LE(8);
  const speed = cflag & 0o10017;
  // CRIU's images hold the bytes of c_cc four to a word, and as many words as there are bytes.
  const packed = Buffer.alloc(controlCharacters * 4);
  buffer.copy(packed, 0, 17, 17 + controlCharacters);
  return {
    c_iflag: buffer.readUInt32LE(0),
    c_oflag: buffer.readUInt32LE(4),
    c_cflag: cflag,
    c_lflag: buffer.readUInt32LE(12),
    c_line: buffer[16] as number,
    c_ispeed: speed,
    c_ospeed: speed,
    c_cc: Array.from({ length: controlCharacters }, (_, index) => packed.readUInt32LE(index * 4)),
  };
}

function otherType(file: OpenFile): number {
  const { major, minor } = deviceNumbers(file.stat.rdev);
  if (major === 5 && minor === 0) return ttyType.currentTty;
  if (isConsole(file)) return major === 5 ? ttyType.console : ttyType.vt;
  return ttyType.serial;
}

const virtualTerminals = 64;
const virtualIds = 10_000;

/** The console, or a virtual terminal: there on every machine that has any, and nobody's in particular. */
export function isConsole(file: OpenFile): boolean {
  const { major, minor } = deviceNumbers(file.stat.rdev);
  return (major === 5 && minor === 1) || (major === 4 && minor < virtualTerminals);
}

const ioError = -5; // EIO

/** A slave whose master is closed: it is at its end for ever, and tells nothing any more (tty_ioctl(4)). */
export function isHungUp(file: OpenFile): boolean {
  if (deviceNumbers(file.stat.rdev).major < majorSlaveFirst) return false;
  return file.withCopy((fd) => native.ioctlBuffer(fd, request.getWindowSize, new Uint16Array(4))) === ioError;
}

/** Beside those of another pair that has its number by now. */
const hungUpIds = 100_000;

/** Of the two ends of a pair: twice the number, and one more for the master. */
function pairId(index: number, isMaster: boolean, hungUp: boolean): number {
  if (hungUp && existsSync(`/dev/pts/${index}`)) return hungUpIds + index * 2;
  return index * 2 + (isMaster ? 1 : 0);
}

/** Numbers that stand for terminals that are no pseudo-terminals; pairs have numbers below 1000. */
function otherIndex(major: number, minor: number): number {
  if (major === 5 && minor === 0) return 1006; // /dev/tty
  if (major === 5 && minor === 1) return 1002; // the console
  return major === 4 && minor < virtualTerminals ? 1004 : 1010;
}

export class Terminals {
  readonly #images: ImageSet;
  readonly #regular: RegularFiles;
  readonly #infos = new Set<number>();
  #virtual: number | undefined;
  /** Masters whose slave has not been met yet, by the terminal's number. */
  readonly #alone = new Map<number, OpenFile>();

  constructor(images: ImageSet, regular: RegularFiles) {
    this.#images = images;
    this.#regular = regular;
  }

  /** CRIU has one number for all virtual terminals: the first one gets that. */
  #otherId(major: number, minor: number): number {
    const id = otherIndex(major, minor) * 2;
    if (major !== 4) return id;
    this.#virtual ??= minor;
    return this.#virtual === minor ? id : id + (minor + 1) * virtualIds;
  }

  add(id: number, file: OpenFile): void {
    const { major, minor } = deviceNumbers(file.stat.rdev);
    const hungUp = isHungUp(file);
    const isMaster = major === 5 && minor === 2;
    const isSlave = major >= majorSlaveFirst && major <= majorSlaveLast;
    file.withCopy((fd) => {
      const index = isMaster ? number(fd, request.getPtyNumber) : (major - majorSlaveFirst) * 256 + minor;
      // The two ends of a pair are found by their ids: twice the number, and one more for the master.
      const isPty = isMaster || isSlave;
      const infoId = isPty ? pairId(index, isMaster, hungUp) : this.#otherId(major, minor);
      if (!this.#infos.has(infoId)) {
        this.#infos.add(infoId);
        this.#addInfo(infoId, file, fd, isMaster || isSlave ? { index, isMaster } : undefined);
        const unread = isMaster ? peekOutput(fd, file.pid) : Buffer.alloc(0);
        if (unread.length > 0) this.#images.add("tty-data.img", "TTY_DATA", { tty_id: infoId, data: unread });
        if ((isMaster || isSlave) && !hungUp) this.#pair(index, file, isMaster);
      }
      const regular = { flags: file.flags, position: 0n };
      const held = heldFile(file.pid, `fd/${file.fd}`);
      const regularId = hungUp ? this.#regular.addName(held, regular) : this.#regular.add(held, regular);
      this.#images.addFile("TTY", {
        id,
        tty: { id, tty_info_id: infoId, flags: file.flags, fown: file.owner(), regf_id: regularId },
      });
    });
  }

  /**
   * Input is read where both ends belong to the tree: to open a slave that nobody has opened, and to close it again, would be
   * the end of file to the master.
   */
  #pair(index: number, file: OpenFile, isMaster: boolean): void {
    const slaveInfo = index * 2;
    if (isMaster) this.#alone.set(index, file);
    const master = this.#alone.get(index);
    // A master that is in transit has no descriptor of its own here by now.
    if (master === undefined || !this.#infos.has(slaveInfo) || (!isMaster && master.pid === process.pid)) return;
    const input = master.withCopy((fd) => peekInput(fd, master.pid));
    if (input === null) return;
    const { bytes, marks } = input;
    this.#images.add("tty-data.img", "TTY_DATA", { tty_id: slaveInfo, data: bytes, eof_marks: [...marks] });
  }

  #addInfo(id: number, file: OpenFile, fd: number, pty: { index: number; isMaster: boolean } | undefined): void {
    const size = new Uint16Array(4);
    const hasSize = native.ioctlBuffer(fd, request.getWindowSize, size) >= 0;
    const stat = readStat(file.pid);
    // The slave tells its session only to that session's members; the master, and /proc, to anyone.
    const controlling = stat.tty === Number(file.stat.rdev);
    const known = termios(fd, request.getTermios);
    this.#images.add("tty-info.img", "TTY_INFO", {
      id,
      type: pty === undefined ? otherType(file) : ttyType.pty,
      locked: pty?.isMaster === true && number(fd, request.getPtyLock) !== 0,
      exclusive: number(fd, request.getExclusive) !== 0,
      packet_mode: pty?.isMaster === true && number(fd, request.getPacketMode) !== 0,
      sid: controlling ? stat.session : pty?.isMaster === true ? number(fd, request.getSession) : 0,
      pgrp: controlling ? stat.ttyGroup : pty?.isMaster === true ? number(fd, request.getForegroundGroup) : 0,
      rdev: Number(file.stat.rdev),
      termios: known,
      termios_locked: known === undefined ? undefined : termios(fd, request.getLockedTermios),
      winsize: hasSize
        ? {
            ws_row: size[0] as number,
            ws_col: size[1] as number,
            ws_xpixel: size[2] as number,
            ws_ypixel: size[3] as number,
          }
        : undefined,
      pty: pty === undefined ? undefined : { index: pty.index },
      dev: Number(file.stat.dev),
      uid: Number(file.stat.uid),
      gid: Number(file.stat.gid),
    });
  }
}
