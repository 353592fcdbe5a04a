// Our own credentials, from /proc: what every stub begins with, and what restored threads' are compared to.
import { readFileSync } from "node:fs";
import { getPriority } from "node:os";
import type { CredsEntry } from "../../images/messages";
import { native } from "../../native";
import { ownLoginId } from "./attributePlan";
import type { OwnCredentials } from "./credentialPlan";

const prctlSecurebitsUnknown = 0;

let last:
  | { readonly text: string; readonly nice: number; readonly loginId: number | undefined; readonly own: OwnCredentials }
  | undefined;
let lastCapability: number | undefined;
const buffer = Buffer.alloc(64 * 1024);

/** Read anew for each restore, as a resident process may have changed; the same value while it has not. proc(5). */
export function readOwnCredentials(): OwnCredentials {
  const nice = getPriority();
  const text = credentialLines(readStatus());
  const loginId = ownLoginId();
  if (last === undefined || last.text !== text || last.nice !== nice || last.loginId !== loginId) {
    last = { text, nice, loginId, own: { ...parse(text), nice, loginId } };
  }
  return last.own;
}

/** In one read, unless it is too long for that (a task in very many groups). */
function readStatus(): string {
  const file = "/proc/thread-self/status";
  const length = native.readStart(file, buffer);
  return length >= 0 && length < buffer.length ? buffer.toString("latin1", 0, length) : readFileSync(file, "latin1");
}

/** Other lines count context switches and the like. */
function credentialLines(status: string): string {
  const ids = status.slice(status.indexOf("\nUid:"), status.indexOf("\n", status.indexOf("\nGroups:") + 1));
  return ids + status.slice(status.indexOf("\nCapInh:"), status.indexOf("\n", status.indexOf("\nCapAmb:") + 1));
}

function parse(text: string): Pick<OwnCredentials, "creds" | "lastCapability"> {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
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
  lastCapability ??= Number(readFileSync("/proc/sys/kernel/cap_last_cap", "latin1"));
  return { creds, lastCapability };
}
