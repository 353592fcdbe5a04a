// The addon's whole surface. Every function is positional and returns a number: the value, or a
// negative errno. Addresses, lengths and file offsets are bytes as exact integers below 2^53.
// Arguments are checked by the callers in src/, not here.

export interface Addon {
  // codec.cc
  /** The LZ4 library's version as major * 10000 + minor * 100 + release. */
  lz4Version(): number;

  // spawn.cc
  /** The stub program as a descriptor (a sealed memfd), or -errno. */
  stubOpen(): number;
  /** Runs the stub with that pid (0: any), in a session of its own if asked. The pid, or -errno (EEXIST: taken). */
  spawnStub(stub: number, pid: number, newSession: boolean): number;
  /** The wait(2) status of an ended child; -EAGAIN while it runs and `block` is false. */
  reap(pid: number, block: boolean): number;
  /** Calls back once when the descriptor (a pidfd: the process has ended) is readable. */
  onReadable(fd: number, callback: () => void): number;
  pidfdOpen(pid: number): number;
  pidfdSignal(pidfd: number, signal: number): number;
  prlimitSet(pid: number, resource: number, soft: bigint, hard: bigint): number;
  /** setsid(2) where possible, then descriptors 0, 1 and 2 onto `path`. */
  becomeBackground(path: string): number;
  /** Sends `message` with at most 64 descriptors (SCM_RIGHTS). Bytes sent, or -errno. */
  sendDescriptors(socket: number, message: Uint8Array, descriptors: Int32Array): number;
}
