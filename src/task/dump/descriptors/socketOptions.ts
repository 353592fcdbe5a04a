// Options that sockets of every family have (socket(7)), as CRIU's sk_opts_entry.
import type { Init } from "../../../images/message";
import type { SkOptsEntry } from "../../../images/messages";
import { native } from "../../../native";

/** SOL_SOCKET and its options (asm-generic/socket.h). */
const solSocket = 1;
const option = {
  reuseAddress: 2,
  dontRoute: 5,
  broadcast: 6,
  sendBuffer: 7,
  receiveBuffer: 8,
  keepAlive: 9,
  outOfBandInline: 10,
  noCheck: 11,
  priority: 12,
  linger: 13,
  reusePort: 15,
  passCredentials: 16,
  receiveLowWater: 18,
  receiveTimeout: 20,
  sendTimeout: 21,
  passSecurity: 34,
  mark: 36,
  bufferLock: 72,
} as const;

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
  const [sendSeconds, sendMicros] = time(option.sendTimeout);
  const [receiveSeconds, receiveMicros] = time(option.receiveTimeout);
  const linger = new Int32Array(2);
  native.getSocketOption(fd, solSocket, option.linger, linger);
  const mark = number(option.mark);
  return {
    so_sndbuf: number(option.sendBuffer),
    so_rcvbuf: number(option.receiveBuffer),
    so_snd_tmo_sec: sendSeconds,
    so_snd_tmo_usec: sendMicros,
    so_rcv_tmo_sec: receiveSeconds,
    so_rcv_tmo_usec: receiveMicros,
    reuseaddr: flag(option.reuseAddress),
    so_priority: number(option.priority),
    so_rcvlowat: number(option.receiveLowWater),
    so_mark: mark === 0 ? undefined : mark,
    so_passcred: isUnix ? flag(option.passCredentials) : undefined,
    so_passsec: isUnix ? flag(option.passSecurity) : undefined,
    so_dontroute: flag(option.dontRoute),
    so_no_check: flag(option.noCheck),
    so_reuseport: flag(option.reusePort),
    so_broadcast: flag(option.broadcast),
    so_keepalive: flag(option.keepAlive),
    so_oobinline: number(option.outOfBandInline),
    so_linger: linger[0] === 0 ? undefined : (linger[1] as number),
    so_buf_lock: number(option.bufferLock),
  };
}
