// Damaged images, 200 000 of them: each is read right or refused with a typed error naming the file, in bounded memory.
// FUZZ_SEED and FUZZ_CASES choose others.
import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import type { FuzzReport, FuzzTask } from "./fuzzWorker";

const fixtures = resolve(__dirname, "..", "..", "..", "test", "fixtures");
const cases = Number(process.env.FUZZ_CASES ?? 200_000);
const seed = Number(process.env.FUZZ_SEED ?? 1);
/** Heap of the worker that decodes: more than any decode of a fixture needs, far less than a believed length would. */
const HEAP_MB = 96;

function run(task: FuzzTask): Promise<FuzzReport> {
  return new Promise((done, failed) => {
    const worker = new Worker(join(__dirname, "fuzzWorker.js"), {
      workerData: task,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    worker.once("message", done);
    worker.once("error", failed);
  });
}

test(`${cases} damaged images are read right or refused with a typed error`, { timeout: 600_000 }, async () => {
  const report = await run({ fixtures, cases, seed });
  assert.equal(report.failure, undefined, report.failure);
  assert.equal(report.decoded + report.refused, cases);
  // Both ways must be walked, or the fuzzer shows nothing.
  if (cases >= 1000) assert.ok(report.decoded > cases / 100 && report.refused > cases / 100, JSON.stringify(report));
});
