// The mutation fuzzer itself, in a worker thread whose heap is small: damage must not make the codec allocate.
// Posts how many cases ended how, or the first case that went wrong with the seed that makes it again.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { FaultlineError } from "../../src/errors";
import { formatJson, parseJson } from "../../src/images/exactJson";
import { imageName } from "../../src/images/formats";
import { decodeImage, encodeImage, type Image, type RecordInit } from "../../src/images/framing";
import { imageToJson, jsonToImage } from "../../src/images/json";
import { unknownFields } from "../../src/images/message";
import { decodePagemap, type Pagemap } from "../../src/images/pagemap";
import { mutate, Random } from "./mutation";

export interface FuzzTask {
  readonly fixtures: string;
  readonly cases: number;
  readonly seed: number;
}

export interface FuzzReport {
  readonly decoded: number;
  readonly refused: number;
  readonly failure?: string;
}

interface Sample {
  readonly name: string;
  readonly bytes: Buffer;
}

const codes: ReadonlySet<string> = new Set(["IMAGE_CORRUPT", "IMAGE_TRUNCATED", "IMAGE_UNSUPPORTED"]);

function samples(fixtures: string): Sample[] {
  const found: Sample[] = [];
  for (const fixture of readdirSync(fixtures)) {
    const folder = join(fixtures, fixture, "images");
    for (const name of readdirSync(folder)) {
      if (imageName(name)?.kind !== "raw") found.push({ name, bytes: readFileSync(join(folder, name)) });
    }
  }
  return found;
}

/** Runs `decode`; undefined where it refuses as it may: a typed error that names the file and a place in it. */
function attempt<T>(bytes: Buffer, decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    assert.ok(error instanceof FaultlineError, `not a typed error: ${(error as Error).stack}`);
    assert.ok(codes.has(error.code), error.code);
    assert.equal(error.details.file, "damaged.img");
    const { offset } = error.details;
    assert.ok(offset === undefined || (offset >= 0 && offset <= bytes.length), `offset ${offset}`);
    return undefined;
  }
}

function encode(image: Image): Buffer {
  return encodeImage(image.kind, image.records as unknown as RecordInit<never>[], {
    head: image.head as never,
    framing: image.framing,
  });
}

/** What was decoded must be a fixed point: written and read again it is the same, as bytes and as JSON. */
function checkImage(image: Image, thorough: boolean): void {
  const once = encode(image);
  const again = decodeImage(once, "again.img");
  assert.ok(encode(again).equals(once), "encoding is no fixed point");
  if (!thorough) return;
  const text = formatJson(imageToJson(image, { pretty: true, payload: true }), 0);
  const back = jsonToImage(parseJson(text, "json"), "json");
  // crit's JSON has no place for padding and old framing.
  if (image.framing === "v1.1" && !hasPadding(image)) assert.ok(back.equals(once), "JSON loses something");
}

function hasPadding(image: Image): boolean {
  return image.records.some(({ payload }) => {
    if (payload?.kind === "messages") return payload.messages.some((each) => each.padding !== undefined);
    return payload?.kind === "bytes" && payload.padding !== undefined;
  });
}

/** Damaged JSON becomes an image or a typed error, never anything else. */
function checkJson(image: Image, random: Random): void {
  const text = formatJson(imageToJson(image, { pretty: random.below(2) === 0, payload: true }), 0);
  const damaged = mutate(Buffer.from(text), random, Buffer.from(text)).toString("latin1");
  try {
    decodeImage(jsonToImage(parseJson(damaged, "json"), "json"), "json");
  } catch (error) {
    assert.ok(error instanceof FaultlineError, `not a typed error: ${(error as Error).stack}`);
    assert.equal(error.details.file, "json");
  }
}

/** The typed arrays must say what the general codec says of the same bytes. */
function checkPagemap(pagemap: Pagemap, bytes: Buffer): void {
  const image = decodeImage(bytes, "damaged.img") as Image<"PAGEMAP">;
  let run = 0;
  let present = 0;
  for (const { message } of image.records) {
    assert.equal(message[unknownFields], undefined);
    const count = Number(message.nr_pages ?? message.compat_nr_pages);
    if (count === 0) continue;
    const flags = message.in_parent === true ? 1 : (message.flags ?? 4);
    assert.equal(pagemap.starts[run], Number(message.vaddr / 4096n));
    assert.equal(pagemap.counts[run], count);
    assert.equal(pagemap.flags[run], flags);
    assert.equal(pagemap.filePages[run], present);
    if ((flags & 4) !== 0) present += count;
    run += 1;
  }
  assert.equal(pagemap.runCount, run);
  assert.equal(pagemap.presentPages, present);
}

function fuzz(task: FuzzTask): FuzzReport {
  const all = samples(task.fixtures);
  let decoded = 0;
  let refused = 0;
  for (let index = 0; index < task.cases; index++) {
    const seed = task.seed + index;
    const random = new Random(seed);
    const sample = all[random.below(all.length)]!;
    const bytes = mutate(sample.bytes, random, all[random.below(all.length)]!.bytes);
    try {
      const image = attempt(bytes, () => decodeImage(bytes, "damaged.img"));
      if (image === undefined) refused += 1;
      else {
        decoded += 1;
        if (index % 4 === 0) checkImage(image, index % 16 === 0);
        if (index % 32 === 1) checkJson(image, random);
      }
      if (image?.kind !== "PAGEMAP" && imageName(sample.name)?.kind !== "PAGEMAP") continue;
      const pagemap = attempt(bytes, () => decodePagemap(bytes, "damaged.img"));
      if (pagemap !== undefined) checkPagemap(pagemap, bytes);
    } catch (error) {
      const again = `FUZZ_SEED=${seed} FUZZ_CASES=1 node --test dist/test/images/fuzz.test.js`;
      return { decoded, refused, failure: `${sample.name}: ${(error as Error).stack}\nagain with: ${again}` };
    }
  }
  return { decoded, refused };
}

parentPort?.postMessage(fuzz(workerData as FuzzTask));
