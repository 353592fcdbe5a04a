// Options that sockets of every family have (socket(7)), as CRIU's sk_opts_entry.
import { closeSync } from "node:fs";
import type { Init } from "../../../images/message";
import type { SkOptsEntry } from "../../../images/messages";
import { native } from "../../../native";
import { type Choice, choicesOf } from "../../socketChoices";
import { socketOption, solSocket } from "../../socketOptions";

/** An integer option; 0 where the socket lacks it. */
export function integerOption(fd: number, level: number, name: number): number {
  const value = new Int32Array(1);
  return native.getSocketOption(fd, level, name, value) < 0 ? 0 : (value[0] as number);
}

export function socketOptions(fd: number, isUnix: boolean): Init<SkOptsEntry> {
  const number = (name: number): number => integerOption(fd, solSocket, name);
  const flag = (name: number): boolean => number(name) !== 0;
  const time = (name: number): [bigint, bigint] => {
    const value = new BigUint64Array(2);
    native.getSocketOption(fd, solSocket, name, value);
    return [value[0] as bigint, value[1] as bigint];
  };
  const [sendSeconds, sendMicros] = time(socketOption.sendTimeout);
  const [receiveSeconds, receiveMicros] = time(socketOption.receiveTimeout);
  const linger = new Int32Array(2);
  native.getSocketOption(fd, solSocket, socketOption.linger, linger);
  const mark = number(socketOption.mark);
  return {
    so_sndbuf: number(socketOption.sendBuffer),
    so_rcvbuf: number(socketOption.receiveBuffer),
    so_snd_tmo_sec: sendSeconds,
    so_snd_tmo_usec: sendMicros,
    so_rcv_tmo_sec: receiveSeconds,
    so_rcv_tmo_usec: receiveMicros,
    reuseaddr: flag(socketOption.reuseAddress),
    so_priority: number(socketOption.priority),
    so_rcvlowat: number(socketOption.receiveLowWater),
    so_mark: mark === 0 ? undefined : mark,
    so_passcred: isUnix ? flag(socketOption.passCredentials) : undefined,
    so_passsec: isUnix ? flag(socketOption.passSecurity) : undefined,
    so_dontroute: flag(socketOption.dontRoute),
    so_no_check: flag(socketOption.noCheck),
    so_reuseport: flag(socketOption.reusePort),
    so_broadcast: flag(socketOption.broadcast),
    so_keepalive: flag(socketOption.keepAlive),
    so_oobinline: number(socketOption.outOfBandInline),
    so_linger: linger[0] === 0 ? undefined : (linger[1] as number),
    so_buf_lock: number(socketOption.bufferLock),
    so_bound_dev: boundDevice(fd),
    so_filter: filterCode(fd),
    so_timestamps: timestamps(fd),
    ...ownChoices(fd),
  };
}

const kindOption = { type: 3, protocol: 38, domain: 39 } as const;
const solTcp = 6;
const congestion = 13;
const congestionBytes = 16; // TCP_CA_NAME_MAX

interface Defaults {
  readonly choices: readonly Choice[];
  /** Undefined where there is no such option. */
  readonly values: readonly (number | undefined)[];
  readonly congestion: string | undefined;
}

const defaults = new Map<string, Defaults>();

/** What a fresh socket of that kind has here. */
function defaultsOf(family: number, type: number, protocol: number): Defaults {
  const key = `${family}:${type}:${protocol}`;
  let known = defaults.get(key);
  if (known === undefined) {
    const choices = choicesOf(family, type, protocol);
    const fd = native.openSocket(family, type, protocol);
    const values = choices.map((choice) => (fd < 0 ? undefined : choiceValue(fd, choice)));
    known = { choices, values, congestion: fd < 0 ? undefined : congestionControl(fd) };
    if (fd >= 0) closeSync(fd);
    defaults.set(key, known);
  }
  return known;
}

function choiceValue(fd: number, { level, name }: Choice): number | undefined {
  const value = new Int32Array(1);
  return native.getSocketOption(fd, level, name, value) < 0 ? undefined : (value[0] as number);
}

function congestionControl(fd: number): string | undefined {
  const name = Buffer.alloc(congestionBytes);
  const length = native.getSocketOption(fd, solTcp, congestion, name);
  return length <= 0 ? undefined : name.toString("latin1", 0, length).replace(/\0.*$/, "");
}

/** What a program has chosen that CRIU's images have no field for. */
function ownChoices(fd: number): { so_choices: number[]; tcp_congestion: string | undefined } {
  const kind = (name: number): number => integerOption(fd, solSocket, name);
  const fresh = defaultsOf(kind(kindOption.domain), kind(kindOption.type), kind(kindOption.protocol));
  const so_choices = fresh.choices.flatMap((choice, index) => {
    const usual = fresh.values[index];
    const value = usual === undefined ? undefined : choiceValue(fd, choice);
    return value === undefined || value === usual ? [] : [choice.level, choice.name, value >>> 0];
  });
  const now = fresh.congestion === undefined ? undefined : congestionControl(fd);
  return { so_choices, tcp_congestion: now === fresh.congestion ? undefined : now };
}

/**
 * What timestamps packets get, as the options that ask for them and their values. A socket has one form of the first kind; of
 * the second (SO_TIMESTAMPING) the older option tells the flags in any case.
 */
function timestamps(fd: number): number[] {
  const one = [
    socketOption.timestamp,
    socketOption.timestampNanoseconds,
    socketOption.timestampNew,
    socketOption.timestampNanosecondsNew,
  ].filter((option) => integerOption(fd, solSocket, option) !== 0);
  const flags = integerOption(fd, solSocket, socketOption.timestamping) >>> 0;
  const isNew = integerOption(fd, solSocket, socketOption.timestampingNew) !== 0;
  const form = isNew ? socketOption.timestampingNew : socketOption.timestamping;
  return [...one.flatMap((option) => [option, 1]), ...(flags === 0 ? [] : [form, flags])];
}

const deviceNameBytes = 16; // IFNAMSIZ

/** The interface that a socket is bound to (SO_BINDTODEVICE), or undefined. */
function boundDevice(fd: number): string | undefined {
  const name = Buffer.alloc(deviceNameBytes);
  const length = native.getSocketOption(fd, solSocket, socketOption.bindToDevice, name);
  return length <= 1 ? undefined : name.toString("latin1", 0, length - 1);
}

const filterInstructionsMax = 4096; // BPF_MAXINSNS
const instructionBytes = 8;

/** The instructions of a socket filter; SO_GET_FILTER counts in instructions, and has the number of SO_ATTACH_FILTER. */
function filterCode(fd: number): bigint[] {
  const code = Buffer.alloc(filterInstructionsMax * instructionBytes);
  const count = native.getSocketOption(fd, solSocket, socketOption.attachFilter, code);
  return Array.from({ length: Math.max(0, count) }, (_, index) => {
    const at = index * instructionBytes;
    // struct sock_filter: operation, jumps, operand; in the image the first of them is the highest.
    const [operation, jumpTrue, jumpFalse] = [code.readUInt16LE(at), code[at + 2] as number, code[at + 3] as number];
    const high = (operation << 16) | (jumpTrue << 8) | jumpFalse;
    return (BigInt(high >>> 0) << 32n) | BigInt(code.readUInt32LE(at + 4));
  });
}
