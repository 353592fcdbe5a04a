// Character devices without state of their own, which any process can open again. No calls.

/** By major and minor number, under the names that they have everywhere. */
const plainDevices: ReadonlyMap<string, string> = new Map([
  ["1:3", "/dev/null"],
  ["1:5", "/dev/zero"],
  ["1:7", "/dev/full"],
  ["1:8", "/dev/random"],
  ["1:9", "/dev/urandom"],
]);

/** Of a device number as stat(2) gives it. */
export function deviceNumbers(rdev: bigint): { major: number; minor: number } {
  return { major: Number((rdev >> 8n) & 0xfffn), minor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)) };
}

export function isPlainDevice(rdev: bigint): boolean {
  const { major, minor } = deviceNumbers(rdev);
  return plainDevices.has(`${major}:${minor}`);
}
