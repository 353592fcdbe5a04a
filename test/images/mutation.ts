// Mutates images for the fuzzer: flips, cuts, splices and grows bytes, always the same for the same seed.

/** Numbers that look random and repeat for a seed (mulberry32). */
export class Random {
  constructor(private state: number) {}

  /** A whole number in [0, below). */
  below(below: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000) * below);
  }
}

type Mutation = (bytes: Buffer, random: Random, donor: Buffer) => Buffer;

const extremes = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

const mutations: readonly Mutation[] = [
  function flipBit(bytes, random) {
    const copy = Buffer.from(bytes);
    const at = random.below(copy.length);
    copy[at]! ^= 1 << random.below(8);
    return copy;
  },
  function setByte(bytes, random) {
    const copy = Buffer.from(bytes);
    copy[random.below(copy.length)] = random.below(256);
    return copy;
  },
  function setWord(bytes, random) {
    const copy = Buffer.from(bytes);
    if (copy.length >= 4) copy.writeUInt32LE(extremes[random.below(extremes.length)]!, random.below(copy.length - 3));
    return copy;
  },
  function cut(bytes, random) {
    return bytes.subarray(0, random.below(bytes.length));
  },
  function cutOut(bytes, random) {
    const from = random.below(bytes.length);
    const to = from + random.below(Math.min(64, bytes.length - from) + 1);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  function splice(bytes, random, donor) {
    const from = random.below(donor.length);
    const piece = donor.subarray(from, from + random.below(256));
    const at = random.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + random.below(2) * piece.length)]);
  },
  function grow(bytes, random) {
    const at = random.below(bytes.length + 1);
    const piece = Buffer.alloc(1 + random.below(64), random.below(256));
    return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
  },
];

/** The mutations that keep every length, after which an image can often still be read. */
const GENTLE = 2;

/** `bytes` with one gentle thing or one to three of any done to it; `donor` is where spliced bytes come from. */
export function mutate(bytes: Buffer, random: Random, donor: Buffer): Buffer {
  if (bytes.length > 0 && random.below(2) === 0) return mutations[random.below(GENTLE)]!(bytes, random, donor);
  let result = bytes;
  for (let count = 1 + random.below(3); count > 0 && result.length > 0; count--) {
    result = mutations[random.below(mutations.length)]!(result, random, donor);
  }
  return result;
}
