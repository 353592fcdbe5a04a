// Damaged images: every question gives an answer or a typed error, in bounded time; never a crash.
import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FaultlineError } from "../../src/errors";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { writeCoreFile } from "../../src/inspect/coreFile";
import { taskDescriptors } from "../../src/inspect/descriptors";
import { diffCheckpoints } from "../../src/inspect/diff";
import { reportHtml } from "../../src/inspect/htmlReport";
import { taskMappings } from "../../src/inspect/mappings";
import { threadRegisters } from "../../src/inspect/registers";
import { reportOf } from "../../src/inspect/report";
import { environment, listTasks } from "../../src/inspect/tasks";
import { diffText } from "../../src/inspect/textDiff";
import { mappingsText } from "../../src/inspect/textMaps";
import { registersText } from "../../src/inspect/textRegisters";
import { tasksText } from "../../src/inspect/textTasks";
import { withTempDir } from "../support/tempdir";
import { fixtureImages } from "./fixtures";

const seed = Number(process.env.SEED ?? 20261124);
const caseCount = Number(process.env.CASES ?? 400);

/** A small generator with a seed (mulberry32), so that a failure can be run again. */
function randomFrom(state: number): (below: number) => number {
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Flips, overwrites, cuts or repeats a few bytes. */
function damage(bytes: Buffer, random: (below: number) => number): Buffer {
  const at = random(bytes.length);
  switch (random(4)) {
    case 0:
      bytes[at]! ^= 1 << random(8);
      return bytes;
    case 1:
      bytes[at] = [0, 0x7f, 0x80, 0xff][random(4)]!;
      return bytes;
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + 1 + random(8)))]);
    default:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - random(16)))]);
  }
}

function everyQuestion(images: string, whole: Checkpoint, core: string): void {
  using checkpoint = Checkpoint.open(images);
  const questions: (() => unknown)[] = [
    () => tasksText(listTasks(checkpoint)),
    () => taskDescriptors(checkpoint),
    () => reportHtml(reportOf(checkpoint)),
    () => diffText(diffCheckpoints(whole, checkpoint)),
    ...checkpoint.tasks.flatMap(({ pid }) => [
      () => mappingsText(taskMappings(checkpoint, pid)),
      () => registersText(threadRegisters(checkpoint, pid)),
      () => environment(checkpoint, pid),
      () => writeCoreFile(checkpoint, pid, core),
    ]),
  ];
  for (const question of questions) allowed(question);
}

function allowed(question: () => unknown): void {
  try {
    question();
  } catch (error) {
    if (!(error instanceof FaultlineError)) throw error;
    assert.ok(error.line().length > 0);
  }
}

test(`${caseCount} damaged images: only answers and typed errors`, async () => {
  await withTempDir("damaged", (dir) => {
    const random = randomFrom(seed);
    const images = dir.join("images");
    cpSync(fixtureImages("patchwork"), images, { recursive: true });
    using whole = Checkpoint.open(fixtureImages("patchwork"));
    // Damage to pages is what the packed form's checksums are for; here it would only be other bytes.
    const names = readdirSync(images).filter((name) => !name.startsWith("pages-"));
    for (let turn = 0; turn < caseCount; turn++) {
      const name = names[random(names.length)]!;
      const file = join(images, name);
      const original = readFileSync(file);
      rmSync(file);
      const bytes = damage(Buffer.from(original), random);
      writeFileSync(file, bytes);
      try {
        allowed(() => everyQuestion(images, whole, dir.join("core")));
      } catch (error) {
        const again = `SEED=${seed} CASES=${turn + 1} node --test dist/test/inspect/damaged.test.js`;
        throw new Error(`case ${turn}, ${name}: ${(error as Error).stack}; run ${again}`);
      }
      rmSync(file);
      writeFileSync(file, original);
    }
  });
});
