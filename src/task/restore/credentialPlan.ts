// The privileges of a thread, given up last: scheduling, seccomp filters, ids, capabilities, securebits, and what the
// kernel clears when ids change. Pure but for the comparison with our own credentials, which the caller passes in.
//
// Everything else that a restore injects runs with our credentials, so these calls come after all of it.
import type { CredsEntry, SeccompFilter, ThreadCoreEntry } from "../../images/messages";
import type { Batch } from "../batch";
import { prctlOperation, schedulingPolicy, syscalls } from "../constants";
import { deadlineCall } from "./attributePlan";
import type { Script } from "./script";
import type { ThreadImage, TreeImage } from "./treeImage";

const capabilityVersion = 0x20080522;
const secureBit = { noSetuidFixup: 1 << 2, keepCapabilities: 1 << 4 } as const;
const ambient = { raise: 2, clearAll: 4 } as const;
const seccompMode = { disabled: 0, strict: 1, filter: 2 } as const;
const setModeFilter = 1;
const filterFlags = 2 | 4; // SECCOMP_FILTER_FLAG_LOG and _SPEC_ALLOW; the others act only on installation
const resetOnForkFlag = 0x40000000;
const policyMask = 0xff;

/** The capabilities this kernel knows: one bit each, as the image has them in pairs of words. */
export type Words = readonly [number, number];

const words = (list: readonly number[]): Words => [(list[0] ?? 0) >>> 0, (list[1] ?? 0) >>> 0];
const holds = (set: Words, capability: number): boolean =>
  (((set[capability >> 5] ?? 0) >>> (capability & 31)) & 1) === 1;

/** What we are ourselves, and so what every stub begins as. */
export interface OwnCredentials {
  readonly creds: CredsEntry;
  readonly lastCapability: number;
  readonly nice: number;
  readonly loginId: number | undefined;
}

export function credentialProblems(thread: ThreadImage, tree: TreeImage): string[] {
  const own = thread.core.thread_core as ThreadCoreEntry;
  const problems: string[] = [];
  const byDeadline = ((own.sched_policy ?? 0) & policyMask) === schedulingPolicy.deadline;
  if (byDeadline && own.attributes?.deadline === undefined) problems.push("deadline scheduling without its parameters");
  if (own.seccomp_mode === seccompMode.filter && filterChain(own, tree.seccompFilters) === undefined) {
    problems.push("its seccomp filters are not in the image");
  }
  return problems.map((problem) => `thread ${thread.tid}: ${problem}`);
}

/** The thread's filters, the one installed first at the front. */
function filterChain(own: ThreadCoreEntry, filters: readonly SeccompFilter[]): SeccompFilter[] | undefined {
  const chain: SeccompFilter[] = [];
  for (let index = own.seccomp_filter; index !== undefined; ) {
    const filter: SeccompFilter | undefined = filters[index];
    if (filter === undefined || chain.length > filters.length || filter.filter.length % 8 !== 0) return undefined;
    chain.unshift(filter);
    index = filter.prev;
  }
  return chain;
}

/** Whether a thread's calls must be exempt from seccomp from now on (PTRACE_O_SUSPEND_SECCOMP). */
export function usesSeccomp(thread: ThreadImage): boolean {
  return (thread.core.thread_core?.seccomp_mode ?? 0) !== seccompMode.disabled;
}

export function credentialCalls(script: Script, thread: ThreadImage, tree: TreeImage, mine: OwnCredentials): void {
  const own = thread.core.thread_core as ThreadCoreEntry;
  schedule(script, own, mine.nice);
  if (own.creds !== undefined && !sameCredentials(own.creds, mine.creds)) {
    // Filters that need no no_new_privs were installed with CAP_SYS_ADMIN, so they go in while it is there.
    installFilters(script, own, tree.seccompFilters);
    changeCredentials(script, own.creds, mine);
  } else installFilters(script, own, tree.seccompFilters);
  const batch = script.room(3);
  if ((own.creds?.no_new_privs ?? 0) !== 0) batch.call(syscalls.prctl, [prctlOperation.setNoNewPrivs, 1, 0, 0, 0]);
  if ((own.pdeath_sig ?? 0) !== 0) {
    batch.call(syscalls.prctl, [prctlOperation.setPdeathSignal, own.pdeath_sig ?? 0, 0, 0, 0]);
  }
  if (own.seccomp_mode === seccompMode.strict) {
    batch.call(syscalls.prctl, [prctlOperation.setSeccomp, seccompMode.strict, 0, 0, 0]);
  }
}

function schedule(script: Script, own: ThreadCoreEntry, nice: number): void {
  const mask = own.cpus_allowed ?? new Uint8Array();
  const batch = script.room(3, 96 + mask.length);
  // A machine without any of these processors lets the thread run anywhere.
  if (mask.length > 0) batch.call(syscalls.sched_setaffinity, [0, mask.length, batch.place(mask)], { tolerate: true });
  const { deadline, reset_on_fork: resetOnFork } = own.attributes ?? {};
  const policy = (own.sched_policy ?? 0) | (resetOnFork === true ? resetOnForkFlag : 0);
  if (deadline !== undefined) deadlineCall(batch, deadline);
  else if (policy !== 0) {
    const parameter = batch.place(new Uint8Array(new Int32Array([own.sched_prio ?? 0]).buffer));
    batch.call(syscalls.sched_setscheduler, [0, policy, parameter], { purpose: `scheduling policy ${policy}` });
  }
  if (own.sched_nice !== undefined && own.sched_nice !== nice) {
    batch.call(syscalls.setpriority, [0, 0, own.sched_nice], { purpose: `nice value ${own.sched_nice}` });
  }
}

function installFilters(script: Script, own: ThreadCoreEntry, filters: readonly SeccompFilter[]): void {
  if (own.seccomp_mode !== seccompMode.filter) return;
  for (const filter of filterChain(own, filters) ?? []) {
    const batch = script.room(1, filter.filter.length + 32);
    const code = batch.place(filter.filter);
    const program = batch.place(new Uint8Array(new BigUint64Array([BigInt(filter.filter.length / 8), 0n]).buffer));
    batch.point(program, 8, code);
    batch.call(syscalls.seccomp, [setModeFilter, (filter.flags ?? 0) & filterFlags, program], {
      purpose: "installing a seccomp filter",
    });
  }
}

function sameCredentials(a: CredsEntry, b: CredsEntry): boolean {
  const ids = ["uid", "gid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid", "secbits"] as const;
  const sets = ["cap_inh", "cap_prm", "cap_eff", "cap_bnd", "cap_amb"] as const;
  return (
    ids.every((id) => a[id] === b[id]) &&
    sets.every((set) => words(a[set])[0] === words(b[set])[0] && words(a[set])[1] === words(b[set])[1]) &&
    a.groups.join() === b.groups.join()
  );
}

function changeCredentials(script: Script, creds: CredsEntry, mine: OwnCredentials): void {
  const inheritable = words(creds.cap_inh);
  const full = words(mine.creds.cap_prm);
  const batch = script.room(mine.lastCapability * 2 + 32, creds.groups.length * 4 + 256);
  const setBits = (bits: number): void => {
    batch.call(syscalls.prctl, [prctlOperation.setSecurebits, bits, 0, 0, 0], { purpose: "securebits" });
  };
  // Without the fixup a change of ids leaves the capabilities alone.
  setBits(mine.creds.secbits | secureBit.noSetuidFixup | secureBit.keepCapabilities);
  setCapabilities(batch, full, full, inheritable);
  for (let capability = 0; capability <= mine.lastCapability; capability++) {
    if (holds(words(creds.cap_bnd), capability) || !holds(words(mine.creds.cap_bnd), capability)) continue;
    batch.call(syscalls.prctl, [prctlOperation.capBsetDrop, capability, 0, 0, 0]);
  }
  const groups = batch.place(new Uint8Array(new Uint32Array(creds.groups).buffer));
  batch.call(syscalls.setgroups, [creds.groups.length, groups]);
  batch.call(syscalls.setresgid, [creds.gid, creds.egid, creds.sgid]);
  batch.call(syscalls.setfsgid, [creds.fsgid]);
  batch.call(syscalls.setresuid, [creds.uid, creds.euid, creds.suid]);
  batch.call(syscalls.setfsuid, [creds.fsuid]);
  batch.call(syscalls.prctl, [prctlOperation.capAmbient, ambient.clearAll, 0, 0, 0], { tolerate: true });
  for (let capability = 0; capability <= mine.lastCapability; capability++) {
    if (!holds(words(creds.cap_amb), capability)) continue;
    batch.call(syscalls.prctl, [prctlOperation.capAmbient, ambient.raise, capability, 0, 0]);
  }
  setBits(creds.secbits);
  setCapabilities(batch, words(creds.cap_eff), words(creds.cap_prm), inheritable);
}

function setCapabilities(batch: Batch, effective: Words, permitted: Words, inheritable: Words): void {
  const header = batch.place(new Uint8Array(new Uint32Array([capabilityVersion, 0]).buffer));
  const [low, high] = [0, 1].map((half) => [effective[half], permitted[half], inheritable[half]]) as [
    number[],
    number[],
  ];
  const data = batch.place(new Uint8Array(new Uint32Array([...low, ...high]).buffer));
  batch.call(syscalls.capset, [header, data], { purpose: "setting capabilities" });
}
