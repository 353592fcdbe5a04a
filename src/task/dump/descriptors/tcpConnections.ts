// Established TCP connections, read by the socket's repair mode (TCP_REPAIR, linux/net/ipv4/tcp.c): sequence numbers,
// options, windows and queues. The sockets' other facts are in inetSocket.ts.
//
// All connections of the tree are held before the first is read: nothing comes in (a filter drops it; the peer sends it
// again) and nothing goes out, so that the two ends of one connection fit together. Sockets that are ended with their tree
// stay held until then, and so are forgotten by the kernel without a FIN or RST to the peer.
import { closeSync } from "node:fs";
import { checked } from "../../../errors";
import type { Init } from "../../../images/message";
import type { TcpStreamEntry } from "../../../images/messages";
import { native } from "../../../native";
import { socketOption, solSocket } from "../../socketOptions";
import { connectionState, hasSentEnd } from "../../tcpStates";
import type { ImageSet } from "../imageSet";
import type { OpenFile } from "../openFile";
import { integerOption } from "./socketOptions";

const solTcp = 6;
const tcpOption = {
  noDelay: 1,
  segmentSize: 2,
  cork: 3,
  info: 11,
  repair: 19,
  repairQueue: 20,
  queueSequence: 21,
  timestamp: 24,
  repairWindow: 29,
} as const;
/** Repair mode: on, and off without the probe that wakes the peer. */
const repair = { on: 1, offSilently: -1 } as const;
const queue = { none: 0, receive: 1, send: 2 } as const;
const windowScaling = 4; // of tcp_info's tcpi_options
const infoOffset = { state: 0, options: 5, scales: 6 } as const;
const request = { received: 0x541b, unsent: 0x894b, outstanding: 0x5411 } as const; // SIOCINQ, SIOCOUTQNSD, SIOCOUTQ
const windowFields = ["snd_wl1", "snd_wnd", "max_window", "rcv_wnd", "rcv_wup"] as const;

/** TCP states with a connection that can be taken along: all that a socket of a program can be in, but for SYN_RECV. */
export const connectedStates: ReadonlySet<number> = new Set(Object.values(connectionState));

interface Connection {
  readonly inode: number;
  readonly pid: number;
  /** Our duplicate of the socket. */
  readonly fd: number;
  readonly reuseAddress: number;
  isFiltered: boolean;
  isHeld: boolean;
}

/** The connections of a frozen tree. Disposing lets all go on. */
export class TcpConnections implements Disposable {
  readonly #connections: Connection[] = [];

  /** Notes a connection; `inode` names its image. Nothing changes before hold(). */
  add(file: OpenFile): void {
    const fd = file.duplicate();
    const reuseAddress = integerOption(fd, solSocket, socketOption.reuseAddress);
    this.#connections.push({ inode: file.inode, pid: file.pid, fd, reuseAddress, isFiltered: false, isHeld: false });
  }

  get count(): number {
    return this.#connections.length;
  }

  /** Lets nothing in or out any more. */
  hold(): void {
    for (const connection of this.#connections) {
      // A program's own filter is kept: there is no second place for ours.
      const hasFilter =
        native.getSocketOption(connection.fd, solSocket, socketOption.attachFilter, new Uint8Array(0)) > 0;
      connection.isFiltered = !hasFilter && native.dropIncoming(connection.fd) === 0;
    }
    for (const connection of this.#connections) {
      checked(setNumber(connection.fd, tcpOption.repair, repair.on), "TCP_REPAIR", "a connection cannot be read", {
        pid: connection.pid,
        advice: "TCP connections need CAP_NET_ADMIN; --tcp-close does without them",
      });
      connection.isHeld = true;
    }
  }

  /** Writes tcp-stream-INODE.img for each; they must be held. */
  write(images: ImageSet): void {
    for (const connection of this.#connections) {
      const name = `tcp-stream-${connection.inode.toString(16)}.img`;
      const { entry, received, sent } = readConnection(connection);
      images.add(name, "TCP_STREAM", entry, { kind: "queues", received, sent });
    }
  }

  /** Everything goes on as before. */
  [Symbol.dispose](): void {
    for (const { fd, isHeld, isFiltered, reuseAddress } of this.#connections) {
      if (isHeld) {
        setNumber(fd, tcpOption.repairQueue, queue.none);
        setNumber(fd, tcpOption.repair, repair.offSilently);
        // Repair mode changes it, in both directions.
        native.setSocketOption(fd, solSocket, socketOption.reuseAddress, new Int32Array([reuseAddress]));
      }
      if (isFiltered) native.setSocketOption(fd, solSocket, socketOption.detachFilter, new Int32Array([0]));
    }
    this.forget();
  }

  /** Closes our duplicates of the sockets as they are: what is held ends without a word, when the tree has ended. */
  forget(): void {
    for (const { fd } of this.#connections) closeSync(fd);
    this.#connections.length = 0;
  }
}

function setNumber(fd: number, name: number, value: number): number {
  return native.setSocketOption(fd, solTcp, name, new Int32Array([value]));
}

function queueSequence({ fd, pid }: Connection, which: number): number {
  checked(setNumber(fd, tcpOption.repairQueue, which), "TCP_REPAIR_QUEUE", "a connection cannot be read", { pid });
  const value = new Uint32Array(1);
  const got = native.getSocketOption(fd, solTcp, tcpOption.queueSequence, value);
  checked(got, "TCP_QUEUE_SEQ", "a connection's sequence number cannot be read", { pid });
  return value[0] as number;
}

function count({ fd, pid }: Connection, what: number): number {
  const value = new Int32Array(1);
  checked(native.ioctlBuffer(fd, what, value), "ioctl", "a connection's queues cannot be measured", { pid });
  return value[0] as number;
}

/** The bytes of the queue that was chosen last; they stay in it. */
function queueBytes({ fd, pid }: Connection, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  if (length === 0) return bytes;
  const got = checked(native.streamPeek(fd, bytes), "recv", "a connection's queue cannot be read", { pid });
  return bytes.subarray(0, got);
}

function readConnection(connection: Connection): {
  entry: Init<TcpStreamEntry>;
  received: Buffer;
  sent: Buffer;
} {
  const { fd, pid } = connection;
  const info = Buffer.alloc(256);
  checked(native.getSocketOption(fd, solTcp, tcpOption.info, info), "TCP_INFO", "a connection cannot be read", { pid });
  const options = info[infoOffset.options] as number;
  const scales = (options & windowScaling) === 0 ? 0 : (info[infoOffset.scales] as number);
  const receivedSequence = queueSequence(connection, queue.receive);
  const received = queueBytes(connection, count(connection, request.received));
  const sentSequence = queueSequence(connection, queue.send);
  const sent = queueBytes(connection, count(connection, request.outstanding));
  // A FIN that waits behind them counts as a byte.
  const end = hasSentEnd(info[infoOffset.state] as number) ? 1 : 0;
  const unsent = Math.max(0, count(connection, request.unsent) - end);
  const window = new Uint32Array(windowFields.length);
  const got = native.getSocketOption(fd, solTcp, tcpOption.repairWindow, window);
  checked(got, "TCP_REPAIR_WINDOW", "a connection's windows cannot be read", { pid });
  return {
    entry: {
      inq_len: received.length,
      inq_seq: receivedSequence,
      outq_len: sent.length,
      outq_seq: sentSequence,
      opt_mask: options,
      snd_wscale: scales & 0xf,
      mss_clamp: integerOption(fd, solTcp, tcpOption.segmentSize),
      rcv_wscale: scales >>> 4,
      timestamp: integerOption(fd, solTcp, tcpOption.timestamp) >>> 0,
      cork: integerOption(fd, solTcp, tcpOption.cork) !== 0 ? true : undefined,
      nodelay: integerOption(fd, solTcp, tcpOption.noDelay) !== 0 ? true : undefined,
      unsq_len: unsent,
      ...Object.fromEntries(windowFields.map((name, index) => [name, window[index] as number])),
    },
    received,
    sent,
  };
}
