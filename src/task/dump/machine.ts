// What this machine and this process can do: the kernel features and capabilities that dump and restore need, probed by
// trying. Answers facts with advice; decides nothing.
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { native } from "../../native";
import { kcmpType } from "../constants";
import { parseFields, statusMask } from "../proc";

export interface Finding {
  /** Stable name, for scripts. */
  readonly name: string;
  readonly ok: boolean;
  /** Without it nothing works; otherwise only a part does not. */
  readonly required: boolean;
  /** What is so, and what to do where it is not. */
  readonly text: string;
}

/** Bits of capabilities(7). */
const capability = { sysPtrace: 19, sysAdmin: 21, sysResource: 24, checkpointRestore: 40 } as const;

function hasCapability(bit: number): boolean {
  const status = parseFields(readFileSync("/proc/self/status", "latin1"));
  return (statusMask(status, "CapEff") & (1n << BigInt(bit))) !== 0n;
}

function capabilityFindings(): Finding[] {
  const ptrace = hasCapability(capability.sysPtrace);
  const checkpoint = hasCapability(capability.checkpointRestore) || hasCapability(capability.sysAdmin);
  return [
    {
      name: "CAP_SYS_PTRACE",
      ok: ptrace,
      required: true,
      text: ptrace ? "may trace any process" : "cannot trace other users' processes; run as root",
    },
    {
      name: "CAP_CHECKPOINT_RESTORE",
      ok: checkpoint,
      required: true,
      text: checkpoint ? "may choose pids and read mapped files" : "cannot restore pids; run as root",
    },
    {
      name: "CAP_SYS_ADMIN",
      ok: hasCapability(capability.sysAdmin),
      required: false,
      text: "needed for programs under seccomp filters",
    },
  ];
}

function pagemapScan(): boolean {
  const fd = openSync("/proc/self/pagemap", "r");
  try {
    const masks = new Float64Array([0, 0, 8, 8]);
    return native.pagemapScan(fd, 0, 4096, masks, new BigUint64Array(3), new Float64Array(1)) >= 0;
  } finally {
    closeSync(fd);
  }
}

function probe(name: string, ok: boolean, required: boolean, need: string): Finding {
  return { name, ok, required, text: ok ? "works" : need };
}

/** pidfd_getfd(2) of this very process's standard error, closed again. */
function pidfdGetfd(): boolean {
  const pidfd = native.pidfdOpen(process.pid);
  if (pidfd < 0) return false;
  const copy = native.pidfdGetfd(pidfd, 2);
  if (copy >= 0) closeSync(copy);
  closeSync(pidfd);
  return copy >= 0;
}

function userfaultfd(): boolean {
  const fd = native.uffdCreate(0);
  if (fd < 0) return false;
  closeSync(fd);
  return true;
}

function kernelFindings(): Finding[] {
  const { pid } = process;
  return [
    probe("PAGEMAP_SCAN", pagemapScan(), true, "the kernel lacks it; Linux 6.7 or newer is needed"),
    probe("pidfd_getfd", pidfdGetfd(), true, "the kernel lacks it; Linux 5.6 or newer is needed"),
    probe("kcmp", native.kcmp(pid, pid, kcmpType.vm, 0, 0) === 0, true, "build the kernel with CONFIG_KCMP"),
    probe(
      "children",
      existsSync(`/proc/self/task/${pid}/children`),
      true,
      "build the kernel with CONFIG_PROC_CHILDREN",
    ),
    probe("map_files", existsSync("/proc/self/map_files"), true, "build the kernel with CONFIG_CHECKPOINT_RESTORE"),
    probe("timers", existsSync("/proc/self/timers"), true, "build the kernel with CONFIG_CHECKPOINT_RESTORE"),
    probe("vdso", readFileSync("/proc/self/maps", "latin1").includes("[vdso]"), true, "boot without vdso=0"),
    probe("userfaultfd", userfaultfd(), false, "lazy restore is not possible; CONFIG_USERFAULTFD, and root"),
  ];
}

export function machineFindings(): Finding[] {
  return [...capabilityFindings(), ...kernelFindings()];
}
