// A persistent ordered map from page ranges to what they hold: a B+tree with path copying. `fork` shares the root and
// costs O(1); a change copies only the nodes on its path that another tree still shares. Knows nothing of faults.
//
// A leaf keeps its ranges in two typed arrays, 25 bytes a range; two neighbouring leaves that fit into one are merged,
// so that a tree never takes more than 64 bytes a range (test/space measures it).

/** Ranges in a leaf and children of an inner node, at most. */
const WIDTH = 64;
/** Neighbours are merged where they hold at most this many together: below WIDTH, so that a split does not undo it. */
const MERGE = 62;

/** Distinguishes the trees that may change a node in place. */
type Owner = object;

interface Leaf {
  readonly leaf: true;
  readonly owner: Owner;
  count: number;
  /** Pages in ranges whose source is not negative. */
  missing: number;
  /** Three numbers a range: first page, page count, first image page. */
  readonly numbers: Float64Array;
  /** Which source the image page is of, or a negative state of the caller's. */
  readonly sources: Int8Array;
}

interface Inner {
  readonly leaf: false;
  readonly owner: Owner;
  count: number;
  missing: number;
  readonly firsts: Float64Array;
  readonly children: Node[];
}

type Node = Leaf | Inner;

/** Sources of image pages, from 0 to this. */
export const SOURCE_MAX = 127;

/** What a lookup found. One object is reused by each tree. */
export interface Range {
  page: number;
  pageCount: number;
  source: number;
  /** The image page of `page`; means nothing where source is negative. */
  imagePage: number;
}

function newLeaf(owner: Owner): Leaf {
  const buffer = new ArrayBuffer(WIDTH * 25);
  return {
    leaf: true,
    owner,
    count: 0,
    missing: 0,
    numbers: new Float64Array(buffer, 0, WIDTH * 3),
    sources: new Int8Array(buffer, WIDTH * 24, WIDTH),
  };
}

function newInner(owner: Owner): Inner {
  return { leaf: false, owner, count: 0, missing: 0, firsts: new Float64Array(WIDTH), children: [] };
}

function firstPage(node: Node): number {
  return node.leaf ? node.numbers[0]! : node.firsts[0]!;
}

/** The last range of the leaf that starts at or before `page`, or -1. */
function leafIndex(leaf: Leaf, page: number): number {
  let low = 0;
  let high = leaf.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (leaf.numbers[middle * 3]! <= page) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The last child that starts at or before `page`, or 0. */
function childIndex(inner: Inner, page: number): number {
  let low = 1;
  let high = inner.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (inner.firsts[middle]! <= page) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function countMissing(node: Node): void {
  let missing = 0;
  if (node.leaf) {
    for (let i = 0; i < node.count; i++) if (node.sources[i]! >= 0) missing += node.numbers[i * 3 + 1]!;
  } else {
    for (let i = 0; i < node.count; i++) missing += node.children[i]!.missing;
  }
  node.missing = missing;
}

function own<T extends Node>(node: T, owner: Owner): T {
  if (node.owner === owner) return node;
  if (node.leaf) {
    const copy = newLeaf(owner);
    copy.numbers.set(node.numbers);
    copy.sources.set(node.sources);
    copy.count = node.count;
    copy.missing = node.missing;
    return copy as T;
  }
  const copy: Inner = { ...node, owner, firsts: node.firsts.slice(), children: node.children.slice() };
  return copy as T;
}

/** Moves ranges [from, count) of the leaf by `by` places. */
function shiftLeaf(leaf: Leaf, from: number, by: number): void {
  leaf.numbers.copyWithin((from + by) * 3, from * 3, leaf.count * 3);
  leaf.sources.copyWithin(from + by, from, leaf.count);
  leaf.count += by;
}

function setLeaf(leaf: Leaf, at: number, range: Range): void {
  leaf.numbers[at * 3] = range.page;
  leaf.numbers[at * 3 + 1] = range.pageCount;
  leaf.numbers[at * 3 + 2] = range.imagePage;
  leaf.sources[at] = range.source;
}

/** Appends ranges [from, to) of another leaf. */
function appendLeaf(leaf: Leaf, other: Leaf, from: number, to: number): void {
  leaf.numbers.set(other.numbers.subarray(from * 3, to * 3), leaf.count * 3);
  leaf.sources.set(other.sources.subarray(from, to), leaf.count);
  leaf.count += to - from;
}

function appendInner(inner: Inner, other: Inner, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    inner.firsts[inner.count] = other.firsts[i]!;
    inner.children.push(other.children[i]!);
    inner.count++;
  }
}

/** Moves ranges [from, count) by `by` places: for so few numbers a loop is faster than copyWithin, which leaves compiled code. */
function moveRanges(leaf: Leaf, from: number, by: number): void {
  const { numbers, sources, count } = leaf;
  if (by > 0) {
    for (let i = count * 3 - 1; i >= from * 3; i--) numbers[i + by * 3] = numbers[i]!;
    for (let i = count - 1; i >= from; i--) sources[i + by] = sources[i]!;
  } else {
    for (let i = from * 3; i < count * 3; i++) numbers[i + by * 3] = numbers[i]!;
    for (let i = from; i < count; i++) sources[i + by] = sources[i]!;
  }
  leaf.count = count + by;
}

/** Leaves with fewer ranges do not shrink here, because they may have to be merged. */
const SHRINK_FROM = 58;

/**
 * Gives [page, page + pageCount) of range `at` a state. What it touches at either end of the range is in the leaf too. False,
 * and nothing changed, where there is no room or the leaf might have to be merged.
 */
function fill(leaf: Leaf, at: number, page: number, pageCount: number, state: number): boolean {
  const { numbers, sources } = leaf;
  const first = numbers[at * 3]!;
  const left = page - first;
  const right = numbers[at * 3 + 1]! - left - pageCount;
  const end = page + pageCount;
  const joinsLeft = left === 0 && sources[at - 1] === state && numbers[at * 3 - 3]! + numbers[at * 3 - 2]! === page;
  const joinsRight = right === 0 && sources[at + 1] === state && numbers[at * 3 + 3] === end;
  if (leaf.count < SHRINK_FROM && ((joinsLeft && right === 0) || (joinsRight && left === 0))) return false;
  if (joinsLeft && joinsRight) {
    numbers[at * 3 - 2]! += pageCount + numbers[at * 3 + 4]!;
    moveRanges(leaf, at + 2, -2);
    return true;
  }
  if (joinsLeft) {
    numbers[at * 3 - 2]! += pageCount;
    if (right === 0) moveRanges(leaf, at + 1, -1);
    else clipFront(numbers, at, pageCount);
    return true;
  }
  if (joinsRight) {
    numbers[at * 3 + 3] = page;
    numbers[at * 3 + 4]! += pageCount;
    if (left === 0) moveRanges(leaf, at + 1, -1);
    else numbers[at * 3 + 1] = left;
    return true;
  }
  const more = (left > 0 ? 1 : 0) + (right > 0 ? 1 : 0);
  if (leaf.count + more > WIDTH) return false;
  const image = numbers[at * 3 + 2]!;
  const source = sources[at]!;
  if (more > 0) moveRanges(leaf, at + 1, more);
  const middle = left > 0 ? at + 1 : at;
  if (left > 0) numbers[at * 3 + 1] = left;
  put(leaf, middle, page, pageCount, 0, state);
  if (right > 0) put(leaf, middle + 1, end, right, image + left + pageCount, source);
  return true;
}

function clipFront(numbers: Float64Array, at: number, pageCount: number): void {
  numbers[at * 3]! += pageCount;
  numbers[at * 3 + 1]! -= pageCount;
  numbers[at * 3 + 2]! += pageCount;
}

function put(leaf: Leaf, at: number, page: number, pageCount: number, imagePage: number, source: number): void {
  leaf.numbers[at * 3] = page;
  leaf.numbers[at * 3 + 1] = pageCount;
  leaf.numbers[at * 3 + 2] = imagePage;
  leaf.sources[at] = source;
}

export class RangeTree {
  private owner: Owner = {};
  private root: Node;
  private readonly found: Range = { page: 0, pageCount: 0, source: 0, imagePage: 0 };

  constructor() {
    this.root = newLeaf(this.owner);
  }

  /** A tree with the same ranges. Later changes of either do not show in the other. O(1). */
  fork(): RangeTree {
    const copy = new RangeTree();
    copy.root = this.root;
    // Neither tree owns what both now share.
    this.owner = {};
    copy.owner = {};
    return copy;
  }

  /** Pages in ranges whose source is not negative. O(1). */
  get missingPages(): number {
    return this.root.missing;
  }

  /** The range that holds `page`, or undefined. The object is valid until the next call. O(log n). */
  find(page: number): Range | undefined {
    let node = this.root;
    while (!node.leaf) node = node.children[childIndex(node, page)]!;
    const at = leafIndex(node, page);
    if (at < 0 || page >= node.numbers[at * 3]! + node.numbers[at * 3 + 1]!) return undefined;
    return this.report(node, at);
  }

  /** The first range that ends after `page` (it may hold it), or undefined. O(log n). */
  next(page: number): Range | undefined {
    return this.search(this.root, page, false);
  }

  /** The first range with a source, not a negative state, that ends after `page`, or undefined. O(log n). */
  nextMissing(page: number): Range | undefined {
    return this.search(this.root, page, true);
  }

  private search(node: Node, page: number, missing: boolean): Range | undefined {
    if (missing && node.missing === 0) return undefined;
    if (node.leaf) {
      for (let at = Math.max(0, leafIndex(node, page)); at < node.count; at++) {
        const end = node.numbers[at * 3]! + node.numbers[at * 3 + 1]!;
        if (end > page && (!missing || node.sources[at]! >= 0)) return this.report(node, at);
      }
      return undefined;
    }
    for (let at = childIndex(node, page); at < node.count; at++) {
      const range = this.search(node.children[at]!, page, missing);
      if (range !== undefined) return range;
    }
    return undefined;
  }

  private report(leaf: Leaf, at: number): Range {
    const { found } = this;
    found.page = leaf.numbers[at * 3]!;
    found.pageCount = leaf.numbers[at * 3 + 1]!;
    found.imagePage = leaf.numbers[at * 3 + 2]!;
    found.source = leaf.sources[at]!;
    return found;
  }

  /** Adds a range where there is none. O(log n). */
  insert(range: Range): void {
    const right = this.insertInto(this.root, range, (node) => {
      this.root = node;
    });
    if (right === undefined) return;
    const root = newInner(this.owner);
    for (const child of [this.root, right]) {
      root.firsts[root.count++] = firstPage(child);
      root.children.push(child);
    }
    countMissing(root);
    this.root = root;
  }

  /** Inserts below `node`; `replace` gets the node that stands in its place; returns a new right neighbour of it. */
  private insertInto(node: Node, range: Range, replace: (node: Node) => void): Node | undefined {
    if (node.leaf) return this.insertIntoLeaf(node, range, replace);
    const inner = own(node, this.owner);
    if (inner !== node) replace(inner);
    const at = childIndex(inner, range.page);
    const right = this.insertInto(inner.children[at]!, range, (child) => {
      inner.children[at] = child;
    });
    inner.firsts[at] = firstPage(inner.children[at]!);
    let sibling: Inner | undefined;
    if (right !== undefined) sibling = this.addChild(inner, at + 1, right);
    countMissing(inner);
    return sibling;
  }

  private insertIntoLeaf(node: Leaf, range: Range, replace: (node: Node) => void): Leaf | undefined {
    const leaf = own(node, this.owner);
    if (leaf !== node) replace(leaf);
    const at = leafIndex(leaf, range.page) + 1;
    if (leaf.count < WIDTH) {
      shiftLeaf(leaf, at, 1);
      setLeaf(leaf, at, range);
      countMissing(leaf);
      return undefined;
    }
    // Ranges that come in address order, as a layout is built, leave full leaves behind.
    const half = at === WIDTH ? WIDTH : WIDTH / 2;
    const right = newLeaf(this.owner);
    appendLeaf(right, leaf, half, WIDTH);
    leaf.count = half;
    const target = at <= half && half < WIDTH ? leaf : right;
    const place = target === leaf ? at : at - half;
    shiftLeaf(target, place, 1);
    setLeaf(target, place, range);
    countMissing(leaf);
    countMissing(right);
    return right;
  }

  private addChild(inner: Inner, at: number, child: Node): Inner | undefined {
    let target = inner;
    let place = at;
    let right: Inner | undefined;
    if (inner.count === WIDTH) {
      const half = at === WIDTH ? WIDTH : WIDTH / 2;
      right = newInner(this.owner);
      appendInner(right, inner, half, WIDTH);
      inner.count = half;
      inner.children.length = half;
      if (at > half || half === WIDTH) {
        target = right;
        place = at - half;
      }
    }
    target.firsts.copyWithin(place + 1, place, target.count);
    target.firsts[place] = firstPage(child);
    target.children.splice(place, 0, child);
    target.count++;
    if (right !== undefined) countMissing(right);
    return right;
  }

  /**
   * Replaces pages [page, page + pageCount), which lie inside one range with a source, by a negative state, in place: what an
   * install does. False, and nothing is changed, where it would take more than moving ranges within one leaf that this tree
   * owns: then cut and insert do it. Joins with neighbours of the same state. O(log n), without allocating.
   */
  fillInLeaf(page: number, pageCount: number, state: number): boolean {
    let node = this.root;
    while (!node.leaf) {
      if (node.owner !== this.owner) return false;
      node = node.children[childIndex(node, page)]!;
    }
    const at = leafIndex(node, page);
    if (node.owner !== this.owner || at < 0 || node.sources[at]! < 0) return false;
    const first = node.numbers[at * 3]!;
    const end = first + node.numbers[at * 3 + 1]!;
    if (page + pageCount > end) return false;
    // At the ends of a leaf what is to be joined may be in the next one.
    if ((at === 0 && page === first) || (at === node.count - 1 && page + pageCount === end)) return false;
    if (!fill(node, at, page, pageCount, state)) return false;
    let above = this.root;
    while (!above.leaf) {
      above.missing -= pageCount;
      above = above.children[childIndex(above, page)]!;
    }
    above.missing -= pageCount;
    return true;
  }

  /** Takes [page, page + pageCount) out: ranges inside it go, ranges across its ends are clipped. */
  cut(page: number, pageCount: number): void {
    const end = page + pageCount;
    const holder = this.find(page);
    if (holder !== undefined && holder.page < page && holder.page + holder.pageCount > end) {
      const tail: Range = {
        page: end,
        pageCount: holder.page + holder.pageCount - end,
        source: holder.source,
        imagePage: holder.imagePage + (end - holder.page),
      };
      this.root = this.cutBelow(this.root, page, tail.page + tail.pageCount) ?? newLeaf(this.owner);
      this.insert(tail);
      return;
    }
    this.root = this.cutBelow(this.root, page, end) ?? newLeaf(this.owner);
    while (!this.root.leaf && this.root.count === 1) this.root = this.root.children[0]!;
  }

  private cutBelow(node: Node, from: number, to: number): Node | undefined {
    return node.leaf ? this.cutLeaf(node, from, to) : this.cutInner(node, from, to);
  }

  private cutLeaf(node: Leaf, from: number, to: number): Node | undefined {
    let start = Math.max(0, leafIndex(node, from));
    if (start < node.count && node.numbers[start * 3]! + node.numbers[start * 3 + 1]! <= from) start++;
    if (start >= node.count || node.numbers[start * 3]! >= to) return node.count === 0 ? undefined : node;
    const leaf = own(node, this.owner);
    const { numbers } = leaf;
    if (numbers[start * 3]! < from) {
      numbers[start * 3 + 1] = from - numbers[start * 3]!;
      start++;
    }
    let stop = start;
    while (stop < leaf.count && numbers[stop * 3]! + numbers[stop * 3 + 1]! <= to) stop++;
    if (stop < leaf.count && numbers[stop * 3]! < to) {
      const by = to - numbers[stop * 3]!;
      numbers[stop * 3] = to;
      numbers[stop * 3 + 1] = numbers[stop * 3 + 1]! - by;
      numbers[stop * 3 + 2] = numbers[stop * 3 + 2]! + by;
    }
    if (stop > start) shiftLeaf(leaf, stop, start - stop);
    countMissing(leaf);
    return leaf.count === 0 ? undefined : leaf;
  }

  private cutInner(node: Inner, from: number, to: number): Node | undefined {
    const inner = own(node, this.owner);
    const start = childIndex(inner, from);
    let stop = start + 1;
    while (stop < inner.count && inner.firsts[stop]! < to) stop++;
    // Children strictly between the first and the last lie inside the range as a whole.
    const kept: Node[] = [];
    for (const at of stop - 1 > start ? [start, stop - 1] : [start]) {
      const child = this.cutBelow(inner.children[at]!, from, to);
      if (child !== undefined) kept.push(child);
    }
    inner.children.splice(start, stop - start, ...kept);
    inner.count = inner.children.length;
    for (let i = start; i < inner.count; i++) inner.firsts[i] = firstPage(inner.children[i]!);
    for (let at = Math.min(start + kept.length, inner.count - 1); at >= Math.max(1, start); at--) this.merge(inner, at);
    countMissing(inner);
    return inner.count === 0 ? undefined : inner;
  }

  /** Merges child `at` into the one before it where both fit into one. */
  private merge(inner: Inner, at: number): void {
    const left = inner.children[at - 1]!;
    const right = inner.children[at]!;
    if (left.count + right.count > MERGE) return;
    const target = own(left, this.owner);
    if (target.leaf && right.leaf) appendLeaf(target, right, 0, right.count);
    else if (!target.leaf && !right.leaf) appendInner(target, right, 0, right.count);
    else throw new Error("neighbours of different depth");
    countMissing(target);
    inner.children[at - 1] = target;
    inner.children.splice(at, 1);
    inner.count--;
    inner.firsts.copyWithin(at, at + 1);
  }

  /** Nodes and ranges, for tests and reports. O(n). */
  measure(): { ranges: number; nodes: number; bytes: number; depth: number } {
    const sum = { ranges: 0, nodes: 0, bytes: 0, depth: 0 };
    const visit = (node: Node, depth: number): void => {
      sum.nodes++;
      sum.depth = Math.max(sum.depth, depth);
      sum.bytes += node.leaf ? WIDTH * 25 : WIDTH * 16;
      if (node.leaf) sum.ranges += node.count;
      else for (const child of node.children) visit(child, depth + 1);
    };
    visit(this.root, 1);
    return sum;
  }
}
