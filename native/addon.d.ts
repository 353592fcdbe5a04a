// The addon's whole surface. Every function is positional and returns a number: the value, or a
// negative errno. Addresses, lengths and file offsets are bytes as exact integers below 2^53.
// Arguments are checked by the callers in src/, not here.

export interface Addon {
  // ahead.cc: one ring of decoded blocks, and the helper thread that fills it, for each thread that calls. Ten numbers a run:
  // address, descriptor, codec, offset, stored bytes, pages of the block, checksum or -1, pages to skip, pages wanted, and
  // the ticket of aheadPush or -1.
  /** Before the others; 0 also where it was done before. -ENOMEM; another -errno: there is no helper, all else works. */
  aheadStart(slots: number, slotBytes: number): number;
  aheadStop(): number;
  /** Queues the blocks of runs [first, end) and sets their tickets; how many found a free slot, from the first on. */
  aheadPush(runs: Float64Array, first: number, end: number): number;
  /** Forgets the blocks of runs [first, end). The helper has descriptors of its own: those of the runs may be closed. */
  aheadDrop(runs: Float64Array, first: number, end: number): number;
  /**
   * Installs runs [first, end), whose blocks fit a slot, one after the other; between two of them looks whether `watched`
   * (-1: nothing) is readable. Answers how many are there whole; out = [pages installed of the one behind them, why it ended:
   * 0 all done, 1 readable, the -errno of UFFDIO_COPY or a number of blockLoad].
   */
  installRuns(uffd: number, watched: number, runs: Float64Array, first: number, end: number, out: Float64Array): number;

  // analyze.cc
  /**
   * Shannon entropy of each of `pageCount` 4096-byte pages in hundredths of a bit per byte (0 to 800), 65535 for a
   * page of zeros; into `out`. Returns pageCount.
   */
  pageEntropies(bytes: Uint8Array, pageCount: number, out: Uint16Array): number;
  /** The size that one LZ4 block of `length` bytes from `offset` would have; may exceed `length`. */
  compressedBytes(bytes: Uint8Array, offset: number, length: number): number;

  // codec.cc
  /** The LZ4 library's version as major * 10000 + minor * 100 + release. */
  lz4Version(): number;
  /** XXH32 with seed 0 of bytes[offset, offset + length). */
  xxh32(bytes: Uint8Array, offset: number, length: number): number;
  /** 1 where bytes[offset, offset + length) are all zero, else 0. */
  isZero(bytes: Uint8Array, offset: number, length: number): number;
  /**
   * Encodes source[offset, offset + length) into out at outOffset (room for `length` bytes). Level 0: LZ4; 1 to 12: LZ4-HC.
   * Returns the stored bytes: 0 = all zero, length = raw, else an LZ4 block.
   */
  encodeBlock(
    source: Uint8Array,
    offset: number,
    length: number,
    level: number,
    out: Uint8Array,
    outOffset: number,
  ): number;
  /**
   * Decodes one block of BlockCodec `codec` into exactly outBytes of `out`; checksum -1 for none. 0, or -EBADMSG (checksum),
   * -EILSEQ (does not decode to that length), -EINVAL.
   */
  decodeBlock(
    stored: Uint8Array,
    storedOffset: number,
    storedBytes: number,
    codec: number,
    checksum: number,
    out: Uint8Array,
    outOffset: number,
    outBytes: number,
  ): number;
  /** The same for a block at `offset` of a file; also -ENODATA where the file ends inside it, and pread(2)'s errors. */
  readBlock(
    fd: number,
    offset: number,
    storedBytes: number,
    codec: number,
    checksum: number,
    out: Uint8Array,
    outOffset: number,
    outBytes: number,
  ): number;
  /**
   * On libuv's pool: with fd >= 0 fills `source` from that file at `offset`; then encodes blockCount blocks of
   * blockPages[i] pages each, from byte starts[i] of `source`, one behind the other, into `out` (as large as they are). Sets sizes[i] and sums[i].
   * Resolves to the bytes used in `out`, or a negative errno (-ENODATA: the file ended early).
   */
  packBlocks(
    fd: number,
    offset: number,
    source: Uint8Array,
    starts: Float64Array,
    blockPages: Uint32Array,
    blockCount: number,
    level: number,
    out: Uint8Array,
    sizes: Uint32Array,
    sums: Uint32Array,
  ): Promise<number>;
  /**
   * On libuv's pool: reads blocks [first, end) into `stored`, checks and decodes them into `out`; with outFd >= 0 writes
   * them at firstPages[i] * 4096 of that file, leaving zero blocks as holes. offsets and firstPages have one element more
   * than there are blocks. Resolves to 0 or a negative errno as readBlock and pwrite(2) give.
   */
  unpackBlocks(
    fd: number,
    offsets: Float64Array,
    firstPages: Float64Array,
    sums: Uint32Array,
    first: number,
    end: number,
    stored: Uint8Array,
    out: Uint8Array,
    outFd: number,
  ): Promise<number>;

  // lock.cc
  /** flock(2), exclusive, without waiting: 0, or -EAGAIN where another process has it. Closing `fd` gives it back. */
  lockExclusive(fd: number): number;

  // readahead.cc
  /** posix_fadvise(2), WILLNEED: the part of the file will be read soon. 0, or -errno. */
  readAhead(fd: number, offset: number, bytes: number): number;
  /** sync_file_range(2), WRITE: the part of the file starts to go to the disk, nobody waits for it. 0, or -errno. */
  writeBehind(fd: number, offset: number, bytes: number): number;

  // cpu.cc
  /** CPUID leaf 0xD: (offset, size) in the standard XSAVE area of each component, bytes; 0 where there is none. */
  xstateLayout(pairs: Uint32Array): number;

  // serve.cc: what a wait may answer by itself, for each userfaultfd of the calling thread. A plan is dropped when a message
  // other than a fault is read; uffdRead gives that and what was not answered.
  /** A new plan for the descriptor, which is waited on as `token`; four numbers a range: page, pages, table, image page. Ranges
   * are in order. 0 or -ENOMEM. */
  serveBegin(uffd: number, token: number, ranges: Float64Array): number;
  /** Its next table (src/images/pageTable.ts); without `offsets` a raw file. */
  serveTable(
    uffd: number,
    starts: Float64Array,
    counts: Float64Array,
    flags: Uint8Array,
    filePages: Float64Array,
    runCount: number,
    fd: number,
    rawBlockPages: number,
    offsets: Float64Array | undefined,
    firstPages: Float64Array | undefined,
    checksums: Uint32Array | undefined,
    places: Uint32Array | undefined,
    blockCount: number,
  ): number;
  serveStart(uffd: number): number;
  servePause(uffd: number): number;
  /** Before the descriptor is closed. */
  serveEnd(uffd: number): number;

  // spawn.cc
  /** The stub program as a descriptor (a sealed memfd), or -errno. */
  stubOpen(): number;
  /** Runs the stub with that pid (0: any), in a session of its own if asked. The pid, or -errno (EEXIST: taken). */
  spawnStub(stub: number, pid: number, newSession: boolean): number;
  /** The wait(2) status of an ended child; -EAGAIN while it runs and `block` is false. */
  reap(pid: number, block: boolean): number;
  /** Calls back once when the descriptor (a pidfd: the process has ended) is readable. Does not keep the event loop alive. */
  onReadable(fd: number, callback: () => void): number;
  /** `flags`: those of pidfd_open(2), none where left out. */
  pidfdOpen(pid: number, flags?: number): number;
  pidfdSignal(pidfd: number, signal: number): number;
  /** shmctl(2), IPC_RMID: the System V segment goes away with its last attachment. */
  removeSegment(id: number): number;
  prlimitSet(pid: number, resource: number, soft: bigint, hard: bigint): number;
  /** Sets limits 0, 1 and so on, each a pair of numbers (soft, hard); `errors` has an errno for each, or 0. How many failed. */
  prlimitSetAll(pid: number, limits: BigUint64Array, errors: Int32Array): number;
  /** Our own hard limit: RLIM_INFINITY is 2^64 - 1. */
  hardLimit(resource: number): bigint;
  /** setsid(2) where possible, then descriptors 0, 1 and 2 onto `path`. */
  becomeBackground(path: string): number;
  /** Runs a program in a session of its own, with /dev/null as its only descriptors and no environment; its pid or -errno. */
  spawnAside(path: string, argument: string): number;
  /** Runs the watchdog program with a socket as descriptor 3; out = [our end, its pid]. */
  spawnWatchdog(path: string, policy: string, out: Int32Array): number;
  /** Sends `message` with at most 64 descriptors (SCM_RIGHTS). Bytes sent, or -errno. */
  sendDescriptors(socket: number, message: Uint8Array, descriptors: Int32Array): number;

  // search.cc
  /**
   * Places in bytes[from, end) where a whole needle begins, overlapping ones too, into `hits`; how many. hits.length means
   * that there may be more. The needle has a byte other than zero, or is slow.
   */
  findBytes(bytes: Uint8Array, from: number, end: number, needle: Uint8Array, hits: Uint32Array): number;
  /**
   * On libuv's pool: decodes pages of blocks one behind the other into `out` and finds the needle in them as findBytes does
   * (an empty one is not looked for). Nine numbers an item: fd, codec, offset, stored bytes, checksum or -1, pages of the
   * block, pages to skip, pages wanted, 1 where its addresses follow the item before. Resolves to the number of hits, or a
   * negative errno as readBlock has it, with the item's index in hits[0].
   */
  searchBlocks(
    plan: Float64Array,
    itemCount: number,
    needle: Uint8Array,
    out: Uint8Array,
    hits: Uint32Array,
  ): Promise<number>;
  /** lseek(2) to the next data from `offset` on, or to the next hole; -ENXIO: there is none. */
  seekExtent(fd: number, offset: number, hole: 0 | 1): number;

  // uffd.cc: userfaultfd(2). Installs answer the bytes done (a partial result counts as success) or a negative errno.
  /** userfaultfd(O_CLOEXEC | O_NONBLOCK | flags): the descriptor. */
  uffdCreate(flags: number): number;
  /** UFFDIO_API; out = [features, ioctls]. */
  uffdApi(fd: number, features: number, out: Float64Array): number;
  /** UFFDIO_REGISTER; answers the low 32 bits of the ioctls that the range allows. */
  uffdRegister(fd: number, address: number, length: number, mode: number): number;
  uffdUnregister(fd: number, address: number, length: number): number;
  uffdWake(fd: number, address: number, length: number): number;
  uffdZero(fd: number, address: number, length: number): number;
  uffdContinue(fd: number, address: number, length: number): number;
  uffdPoison(fd: number, address: number, length: number): number;
  uffdWriteProtect(fd: number, address: number, length: number, mode: number): number;
  uffdCopy(fd: number, address: number, bytes: Uint8Array, offset: number, length: number): number;
  /**
   * Puts pages [skip, skip + count) of a stored block into `into`, each at its place in the whole block. 0, or
   * -10001 the file ends early, -10002 wrong checksum, -10003 does not decode, -20000 - errno the read failed.
   * `scratch` and `into` hold a whole block.
   */
  blockLoad(
    fd: number,
    codec: number,
    offset: number,
    storedBytes: number,
    pageCount: number,
    checksum: number,
    skip: number,
    count: number,
    scratch: Uint8Array,
    into: Uint8Array,
  ): number;
  /** blockLoad and UFFDIO_COPY of the same pages to `address` in one call; the results of either. */
  uffdInstall(
    uffd: number,
    address: number,
    fd: number,
    codec: number,
    offset: number,
    storedBytes: number,
    pageCount: number,
    checksum: number,
    skip: number,
    count: number,
    scratch: Uint8Array,
    into: Uint8Array,
  ): number;
  /**
   * Reads the queued messages that fit, four numbers each: the event, then fault: flags, address, thread id; fork:
   * descriptor; remap: from, to, length; remove and unmap: start, end. Answers how many.
   */
  uffdRead(fd: number, out: Float64Array): number;

  // wait.cc
  epollCreate(): number;
  epollAdd(epoll: number, fd: number, token: number): number;
  epollRemove(epoll: number, fd: number): number;
  /**
   * Spins, then sleeps until a descriptor is readable or timeoutUs have passed (negative: for ever); tokens to out. With
   * `served` it answers by itself what the plans of serve.cc allow, and looks on until no more has come for lingerUs or mostUs
   * have passed: served = [entries, then eleven numbers an entry: token; 0 a fault or 1 more pages of its block; page; pages
   * installed (0: it was there, and its threads were woken); and of a fault thread id, when it was read and answered (monotonicUs), 1 for
   * a write + 2 where the rest of the block came too; the pages [first, end) of the block that the layout's range holds; codec].
   */
  epollWait(
    epoll: number,
    timeoutUs: number,
    spinUs: number,
    lingerUs: number,
    mostUs: number,
    out: Float64Array,
    served: Float64Array | undefined,
  ): number;
  eventfdCreate(): number;
  eventfdSignal(fd: number): number;
  eventfdClear(fd: number): number;
  closeDescriptor(fd: number): number;
  duplicateDescriptor(fd: number): number;
  /** poll(2) for POLLIN in libuv's pool; timeoutMs -1 waits for ever. */
  pollReadable(
    descriptors: Int32Array,
    timeoutMs: number,
    callback: (result: number, revents: readonly number[]) => void,
  ): number;
  /** CPU time used by the calling thread, microseconds. */
  /** 1 where the calling thread has lately waited for a processor for more than a quarter of the time; else 0. */
  contended(): number;
  threadCpuUs(): number;
  /** CLOCK_MONOTONIC, microseconds with a fraction. */
  monotonicUs(): number;

  // socket.cc: unix stream sockets with SCM_RIGHTS.
  unixListen(path: string, backlog: number): number;
  unixConnect(path: string): number;
  /** A non-blocking connection. */
  socketAccept(fd: number): number;
  /** At most length bytes, without waiting; 0: the peer hung up. */
  socketReceive(fd: number, bytes: Uint8Array, offset: number, length: number): number;
  /** One byte and the descriptor sent with it. -ENODATA: none came with the byte; -EPIPE: the peer hung up. */
  socketReceiveDescriptor(fd: number): number;
  socketSend(fd: number, bytes: Uint8Array, offset: number, length: number): number;
  /** shutdown(2) with SHUT_RD: peers that send or connect from now on fail; what has arrived can still be received. */
  socketEndReading(fd: number): number;
  /** The pid of the process that connected (SO_PEERCRED). */
  socketPeerPid(fd: number): number;
  /** The effective user of the process that connected (SO_PEERCRED). */
  socketPeerUid(fd: number): number;

  // files.cc
  /** The first bytes of a file, in one read. */
  readStart(path: string, buffer: Uint8Array): number;
  /**
   * stat(2) of many paths, each with its NUL: five numbers for each, device, inode, size and the times of the last change in
   * milliseconds (content, inode); -errno and zeros where it fails. How many paths there are.
   */
  statAll(paths: Uint8Array, out: Float64Array): number;

  // ptrace.cc: ptrace(2). Every call for one tracee must come from one OS thread.
  ptraceSeize(tid: number, options: number): number;
  ptraceInterrupt(tid: number): number;
  ptraceContinue(tid: number, signal: number): number;
  ptraceSyscall(tid: number, signal: number): number;
  ptraceListen(tid: number): number;
  ptraceDetach(tid: number, signal: number): number;
  ptraceSetOptions(tid: number, options: number): number;
  /** Returns the size of the regset in bytes (at most the buffer's). */
  ptraceGetRegset(tid: number, type: number, buffer: ArrayBufferView): number;
  ptraceSetRegset(tid: number, type: number, buffer: ArrayBufferView): number;
  ptraceGetSigmask(tid: number, mask: BigUint64Array): number;
  ptraceSetSigmask(tid: number, mask: BigUint64Array): number;
  /** The siginfo_t (128 bytes) of a signal-delivery-stop. */
  ptraceGetSiginfo(tid: number, buffer: ArrayBufferView): number;
  /** Reads queued signals, 128 bytes each, without taking them; returns their number. */
  ptracePeekSiginfo(tid: number, shared: number, offset: number, buffer: ArrayBufferView): number;
  /** struct ptrace_rseq_configuration, 24 bytes: u64 pointer, u32 size, u32 signature, u32 flags. */
  ptraceGetRseq(tid: number, buffer: ArrayBufferView): number;
  ptraceGetSyscallInfo(tid: number, buffer: ArrayBufferView): number;
  ptraceGetEventMessage(tid: number): number;
  /** The number of BPF instructions (8 bytes each) of a task's seccomp filter, the latest first; an empty buffer asks for it only. */
  ptraceSeccompFilter(tid: number, index: number, buffer: ArrayBufferView): number;
  /** struct seccomp_metadata: u64 index (in), u64 flags (out). */
  ptraceSeccompMetadata(tid: number, buffer: ArrayBufferView): number;
  /** waitpid(2) with __WALL and a limit (WNOWAIT too, as waitid(2) has it): the task that changed, or 0 when the time is up. timeoutMs 0 polls. */
  waitTask(tid: number, options: number, timeoutMs: number, status: Int32Array): number;
  vmRead(pid: number, address: number, buffer: ArrayBufferView): number;
  vmWrite(pid: number, address: number, buffer: ArrayBufferView): number;
  /** Begins process_vm_readv of many (address, length) pairs, dense into `destination`. Returns a number for endCopy. */
  startCopy(pid: number, ranges: Float64Array, destination: ArrayBufferView): number;
  /** Waits for a copy, once; returns the bytes read before the first failure. */
  endCopy(copy: number): number;
  /** pread(2) and pwrite(2). */
  readAt(fd: number, offset: number, buffer: ArrayBufferView): number;
  writeAt(fd: number, offset: number, buffer: ArrayBufferView): number;
  /** pwrite(2) of many (offset, length) pairs from `bytes`, which has them one after the other; the bytes written. */
  writeRanges(fd: number, ranges: Float64Array, bytes: ArrayBufferView): number;
  pidfdGetfd(pidfd: number, fd: number): number;
  tgkill(pid: number, tid: number, signal: number): number;
  /** kcmp(2): 0 equal, 1 less, 2 greater, 3 different. */
  kcmp(pid1: number, pid2: number, type: number, index1: number, index2: number): number;
  /** 0 where `fd` of `pid` is the file that the epoll set calls `target`, the one at `offset` of those that it calls so. */
  epollTarget(pid: number, fd: number, epollPid: number, epoll: number, target: number, offset: number): number;
  /**
   * PAGEMAP_SCAN: masks are (inverted, all of, any of, returned); regions get (start, end, categories); walkEnd[0] says
   * where the walk ended, which may be early. Returns the number of regions.
   */
  pagemapScan(
    fd: number,
    start: number,
    end: number,
    masks: Float64Array,
    regions: BigUint64Array,
    walkEnd: Float64Array,
  ): number;
  /** Copies the in-target agent's machine code into `buffer`, its entries' offsets [leave] too; returns its length. */
  agentCode(buffer: Uint8Array, entries: Int32Array): number;
  /** The same for the bridge: offsets of [way back, state]. */
  bridgeCode(buffer: Uint8Array, entries: Int32Array): number;

  // fdstate.cc: descriptors duplicated out of a target, and buffers for its memory.
  fcntlNumber(fd: number, command: number, argument: number): number;
  fcntlBuffer(fd: number, command: number, buffer: NodeJS.TypedArray): number;
  ioctlNumber(fd: number, request: number, argument: number): number;
  ioctlBuffer(fd: number, request: number, buffer: NodeJS.TypedArray): number;
  /** lseek(2). */
  seekTo(fd: number, offset: number, whence: number): number;
  /** linkat(2) with AT_SYMLINK_FOLLOW: another name for what `from` (also /proc/PID/fd/N) leads to. */
  linkFile(from: string, to: string): number;
  /** Returns the length of the value, bytes. */
  getSocketOption(fd: number, level: number, name: number, buffer: NodeJS.TypedArray): number;
  setSocketOption(fd: number, level: number, name: number, buffer: NodeJS.TypedArray): number;
  /** getsockname(2), or getpeername(2) where `peer` is 1; returns the address's length. */
  socketName(fd: number, peer: number, buffer: NodeJS.TypedArray): number;
  /**
   * The unread bytes of a pipe, which stay in it. `reads` gets the number of reads that it took and the length of each: in
   * packet mode (O_DIRECT of pipe(2)) these are the packets.
   */
  pipePeek(fd: number, buffer: Uint8Array, reads: Int32Array): number;
  /** One packet at the peek offset; facts = [descriptors, name length, flags]. Returns its full length. */
  packetPeek(fd: number, buffer: Uint8Array, fds: Int32Array, facts: Int32Array, name: Uint8Array): number;
  /** socket(2). */
  openSocket(family: number, type: number, protocol: number): number;
  /** readlinkat(2) of an O_PATH descriptor of a symbolic link; the length of the target, bytes. */
  linkTarget(fd: number, buffer: Uint8Array): number;
  /** recv(2) with MSG_PEEK, without waiting: the bytes got. */
  streamPeek(fd: number, buffer: Uint8Array): number;
  /** Attaches a socket filter that drops every packet. */
  dropIncoming(fd: number): number;
  /** A netlink dump request and its whole answer; returns the answer's length. */
  netlinkDump(protocol: number, request: Uint8Array, answer: Uint8Array): number;
  /** open_by_handle_at(2) with O_PATH; `mount` is a descriptor of any file there. */
  openByHandle(mount: number, type: number, handle: Uint8Array): number;

  // populate.cc
  /** Populated anonymous memory, or a negative errno. */
  allocatePages(bytes: number): ArrayBuffer | number;
  /** Anonymous memory that is yet to be populated, or a negative errno. */
  mapPages(bytes: number): ArrayBuffer | number;
  /** Begins to populate all of them by threads. Returns a number for endPopulation. */
  startPopulation(buffers: ArrayBuffer[]): number;
  /** Waits for it, once; 0 or a negative errno. */
  endPopulation(population: number): number;
}
