// Our own credentials, from /proc: what every stub begins with, and what restored threads' are compared to.
import { readFileSync } from "node:fs";
import { getPriority } from "node:os";
import type { CredsEntry } from "../../images/messages";
import type { OwnCredentials } from "./credentialPlan";

const prctlSecurebitsUnknown = 0;

/** Read anew for each restore: a resident process may have changed. proc(5). */
export function readOwnCredentials(): OwnCredentials {
  const fields = new Map<string, string>();
  for (const line of readFileSync("/proc/thread-self/status", "latin1").split("\n")) {
    const at = line.indexOf(":");
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 1).trim());
  }
  const numbers = (name: string): number[] => (fields.get(name) ?? "").split(/\s+/).filter(Boolean).map(Number);
  const set = (name: string): number[] => {
    const bits = BigInt(`0x${fields.get(name) ?? "0"}`);
    return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
  };
  const [uid, euid, suid, fsuid] = numbers("Uid") as [number, number, number, number];
  const [gid, egid, sgid, fsgid] = numbers("Gid") as [number, number, number, number];
  const creds: CredsEntry = {
    uid,
    gid,
    euid,
    egid,
    suid,
    sgid,
    fsuid,
    fsgid,
    cap_inh: set("CapInh"),
    cap_prm: set("CapPrm"),
    cap_eff: set("CapEff"),
    cap_bnd: set("CapBnd"),
    cap_amb: set("CapAmb"),
    secbits: prctlSecurebitsUnknown,
    groups: numbers("Groups"),
  };
  const lastCapability = Number(readFileSync("/proc/sys/kernel/cap_last_cap", "latin1"));
  return { creds, lastCapability, nice: getPriority() };
}
