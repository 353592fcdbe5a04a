// Prints crossings, for people at work on an engine or a program.
//   node dist/test/interop/crossings.js [--baseline | --pager | --all] [--way TEXT] [PROGRAM...]
// A program is one of test/programs (all of them when none is named) or a script of test/interop/software.
// --baseline: CRIU→CRIU only; --pager: CRIU with Faultline's page daemon; --all: these too; --way: only ways whose label holds TEXT. Not the table: see compatibility.ts.
import { parseArgs } from "node:util";
import { baselineWays, crossAll, everyProgram, everySoftware, faultlineWays, pagerWays } from "./crossing";

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      baseline: { type: "boolean" },
      pager: { type: "boolean" },
      all: { type: "boolean" },
      way: { type: "string" },
      jobs: { type: "string" },
    },
  });
  const known = [...everyProgram(), ...everySoftware()];
  for (const name of positionals)
    if (!known.some((facts) => facts.name === name)) throw new Error(`no program ${name}`);
  const programs = positionals.length > 0 ? known.filter((facts) => positionals.includes(facts.name)) : everyProgram();
  const ways = values.baseline
    ? baselineWays
    : values.pager
      ? pagerWays
      : values.all
        ? [...baselineWays, ...pagerWays, ...faultlineWays]
        : faultlineWays;
  const chosen = ways.filter((way) => way.label.includes(values.way ?? ""));
  const outcomes = await crossAll(programs, chosen, Number(values.jobs ?? 2), ({ program, way, verdict }) =>
    console.log(`${program.padEnd(24)} ${way.padEnd(28)} ${verdict}`),
  );
  console.log(`${outcomes.filter((outcome) => outcome.passed).length} of ${outcomes.length} passed`);
  if (outcomes.some((outcome) => !outcome.passed)) process.exitCode = 1;
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 2;
});
