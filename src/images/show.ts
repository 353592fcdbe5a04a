// How crit writes single values for people, and back: flags by name, devices, addresses, quoted text. images/show.proto
// says which field is written how. Not for messages (json.ts).

/** Bit names of a `flags` field, by table: value and name, in the order they are written. */
const flagTables: Readonly<Record<string, readonly (readonly [number, string])[]>> = {
  "mmap.prot": [
    [0x1, "PROT_READ"],
    [0x2, "PROT_WRITE"],
    [0x4, "PROT_EXEC"],
  ],
  "mmap.flags": [
    [0x1, "MAP_SHARED"],
    [0x2, "MAP_PRIVATE"],
    [0x20, "MAP_ANON"],
    [0x100, "MAP_GROWSDOWN"],
  ],
  "mmap.status": [
    [1 << 0, "VMA_AREA_REGULAR"],
    [1 << 1, "VMA_AREA_STACK"],
    [1 << 2, "VMA_AREA_VSYSCALL"],
    [1 << 3, "VMA_AREA_VDSO"],
    [1 << 5, "VMA_AREA_HEAP"],
    [1 << 6, "VMA_FILE_PRIVATE"],
    [1 << 7, "VMA_FILE_SHARED"],
    [1 << 8, "VMA_ANON_SHARED"],
    [1 << 9, "VMA_ANON_PRIVATE"],
    [1 << 10, "VMA_AREA_SYSVIPC"],
    [1 << 11, "VMA_AREA_SOCKET"],
    [1 << 12, "VMA_AREA_VVAR"],
    [1 << 13, "VMA_AREA_AIORING"],
    [1 << 14, "VMA_AREA_MEMFD"],
    [1 << 15, "VMA_AREA_SHSTK"],
    [1 << 17, "VMA_AREA_UPROBES"],
    [0x8000_0000, "VMA_UNSUPP"],
  ],
  "rfile.flags": [
    [0o1, "O_WRONLY"],
    [0o2, "O_RDWR"],
    [0o100, "O_CREAT"],
    [0o200, "O_EXCL"],
    [0o400, "O_NOCTTY"],
    [0o1000, "O_TRUNC"],
    [0o2000, "O_APPEND"],
    [0o4000, "O_NONBLOCK"],
    [0o10000, "O_DSYNC"],
    [0o20000, "FASYNC"],
    [0o40000, "O_DIRECT"],
    [0o100000, "O_LARGEFILE"],
    [0o200000, "O_DIRECTORY"],
    [0o400000, "O_NOFOLLOW"],
    [0o1000000, "O_NOATIME"],
    [0o2000000, "O_CLOEXEC"],
  ],
  "pmap.flags": [
    [1, "PE_PARENT"],
    [2, "PE_LAZY"],
    [4, "PE_PRESENT"],
  ],
  "seals.flags": [
    [1, "F_SEAL_SEAL"],
    [2, "F_SEAL_SHRINK"],
    [4, "F_SEAL_GROW"],
    [8, "F_SEAL_WRITE"],
    [0x10, "F_SEAL_FUTURE_WRITE"],
  ],
};

/** Value names of a `names` field: by table, then by field where the table is about several. */
const nameTables: Readonly<Record<string, Readonly<Record<string, Readonly<Record<number, string>>>>>> = {
  // crit calls a stopped task (3) a zombie and a zombie (6) stopped. The names are kept, so that it reads our JSON right.
  gen: { task_state: { 1: "Alive", 3: "Zombie", 6: "Stopped" } },
  sk: {
    family: { 1: "UNIX", 2: "INET", 10: "INET6", 16: "NETLINK", 17: "PACKET" },
    type: { 1: "STREAM", 2: "DGRAM", 3: "RAW", 5: "SEQPACKET", 10: "PACKET" },
    proto: { 0: "IP", 6: "TCP", 17: "UDP", 136: "UDPLITE" },
    state: {
      1: "ESTABLISHED",
      2: "SYN_SENT",
      3: "SYN_RECV",
      4: "FIN_WAIT1",
      5: "FIN_WAIT2",
      6: "TIME_WAIT",
      7: "CLOSE",
      8: "CLOSE_WAIT",
      9: "LAST_ACK",
      10: "LISTEN",
    },
  },
};

/** Names of the set bits joined by " | ", the nameless ones together in hexadecimal. */
export function showFlags(table: string, value: number): string {
  const names: string[] = [];
  let rest = value;
  for (const [bit, name] of flagTables[table] ?? []) {
    if ((value & bit) === 0) continue;
    names.push(name);
    rest = (rest & ~bit) >>> 0;
  }
  if (rest !== 0) names.push(`0x${rest.toString(16)}`);
  return names.join(" | ");
}

/** The value of showFlags' text, or undefined for a name that the table lacks. */
export function readFlags(table: string, text: string): number | undefined {
  let value = 0;
  for (const word of text.split("|").map((each) => each.trim())) {
    if (word === "") continue;
    const named = flagTables[table]?.find(([, name]) => name === word)?.[0];
    const bits = named ?? (/^(0x[0-9a-fA-F]{1,8}|\d{1,10})$/.test(word) ? Number(word) : undefined);
    if (bits === undefined) return undefined;
    value = (value | bits) >>> 0;
  }
  return value;
}

/** The name of `value`, or the value where it has none. */
export function showName(table: string, field: string, value: number): string | number {
  return nameTables[table]?.[field]?.[value] ?? value;
}

export function readName(table: string, field: string, name: string): number | undefined {
  const found = Object.entries(nameTables[table]?.[field] ?? {}).find(([, each]) => each === name);
  return found === undefined ? undefined : Number(found[0]);
}

/** "major:minor" of the kernel's own 12 + 20 bit form. */
export function showDevice(value: number): string {
  return `${value >>> 20}:${value & 0xf_ffff}`;
}

export function readDevice(text: string): number | undefined {
  const match = /^(\d{1,4}):(\d{1,7})$/.exec(text);
  if (match === null || Number(match[1]) > 0xfff || Number(match[2]) > 0xf_ffff) return undefined;
  return ((Number(match[1]) << 20) | Number(match[2])) >>> 0;
}

/** An IPv4 address of one word or an IPv6 address of four (RFC 5952); undefined for any other count. */
export function showAddress(words: readonly number[]): string | undefined {
  const bytes = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => {
    bytes.writeUInt32LE(word, index * 4);
  });
  if (words.length === 1) return [...bytes].join(".");
  if (words.length !== 4) return undefined;
  const groups = Array.from({ length: 8 }, (_each, index) => bytes.readUInt16BE(index * 2));
  const zeros = longestZeros(groups);
  const text = (part: readonly number[]) => part.map((group) => group.toString(16)).join(":");
  if (zeros.length < 2) return text(groups);
  return `${text(groups.slice(0, zeros.at))}::${text(groups.slice(zeros.at + zeros.length))}`;
}

function longestZeros(groups: readonly number[]): { at: number; length: number } {
  let best = { at: 0, length: 0 };
  for (let at = 0; at < groups.length; at++) {
    let length = 0;
    while (groups[at + length] === 0) length += 1;
    if (length > best.length) best = { at, length };
  }
  return best;
}

export function readAddress(text: string): number[] | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number);
  if (parts !== undefined) {
    return parts.every((part) => part < 256) ? [Buffer.from(parts).readUInt32LE(0)] : undefined;
  }
  const halves = text.split("::").map((half) => (half === "" ? [] : half.split(":")));
  if (halves.length > 2) return undefined;
  const missing = 8 - halves.flat().length;
  if (halves.length === 2 ? missing < 0 : missing !== 0) return undefined;
  const groups = [...halves[0]!, ...new Array<string>(missing).fill("0"), ...(halves[1] ?? [])];
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const bytes = Buffer.from(groups.map((group) => group.padStart(4, "0")).join(""), "hex");
  return [0, 4, 8, 12].map((at) => bytes.readUInt32LE(at));
}

/** Longest line of quoted-printable text, RFC 2045. */
const QUOTED_LINE_MAX = 76;

/** Bytes as quoted-printable text, broken and quoted where Python's quopri, which crit uses, does. */
export function showQuoted(bytes: Buffer): string {
  let text = "";
  let line = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    const last = at + 1 === bytes.length;
    const next = last ? undefined : bytes[at + 1];
    // A final line end stays quoted: text that ends in one is base64, as plain JSON has it.
    if (byte === 0x0a && !last) {
      text += "\n";
      line = 0;
      continue;
    }
    const blank = byte === 0x20 || byte === 0x09;
    const loneDot = byte === 0x2e && line === 0 && (last || next === 0x0a || next === 0x0d || next === 0);
    const plain = byte >= 33 && byte <= 126 && byte !== 0x3d && !loneDot;
    const quoted = !(plain || byte === 0x0d || (blank && !last && next !== 0x0a));
    const width = quoted ? 3 : 1;
    const breaks = quoted ? line + 3 >= QUOTED_LINE_MAX : !last && next !== 0x0a && line + 1 >= QUOTED_LINE_MAX;
    if (breaks) {
      text += "=\n";
      line = 0;
    }
    text += quoted ? `=${byte.toString(16).toUpperCase().padStart(2, "0")}` : String.fromCharCode(byte);
    line += width;
  }
  return text;
}

export function readQuoted(text: string): Buffer | undefined {
  const joined = text.replace(/=\r?\n/g, "");
  if (/=(?![0-9a-fA-F]{2})/.test(joined)) return undefined;
  const bytes = Buffer.from(joined, "utf8").toString("latin1");
  return Buffer.from(
    bytes.replace(/=([0-9a-fA-F]{2})/g, (_all, digits: string) => String.fromCharCode(Number.parseInt(digits, 16))),
    "latin1",
  );
}

/** Base64 in lines of 76, each ended, as Python's base64.encodebytes, which crit uses, gives it. */
export function showBase64(bytes: Buffer): string {
  return bytes.toString("base64").replace(/.{1,76}/g, "$&\n");
}

export function readBase64(text: string): Buffer | undefined {
  const plain = text.replace(/\s/g, "");
  return /^[A-Za-z0-9+/]*={0,2}$/.test(plain) ? Buffer.from(plain, "base64") : undefined;
}
