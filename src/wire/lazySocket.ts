// CRIU's lazy-pages socket: the server side of the protocol by which `criu restore --lazy-pages` hands over one
// userfaultfd for each task. Framing and timeouts only; what is done with a task is the handler's.
//
// The stream holds, for each task, a 32-bit pid followed by one byte with the descriptor (a negative pid: a dead task,
// nothing follows), then FIN. Both are read with exactly their own length: a longer read would swallow the descriptor.
import { existsSync, lstatSync, renameSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { errorName, FaultlineError } from "../errors";
import { native } from "../native";

export const LAZY_SOCKET_NAME = "lazy-pages.socket";
/** Sent by the restoring side when all tasks are there, before they run. */
const FIN = 0x52535446;
const BACKLOG = 10;
/** sun_path of unix(7), with its NUL. */
const PATH_BYTES_MAX = 107;
/** Most connections at once. */
const CONNECTIONS_MAX = 256;

const EAGAIN = 11;
/** accept(2) on a socket that ended reading. */
const EINVAL = 22;
const ENODATA = 61;
const EPIPE = 32;

/** What a connection brings. A method that throws fails the connection. */
export interface LazyRestore {
  /** `uffd` is the handler's from now on. */
  task(virtualPid: number, uffd: number): Promise<void>;
  deadTask(virtualPid: number): void;
  /** All tasks have been handed over and are about to run. */
  finished(): Promise<void>;
  /** The connection ended before FIN, or broke the protocol. */
  failed(error: FaultlineError): Promise<void>;
}

export interface LazySocketOptions {
  readonly workDir: string;
  /** Longest wait for the first connection, milliseconds; Infinity: for ever. */
  readonly connectTimeoutMs: number;
  /** Longest wait for the next message of a connected restore, milliseconds; Infinity: for ever. */
  readonly messageTimeoutMs: number;
  /** End when one restore has handed everything over; listen no more when it has connected. */
  readonly once: boolean;
  /** A restore has connected. `peerPid` is 0 where the peer is in a pid namespace that this process cannot see. */
  readonly connected: (peerPid: number) => LazyRestore;
}

interface Connection {
  readonly fd: number;
  readonly restore: LazyRestore;
  readonly header: Uint8Array;
  headerBytes: number;
  /** The pid whose descriptor comes next, or 0. */
  pid: number;
  deadlineMs: number;
  /** Why nothing more is taken from it than what has arrived. */
  givenUp: FaultlineError | undefined;
}

/** Listens, and serves connections until `stop`. */
export class LazySocket {
  private readonly path: string;
  private readonly listener: number;
  private readonly wake: number;
  private listening = true;
  private stopping = false;
  private readonly connections = new Set<Connection>();
  private readonly connectDeadlineMs: number;

  private constructor(private readonly options: LazySocketOptions) {
    this.path = join(options.workDir, LAZY_SOCKET_NAME);
    this.listener = bind(this.path);
    this.wake = native.eventfdCreate();
    this.connectDeadlineMs = Date.now() + options.connectTimeoutMs;
  }

  /** Binds the socket. Throws BUSY where another daemon listens there, SYSTEM where it cannot be bound. */
  static listen(options: LazySocketOptions): LazySocket {
    return new LazySocket(options);
  }

  /**
   * Serves until the one restore has handed everything over (`once`), or until stop(). Throws TIMEOUT where no restore
   * came in time.
   */
  async serve(): Promise<void> {
    try {
      while (!this.stopping && (this.listening || this.connections.size > 0)) await this.turn();
    } finally {
      this.closeListener();
      for (const connection of [...this.connections]) await this.giveUp(connection, stopped());
      native.closeDescriptor(this.wake);
    }
  }

  stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    native.eventfdSignal(this.wake);
  }

  private async turn(): Promise<void> {
    const connections = [...this.connections];
    const fds = [this.wake, ...connections.map((connection) => connection.fd)];
    if (this.listening) fds.push(this.listener);
    const ready = await pollReadable(fds, this.timeoutMs());
    if (this.stopping) return;
    for (const [i, connection] of connections.entries()) {
      if (ready[i + 1]) await this.receive(connection);
      else if (Date.now() >= connection.deadlineMs)
        await this.giveUp(connection, silent(this.options.messageTimeoutMs));
    }
    if (this.listening && ready[fds.length - 1] && this.accept() && this.options.once) this.closeListener();
    if (this.listening && this.connections.size === 0 && Date.now() >= this.connectDeadlineMs) {
      throw new FaultlineError("TIMEOUT", `no restore connected within ${this.options.connectTimeoutMs / 1000} s`, {
        file: this.path,
        advice: "start `criu restore --lazy-pages` with the same work directory (-W), or raise --timeout",
      });
    }
  }

  private timeoutMs(): number {
    let deadline = this.listening && this.connections.size === 0 ? this.connectDeadlineMs : Number.POSITIVE_INFINITY;
    for (const connection of this.connections) deadline = Math.min(deadline, connection.deadlineMs);
    if (deadline === Number.POSITIVE_INFINITY) return -1;
    return Math.max(0, Math.min(deadline - Date.now(), 2 ** 31 - 1));
  }

  /** False where nobody waits to be accepted. */
  private accept(): boolean {
    const fd = native.socketAccept(this.listener);
    if (fd === -EAGAIN || fd === -EINVAL) return false;
    if (fd < 0) throw new FaultlineError("SYSTEM", "a restore cannot connect", { syscall: "accept4", errno: -fd });
    if (this.connections.size >= CONNECTIONS_MAX) {
      native.closeDescriptor(fd);
      return true;
    }
    const restore = this.options.connected(Math.max(0, native.socketPeerPid(fd)));
    const header = new Uint8Array(4);
    const deadlineMs = Date.now() + this.options.messageTimeoutMs;
    this.connections.add({ fd, restore, header, headerBytes: 0, pid: 0, deadlineMs, givenUp: undefined });
    return true;
  }

  /** Takes all messages that have arrived. */
  private async receive(connection: Connection): Promise<void> {
    connection.deadlineMs = Date.now() + this.options.messageTimeoutMs;
    try {
      while (this.connections.has(connection)) {
        const more = connection.pid === 0 ? await this.readHeader(connection) : await this.readDescriptor(connection);
        if (!more) return;
      }
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
      await this.fail(connection, connection.givenUp ?? error);
    }
  }

  /**
   * Takes what has arrived and no more. A task sends its userfaultfd and closes its own: one that was thrown away unread
   * would be the last of its memory, which would read as zeros.
   */
  private async giveUp(connection: Connection, error: FaultlineError): Promise<void> {
    connection.givenUp = error;
    native.socketEndReading(connection.fd);
    await this.receive(connection);
  }

  /** False where nothing more has arrived. */
  private async readHeader(connection: Connection): Promise<boolean> {
    const { fd, header, restore } = connection;
    const got = native.socketReceive(fd, header, connection.headerBytes, 4 - connection.headerBytes);
    if (got === -EAGAIN) return false;
    if (got <= 0) throw hungUp(got);
    connection.headerBytes += got;
    if (connection.headerBytes < 4) return true;
    connection.headerBytes = 0;
    const value = new DataView(header.buffer).getInt32(0, true);
    if (value === FIN) {
      this.close(connection);
      await restore.finished();
      return false;
    }
    if (value === 0) throw new FaultlineError("PEER", "the restoring side sent pid 0");
    if (value < 0) restore.deadTask(-value);
    else connection.pid = value;
    return true;
  }

  private async readDescriptor(connection: Connection): Promise<boolean> {
    const uffd = native.socketReceiveDescriptor(connection.fd);
    if (uffd === -EAGAIN) return false;
    if (uffd === -ENODATA) throw new FaultlineError("PEER", `no descriptor came with task ${connection.pid}`);
    if (uffd < 0) throw hungUp(uffd === -EPIPE ? 0 : uffd);
    const { pid } = connection;
    connection.pid = 0;
    await connection.restore.task(pid, uffd);
    return true;
  }

  private close(connection: Connection): void {
    if (this.connections.delete(connection)) native.closeDescriptor(connection.fd);
  }

  private async fail(connection: Connection, error: FaultlineError): Promise<void> {
    this.close(connection);
    await connection.restore.failed(error);
  }

  /** Who has connected already is served: it may have sent all that it has. */
  private closeListener(): void {
    if (!this.listening) return;
    this.listening = false;
    native.socketEndReading(this.listener);
    while (this.accept());
    native.closeDescriptor(this.listener);
    if (existsSync(this.path)) unlinkSync(this.path);
  }
}

/** Which of the descriptors are readable, or have hung up. */
function pollReadable(fds: readonly number[], timeoutMs: number): Promise<boolean[]> {
  return new Promise((resolve, reject) => {
    native.pollReadable(Int32Array.from(fds), timeoutMs, (result, revents) => {
      if (result < 0) reject(new FaultlineError("SYSTEM", "waiting failed", { syscall: "poll", errno: -result }));
      else resolve(revents.map((events) => events !== 0));
    });
  });
}

function hungUp(result: number): FaultlineError {
  const why = result === 0 ? "hung up" : `failed (${errorName(-result)})`;
  return new FaultlineError("PEER", `the restoring side ${why} before it had finished`, {
    advice: "see the log of `criu restore`",
  });
}

function stopped(): FaultlineError {
  const why = "before the restoring side had handed over all its tasks";
  return new FaultlineError("ABORTED", `the pager was stopped with pages missing, ${why}`);
}

function silent(timeoutMs: number): FaultlineError {
  return new FaultlineError("TIMEOUT", `the restoring side was silent for ${timeoutMs / 1000} s`, {
    advice: "see the log of `criu restore`, or raise --timeout",
  });
}

/**
 * A listening socket at `path`, in place of one that nobody listens on any more. It gets its name when it listens already:
 * who sees the name can connect.
 */
function bind(path: string): number {
  const temporary = `${path}.${process.pid}`;
  if (Buffer.byteLength(temporary) > PATH_BYTES_MAX) {
    throw new FaultlineError("USAGE", `the socket's path is longer than ${PATH_BYTES_MAX} bytes`, {
      file: temporary,
      advice: "choose a work directory with a shorter path (-W)",
    });
  }
  if (existsSync(path) && !isAbandoned(path)) {
    throw new FaultlineError("BUSY", "another daemon listens there", {
      file: path,
      advice: "use another work directory (-W)",
    });
  }
  const fd = native.unixListen(temporary, BACKLOG);
  if (fd < 0)
    throw new FaultlineError("SYSTEM", "the socket cannot be bound", { file: path, syscall: "bind", errno: -fd });
  renameSync(temporary, path);
  return fd;
}

function isAbandoned(path: string): boolean {
  if (!lstatSync(path).isSocket()) return false;
  const probe = native.unixConnect(path);
  if (probe < 0) return true;
  native.closeDescriptor(probe);
  return false;
}
