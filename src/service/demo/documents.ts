// The demo's data: made-up orders of a shop as JSON, which compress about as real ones do. Document N is always the same
// text, so that an answer can be checked without asking the program that gave it. Not for secrets: the random numbers are
// a hash of N.

const firstNames =
  "Ada Alan Barbara Bjarne Dennis Donald Edsger Frances Grace Hedy Ken Leslie Margaret Niklaus Radia".split(" ");
const lastNames =
  "Allen Backus Dijkstra Hamilton Hopper Kay Kernighan Knuth Lamarr Lamport Liskov Perlman Ritchie Wirth".split(" ");
const cities = "Amsterdam Bergen Bologna Braga Graz Leuven Lyon Malmö Porto Turku Utrecht Uppsala Zürich".split(" ");
const streets = "Mill Lane,Station Road,Harbour Street,Church Walk,High Street,Orchard Way,Bridge Street".split(",");
const goods =
  "brass hinge,oak shelf,copper kettle,wool blanket,desk lamp,paper lantern,steel ruler,clay pot,linen apron".split(
    ",",
  );
const phrases = [
  "left at the back door because nobody answered",
  "please ring twice and mind the dog",
  "customer asked for a gift wrap with a blue ribbon",
  "arrived with a small scratch and will be exchanged after the weekend",
  "delivery before noon only",
  "address confirmed by phone",
  "invoice goes to the office, not to the home",
  "second attempt on Tuesday, the neighbour takes parcels in",
  "replaces a part that was lost on the way",
  "weight differs from the label, checked by hand",
];
const states = ["paid", "packed", "shipped", "delivered", "returned"];

/** A number of 32 bits that looks random, from one that does not (the finalizer of MurmurHash3). */
function scramble(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

class Dice {
  private state: number;
  constructor(seed: number) {
    this.state = scramble(seed + 0x9e3779b9);
  }
  roll(): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return scramble(this.state);
  }
  below(limit: number): number {
    return this.roll() % limit;
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  hex(): string {
    return this.roll().toString(16).padStart(8, "0");
  }
}

function remark(dice: Dice): string {
  return `${dice.of(phrases)}; ${dice.of(phrases)} (${dice.hex()})`;
}

/** Document `id`, 1 to 4 KiB. */
export function documentText(id: number): string {
  const dice = new Dice(id);
  const name = `${dice.of(firstNames)} ${dice.of(lastNames)}`;
  const items = Array.from({ length: 3 + dice.below(12) }, () => ({
    article: dice.hex(),
    name: dice.of(goods),
    count: 1 + dice.below(6),
    cents: 199 + dice.below(20000),
    remark: remark(dice),
  }));
  return JSON.stringify({
    id,
    key: `${dice.hex()}-${dice.hex()}`,
    state: dice.of(states),
    ordered: 1_700_000_000_000 + dice.roll() * 20,
    customer: {
      name,
      mail: `${name.toLowerCase().replace(" ", ".")}@example.org`,
      street: `${dice.of(streets)} ${1 + dice.below(180)}`,
      city: dice.of(cities),
    },
    items,
    total: items.reduce((sum, item) => sum + item.count * item.cents, 0),
    session: `${dice.hex()}${dice.hex()}${dice.hex()}${dice.hex()}`,
  });
}
