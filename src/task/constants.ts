// Numbers of the x86-64 Linux kernel interface that src/task uses: system calls, ptrace, signals, prctl.
// Facts only (the uapi headers); no logic. Shared by dump and restore.

export const pageSize = 4096;

/** System call numbers (arch/x86/entry/syscalls/syscall_64.tbl). */
export const syscalls = {
  read: 0,
  write: 1,
  open: 2,
  close: 3,
  poll: 7,
  lseek: 8,
  mmap: 9,
  mprotect: 10,
  munmap: 11,
  brk: 12,
  rt_sigaction: 13,
  rt_sigprocmask: 14,
  rt_sigreturn: 15,
  ioctl: 16,
  pread64: 17,
  pwrite64: 18,
  readv: 19,
  writev: 20,
  mremap: 25,
  madvise: 28,
  shmget: 29,
  shmat: 30,
  shmctl: 31,
  dup: 32,
  dup2: 33,
  pause: 34,
  nanosleep: 35,
  getitimer: 36,
  setitimer: 38,
  getpid: 39,
  socket: 41,
  connect: 42,
  accept: 43,
  sendto: 44,
  recvfrom: 45,
  sendmsg: 46,
  recvmsg: 47,
  shutdown: 48,
  bind: 49,
  listen: 50,
  getsockname: 51,
  getpeername: 52,
  socketpair: 53,
  setsockopt: 54,
  getsockopt: 55,
  clone: 56,
  fork: 57,
  vfork: 58,
  execve: 59,
  exit: 60,
  wait4: 61,
  kill: 62,
  shmdt: 67,
  semop: 65,
  msgsnd: 69,
  msgrcv: 70,
  fcntl: 72,
  flock: 73,
  ftruncate: 77,
  chdir: 80,
  fchdir: 81,
  umask: 95,
  setuid: 105,
  setgid: 106,
  setpgid: 109,
  getppid: 110,
  setsid: 112,
  setreuid: 113,
  setregid: 114,
  setgroups: 116,
  setresuid: 117,
  setresgid: 119,
  setfsuid: 122,
  setfsgid: 123,
  capget: 125,
  capset: 126,
  rt_sigpending: 127,
  rt_sigtimedwait: 128,
  rt_sigqueueinfo: 129,
  rt_sigsuspend: 130,
  sigaltstack: 131,
  personality: 135,
  setpriority: 141,
  sched_setparam: 142,
  sched_setscheduler: 144,
  prctl: 157,
  arch_prctl: 158,
  setrlimit: 160,
  chroot: 161,
  gettid: 186,
  futex: 202,
  sched_setaffinity: 203,
  io_getevents: 208,
  set_tid_address: 218,
  restart_syscall: 219,
  semtimedop: 220,
  timer_create: 222,
  timer_settime: 223,
  timer_gettime: 224,
  timer_getoverrun: 225,
  timer_delete: 226,
  clock_gettime: 228,
  clock_nanosleep: 230,
  exit_group: 231,
  epoll_wait: 232,
  epoll_ctl: 233,
  tgkill: 234,
  waitid: 247,
  ioprio_set: 251,
  ioprio_get: 252,
  inotify_add_watch: 254,
  openat: 257,
  pselect6: 270,
  ppoll: 271,
  set_robust_list: 273,
  epoll_pwait: 281,
  timerfd_create: 283,
  timerfd_settime: 286,
  timerfd_gettime: 287,
  accept4: 288,
  signalfd4: 289,
  eventfd2: 290,
  epoll_create1: 291,
  dup3: 292,
  pipe2: 293,
  inotify_init1: 294,
  rt_tgsigqueueinfo: 297,
  recvmmsg: 299,
  prlimit64: 302,
  sched_setattr: 314,
  sched_getattr: 315,
  seccomp: 317,
  memfd_create: 319,
  userfaultfd: 323,
  membarrier: 324,
  io_pgetevents: 333,
  rseq: 334,
  pidfd_send_signal: 424,
  pidfd_open: 434,
  clone3: 435,
  close_range: 436,
  pidfd_getfd: 438,
  epoll_pwait2: 441,
  futex_waitv: 449,
  mseal: 462,
} as const;

const syscallNames = new Map<number, string>(Object.entries(syscalls).map(([name, number]) => [number, name]));

/** The name of a system call number, or "syscall N". */
export function syscallName(number: number): string {
  return syscallNames.get(number) ?? `syscall ${number}`;
}

/** ptrace(2) options and stops. */
export const ptraceOption = {
  traceSysgood: 1 << 0,
  traceFork: 1 << 1,
  traceVfork: 1 << 2,
  traceClone: 1 << 3,
  traceExec: 1 << 4,
  traceExit: 1 << 6,
  exitKill: 1 << 20,
  suspendSeccomp: 1 << 21,
} as const;

export const ptraceEvent = {
  fork: 1,
  vfork: 2,
  clone: 3,
  exec: 4,
  vforkDone: 5,
  exit: 6,
  seccomp: 7,
  stop: 128,
} as const;

/** Register sets of PTRACE_GETREGSET (linux/elf.h). */
export const registerSet = { general: 1, floatingPoint: 2, xstate: 0x202 } as const;

/** Signal numbers (asm/signal.h). */
export const signals = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGTRAP: 5,
  SIGKILL: 9,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGWINCH: 28,
} as const;
export const signalCount = 64;

/** kcmp(2) types. */
export const kcmpType = { file: 0, vm: 1, files: 2, fs: 3, sighand: 4, io: 5, sysvsem: 6, epollTarget: 7 } as const;

/** mmap(2). */
export const protection = { read: 1, write: 2, execute: 4 } as const;
export const mapFlag = {
  shared: 0x01,
  private: 0x02,
  /** In place of private, since Linux 6.11. */
  droppable: 0x08,
  fixed: 0x10,
  anonymous: 0x20,
  growsDown: 0x100,
  locked: 0x2000,
  noReserve: 0x4000,
  stack: 0x20000,
  hugeTlb: 0x40000,
  fixedNoReplace: 0x100000,
} as const;

/** The size of huge pages as mmap(2) and memfd_create(2) take it: its logarithm, in the upper bits. */
export function hugeSizeFlag(bytes: number): number {
  return (Math.log2(bytes) << 26) >>> 0;
}

/** prctl(2) operations. */
export const prctlOperation = {
  setPdeathSignal: 1,
  getPdeathSignal: 2,
  getDumpable: 3,
  setDumpable: 4,
  setKeepCapabilities: 8,
  setName: 15,
  getSeccomp: 21,
  setSeccomp: 22,
  capBsetRead: 23,
  capBsetDrop: 24,
  getTimestampCounter: 25,
  setTimestampCounter: 26,
  getSecurebits: 27,
  setSecurebits: 28,
  setTimerSlack: 29,
  getTimerSlack: 30,
  setMemoryErrorPolicy: 33,
  getMemoryErrorPolicy: 34,
  setMm: 35,
  setChildSubreaper: 36,
  getChildSubreaper: 37,
  setNoNewPrivs: 38,
  getNoNewPrivs: 39,
  getTidAddress: 40,
  setThpDisable: 41,
  getThpDisable: 42,
  capAmbient: 47,
  setDenyWriteExecute: 65,
  getDenyWriteExecute: 66,
  setMemoryMerge: 67,
  getMemoryMerge: 68,
  timerCreateRestoreIds: 77,
} as const;

/** PR_MCE_KILL_DEFAULT. */
export const memoryErrorPolicyDefault = 2;

/** sched(7). */
export const schedulingPolicy = { fifo: 1, roundRobin: 2, idle: 5, deadline: 6 } as const;

/** ioprio_set(2). */
export const ioPriority = { ofProcess: 1, classShift: 13, realtime: 1, bestEffort: 2, idle: 3 } as const;

/** Kernel-internal results that mean "restart this call" (linux/errno.h). */
export const restart = { sys: 512, noIntr: 513, noHand: 514, restartBlock: 516 } as const;
