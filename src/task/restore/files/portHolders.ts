// Who holds a TCP or UDP port that a restored socket needs: what proc_net(5) and the descriptors of all processes tell,
// put in one sentence for the error. Asked for only after bind(2) failed; what it finds may have changed since.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** States of proc_net(5), as the kernel numbers them (include/net/tcp_states.h). */
const stateNames: readonly string[] = [
  "UNKNOWN",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
  "NEW_SYN_RECV",
];
/** More holders than these are only counted. */
const holdersMax = 3;
const anyAddresses: readonly string[] = ["0.0.0.0", "::"];

export interface PortHolder {
  readonly protocol: "TCP" | "UDP";
  readonly address: string;
  readonly port: number;
  readonly peer: { readonly address: string; readonly port: number };
  readonly state: string;
  /** 0 where no process has the socket any more, as in TIME_WAIT. */
  readonly inode: number;
}

/** An address as proc_net(5) prints it: words of eight digits in the machine's byte order. */
function addressText(digits: string): string {
  const bytes = Buffer.from(digits, "hex");
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  return textOf(bytes);
}

/** IPv4 in IPv6 is told as what it is: the two families share their ports. */
function textOf(bytes: Buffer): string {
  const isMapped = bytes.length === 16 && bytes.subarray(0, 12).equals(Buffer.from("00000000000000000000ffff", "hex"));
  if (bytes.length === 4 || isMapped) return [...bytes.subarray(-4)].join(".");
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1); // which knows how to shorten it
}

/** The sockets of one list, `text`, whose own port is `port`. */
export function parsePortHolders(text: string, protocol: "TCP" | "UDP", port: number): PortHolder[] {
  const found: PortHolder[] = [];
  for (const line of text.split("\n").slice(1)) {
    const words = line.trim().split(/\s+/);
    const [own, peer] = [words[1]?.split(":"), words[2]?.split(":")];
    if (own?.[1] === undefined || peer?.[1] === undefined || Number.parseInt(own[1], 16) !== port) continue;
    const state = Number.parseInt(words[3] ?? "0", 16);
    found.push({
      protocol,
      port,
      address: addressText(own[0] as string),
      peer: { address: addressText(peer[0] as string), port: Number.parseInt(peer[1], 16) },
      state: stateNames[state] ?? `state ${state}`,
      inode: Number(words[9] ?? 0),
    });
  }
  return found;
}

/** Whether two sockets with the same port stand in each other's way, if nobody shares. */
function overlap(one: string, other: string): boolean {
  return one === other || anyAddresses.includes(one) || anyAddresses.includes(other);
}

/** The sockets in the network namespace of task `pid` that keep `port` at `address` (bytes as on the wire) from it. */
export function portHolders(pid: number, protocol: "TCP" | "UDP", address: Uint8Array, port: number): PortHolder[] {
  const name = protocol.toLowerCase();
  const wanted = textOf(Buffer.from(address));
  return [name, `${name}6`]
    .flatMap((list) => parsePortHolders(readOrNothing(`/proc/${pid}/net/${list}`), protocol, port))
    .filter((holder) => overlap(holder.address, wanted))
    .sort((a, b) => Number(b.state === "LISTEN") - Number(a.state === "LISTEN") || Number(b.inode) - Number(a.inode));
}

/** A machine without IPv6 has no lists for it, and a process may end while we look. */
function readOrNothing(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}

/** The processes that have a socket open: pid and name. */
function ownersOf(inode: number): { pid: number; name: string }[] {
  const wanted = `socket:[${inode}]`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => listOrNothing(`/proc/${pid}/fd`).some((fd) => linkOrNothing(`/proc/${pid}/fd/${fd}`) === wanted))
    .map((pid) => ({ pid: Number(pid), name: readOrNothing(`/proc/${pid}/comm`).trim() }));
}

function listOrNothing(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // ended, or another user's
  }
}

function linkOrNothing(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return ""; // closed meanwhile
  }
}

function describe(holder: PortHolder): string {
  const place = (address: string, port: number): string =>
    address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  const peer = holder.peer.port === 0 ? "" : ` with ${place(holder.peer.address, holder.peer.port)}`;
  const owners = holder.inode === 0 ? [] : ownersOf(holder.inode).slice(0, holdersMax);
  const by = owners.length === 0 ? "" : `, of ${owners.map(({ pid, name }) => `pid ${pid} (${name})`).join(", ")}`;
  // A UDP socket has no state to speak of.
  const state = holder.protocol === "TCP" ? ` ${holder.state}` : "";
  return `${holder.protocol} ${place(holder.address, holder.port)}${state}${peer}${by}`;
}

/** Who has the port and what to do next, as the advice of an error. */
export function portAdvice(pid: number, protocol: "TCP" | "UDP", address: Uint8Array, port: number): string {
  const holders = portHolders(pid, protocol, address, port);
  if (holders.length === 0) {
    return `/proc/net/${protocol.toLowerCase()} has no such socket now: restore again; if that fails too, one is bound without listening`;
  }
  const more = holders.length > holdersMax ? ` and ${holders.length - holdersMax} more` : "";
  const list = holders.slice(0, holdersMax).map(describe).join("; ");
  const next = holders.some(({ inode }) => inode !== 0) ? "end what holds it" : "wait until it has timed out";
  return `the port is held by ${list}${more}: ${next}, then restore again`;
}
