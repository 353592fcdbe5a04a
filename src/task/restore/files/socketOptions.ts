// The options that all sockets share (socket(7)), as calls on a scratch descriptor.
import type { SkOptsEntry } from "../../../images/messages";
import type { Batch } from "../../batch";
import { syscalls } from "../../constants";
import { isChoice } from "../../socketChoices";
import { socketOption, solSocket } from "../../socketOptions";

const choicesMax = 48;
/** Calls that setSocketOptions() takes at most; room for as many bytes of data is asked for with them. */
export const socketOptionCalls = 27 + choicesMax;
const solTcp = 6;
const congestionOption = 13;
const congestionBytesMax = 16;

/** setsockopt(2) with one int. */
export function setInteger(batch: Batch, socket: number, level: number, name: number, value: number): void {
  const slot = batch.place(new Uint8Array(new Int32Array([value]).buffer));
  batch.call(syscalls.setsockopt, [socket, level, name, slot, 4], { purpose: `socket option ${level}:${name}` });
}

/** `fixedBuffers`: the sizes are set whatever the lock says, for families whose buffers never size themselves. */
export function setSocketOptions(batch: Batch, socket: number, options: SkOptsEntry, fixedBuffers = false): void {
  const set = (name: number, value: number | boolean | undefined): void => {
    if (value === undefined || Number(value) === 0) return;
    setInteger(batch, socket, solSocket, name, Number(value));
  };
  // The kernel doubles what it is given; buffers without a lock size themselves and are left alone.
  const locked = fixedBuffers ? 3 : (options.so_buf_lock ?? 3);
  if ((locked & 1) !== 0) set(socketOption.sendBufferForce, Math.floor(options.so_sndbuf / 2));
  if ((locked & 2) !== 0) set(socketOption.receiveBufferForce, Math.floor(options.so_rcvbuf / 2));
  if (options.so_buf_lock !== undefined)
    setInteger(batch, socket, solSocket, socketOption.bufferLock, options.so_buf_lock & 3);
  set(socketOption.reuseAddress, options.reuseaddr);
  set(socketOption.reusePort, options.so_reuseport);
  set(socketOption.priority, options.so_priority);
  if (options.so_rcvlowat !== undefined && options.so_rcvlowat !== 1)
    set(socketOption.receiveLowWater, options.so_rcvlowat);
  set(socketOption.mark, options.so_mark);
  set(socketOption.passCredentials, options.so_passcred);
  set(socketOption.passSecurity, options.so_passsec);
  set(socketOption.dontRoute, options.so_dontroute);
  set(socketOption.noCheck, options.so_no_check);
  set(socketOption.broadcast, options.so_broadcast);
  set(socketOption.keepAlive, options.so_keepalive);
  set(socketOption.outOfBandInline, options.so_oobinline);
  if (options.so_linger !== undefined && options.so_linger > 0) {
    const linger = batch.place(new Uint8Array(new Int32Array([1, options.so_linger]).buffer));
    batch.call(syscalls.setsockopt, [socket, solSocket, socketOption.linger, linger, 8]);
  }
  setTimeout64(batch, socket, socketOption.sendTimeout, options.so_snd_tmo_sec, options.so_snd_tmo_usec);
  setTimeout64(batch, socket, socketOption.receiveTimeout, options.so_rcv_tmo_sec, options.so_rcv_tmo_usec);
  if (options.so_bound_dev !== undefined && options.so_bound_dev !== "") {
    const name = batch.text(options.so_bound_dev);
    batch.call(syscalls.setsockopt, [socket, solSocket, socketOption.bindToDevice, name, options.so_bound_dev.length]);
  }
  const { so_timestamps: stamps } = options;
  for (let at = 0; at + 1 < stamps.length; at += 2) {
    const [name, value] = [stamps[at] as number, stamps[at + 1] as number];
    const slot = batch.place(new Uint8Array(new Uint32Array([value]).buffer));
    // Some flags are refused in some states of a TCP connection.
    batch.call(syscalls.setsockopt, [socket, solSocket, name, slot, 4], { tolerate: true });
  }
  if (options.so_filter.length > 0) attachFilter(batch, socket, options.so_filter);
  setChoices(batch, socket, options);
}

/** Last: one of them forbids to change the filter. Some are refused in some states of a connection. */
function setChoices(
  batch: Batch,
  socket: number,
  { so_choices: words, tcp_congestion: congestion }: SkOptsEntry,
): void {
  for (let at = 0; at + 2 < Math.min(words.length, choicesMax * 3); at += 3) {
    const [level, name, value] = [words[at] as number, words[at + 1] as number, words[at + 2] as number];
    if (!isChoice({ level, name })) continue;
    const slot = batch.place(new Uint8Array(new Uint32Array([value]).buffer));
    batch.call(syscalls.setsockopt, [socket, level, name, slot, 4], { tolerate: true });
  }
  if (congestion === undefined || congestion.length > congestionBytesMax) return;
  batch.call(syscalls.setsockopt, [socket, solTcp, congestionOption, batch.text(congestion), congestion.length], {
    tolerate: true,
  });
}

function setTimeout64(batch: Batch, socket: number, name: number, seconds: bigint, microseconds: bigint): void {
  if (seconds === 0n && microseconds === 0n) return;
  const value = batch.place(new Uint8Array(new BigUint64Array([seconds, microseconds]).buffer));
  batch.call(syscalls.setsockopt, [socket, solSocket, name, value, 16]);
}

/** struct sock_fprog: a count and a pointer to the instructions; in the image each has its operation on top. */
function attachFilter(batch: Batch, socket: number, filter: readonly bigint[]): void {
  const bytes = Buffer.alloc(filter.length * 8);
  filter.forEach((instruction, index) => {
    const high = Number(instruction >> 32n);
    bytes.writeUInt16LE(high >>> 16, index * 8);
    bytes.writeUInt8((high >>> 8) & 0xff, index * 8 + 2);
    bytes.writeUInt8(high & 0xff, index * 8 + 3);
    bytes.writeUInt32LE(Number(instruction & 0xffffffffn), index * 8 + 4);
  });
  const code = batch.place(bytes);
  const program = batch.place(new Uint8Array(new BigUint64Array([BigInt(filter.length), 0n]).buffer));
  batch.point(program, 8, code);
  batch.call(syscalls.setsockopt, [socket, solSocket, socketOption.attachFilter, program, 16]);
}
