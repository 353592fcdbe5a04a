// One crossing: a program dumped by one engine and restored by one, lazily or eagerly, and the program's own verdict.
// Not for choosing which crossings are made or how they are shown: see compatibility.ts and crossings.test.ts.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type ProgramFacts, programFacts, repositoryRoot, softwareFacts, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { withTerminals } from "../support/terminals";
import { criuEngine, criuEngineWithFaultlinePages, type Engine, faultlineEngine, type Restored } from "./engines";

export interface Way {
  readonly label: string;
  readonly from: Engine;
  readonly to: Engine;
  readonly lazy: boolean;
}

function both(label: string, from: Engine, to: Engine): Way[] {
  return [false, true].map((lazy) => ({ label: `${label}, ${lazy ? "lazy" : "eager"}`, from, to, lazy }));
}

/** CRIU alone: shows that the program itself is right. */
export const baselineWays: readonly Way[] = both("CRIU→CRIU", criuEngine, criuEngine);
/** CRIU with Faultline's page daemon: dump and restore by CRIU, every page from here. */
export const pagerWays: readonly Way[] = [
  { label: "CRIU→CRIU, Faultline's pages", from: criuEngine, to: criuEngineWithFaultlinePages, lazy: true },
];
/** The six crossings of the table. */
export const faultlineWays: readonly Way[] = [
  ...both("Faultline→Faultline", faultlineEngine, faultlineEngine),
  ...both("Faultline→CRIU", faultlineEngine, criuEngineWithFaultlinePages),
  ...both("CRIU→Faultline", criuEngine, faultlineEngine),
];

export interface Outcome {
  readonly program: string;
  readonly way: string;
  /** "PASS", or what failed in one line, beginning with the step: "dump: ...", "restore: ...", or the program's "FAIL ...". */
  readonly verdict: string;
  readonly passed: boolean;
}

/** Every program of test/programs, by name. */
export function everyProgram(): ProgramFacts[] {
  return readdirSync(join(repositoryRoot, "test", "programs"))
    .filter((file) => file.endsWith(".c"))
    .map((file) => programFacts(file.slice(0, -2)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Every script of test/interop/software: real software that checks itself in the same way. */
export function everySoftware(): ProgramFacts[] {
  const files = readdirSync(join(repositoryRoot, "test", "interop", "software"));
  return files.filter((file) => /\.(py|js|sh|pl|rb|java)$/.test(file)).map(softwareFacts);
}

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " | ").trim();
}

/** Makes one crossing. Never throws for what an engine or the program does wrong. */
export function cross(facts: ProgramFacts, way: Way): Promise<Outcome> {
  // All that must be alone must be so because of a terminal.
  return facts.alone === undefined ? crossNow(facts, way) : withTerminals(() => crossNow(facts, way));
}

async function crossNow(facts: ProgramFacts, way: Way): Promise<Outcome> {
  let step = "start";
  let verdict: string;
  try {
    verdict = await withTempDir(`cross-${facts.name}`, (images) =>
      withProgram(facts.name, async (program) => {
        step = "dump";
        await way.from.dump(program.pid, images.path, facts, way.to.name !== way.from.name);
        step = "dump: end of the program";
        await program.gone();
        step = "restore";
        let restored: Restored | undefined;
        try {
          restored = await way.to.restore(images.path, facts, way.lazy);
          program.remember();
          step = "program";
          program.go();
          return await program.verdict();
        } catch (error) {
          const said = program.verdictNow();
          throw said === undefined ? error : new Error(`${oneLine(error)} | the program said: ${said}`);
        } finally {
          program.remember();
          await restored?.stop();
        }
      }),
    );
  } catch (error) {
    verdict = `${step}: ${oneLine(error)}`;
  }
  return { program: facts.name, way: way.label, verdict, passed: verdict === "PASS" };
}

/** Makes all crossings of `programs` × `ways`, `jobs` at a time, and reports each as it ends. */
export async function crossAll(
  programs: readonly ProgramFacts[],
  ways: readonly Way[],
  jobs: number,
  report: (outcome: Outcome) => void,
): Promise<Outcome[]> {
  const all = programs.flatMap((facts) => ways.map((way) => ({ facts, way })));
  const todo = all.filter(({ facts }) => facts.alone === undefined);
  const alone = all.filter(({ facts }) => facts.alone !== undefined);
  const outcomes: Outcome[] = [];
  const worker = async (queue: typeof all) => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const outcome = await cross(next.facts, next.way);
      outcomes.push(outcome);
      report(outcome);
    }
  };
  await Promise.all(Array.from({ length: jobs }, () => worker(todo)));
  await worker(alone);
  return outcomes;
}
