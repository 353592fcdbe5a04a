// `npm run compatibility`: makes every crossing of every test program and writes docs/compatibility.md.
//   npm run compatibility -- heap pipes    only these rows; the others stay as the page has them, and the page says so
// A failure is written as a failure, with its reason. Not for asserting anything: see crossings.test.ts.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { criuBinary } from "../support/criu";
import { repositoryRoot } from "../support/program";
import { crossAll, everyProgram, type Outcome } from "./crossing";
import { columns, renderTable, rowsOf } from "./table";

const introduction = `# Compatibility

What was dumped by one engine and restored by one, program by program, in one run. Each program of \`test/programs\` holds
one kind of state and checks itself afterwards; "yes" means that it was dumped, ended, restored under the same pids and gave
the verdict PASS. Everything else is a failure, listed below with its reason. \`npm run compatibility\` makes this page;
\`test/interop/crossings.test.ts\` makes one crossing of every program again in every test run, the ways taking turns.

Faultline→CRIU dumps raw images (\`--compress none\`), and its lazy column uses Faultline's page daemon. A
program that CRIU alone cannot do says so in the list at the end (\`node dist/test/interop/crossings.js --baseline\`).

Real software that checks itself (\`test/interop/software\`), servers under load and the soak: see software.md.`;

function machine(): string {
  const os = /PRETTY_NAME="(.*)"/.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  const criu = execFileSync(criuBinary, ["--version"], { encoding: "utf8" })
    .split("\n")[0]!
    .replace("Version: ", "CRIU ");
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], {
    cwd: repositoryRoot,
    encoding: "utf8",
  }).trim();
  const date = new Date().toISOString().slice(0, 10);
  return `Run on ${date} at ${commit}: ${os}, Linux ${release()}, ${cpus().length} CPUs (${cpus()[0]?.model ?? "?"}), Node ${process.version}, ${criu}, root without CAP_SYS_RESOURCE where the container withholds it.`;
}

/** What the page says of its runs, with a line for rows that are made again now. */
function runs(page: string, again: readonly string[]): string {
  if (again.length === 0) return machine();
  const lines = page.split("\n").filter((line) => /^(Run on |Made again: )/.test(line));
  const rows = again.map((name) => `\`${name}\``).join(", ");
  return [...lines, `Made again: ${rows}. ${machine().split(":")[0]}.`].join("\n\n");
}

async function main(): Promise<void> {
  const file = join(repositoryRoot, "docs", "compatibility.md");
  const again = process.argv.slice(2);
  const programs = everyProgram();
  const unknown = again.find((name) => !programs.some((facts) => facts.name === name));
  if (unknown !== undefined) throw new Error(`no program ${unknown}`);
  const page = readFileSync(file, "utf8");
  const outcomes: Outcome[] =
    again.length === 0 ? [] : rowsOf(page).filter((outcome) => !again.includes(outcome.program));
  const kept = outcomes.length;
  const head = `${introduction}\n\n${runs(page, again)}\n\n`;
  // Written as it goes: a run that is cut short leaves a table whose missing cells say "not run".
  const write = () => writeFileSync(file, head + renderTable(programs, outcomes));
  const jobs = Number(process.env.FAULTLINE_JOBS ?? cpus().length);
  const chosen = again.length === 0 ? programs : programs.filter((facts) => again.includes(facts.name));
  await crossAll(chosen, columns, jobs, (outcome) => {
    outcomes.push(outcome);
    if (!outcome.passed) console.log(`${outcome.program}, ${outcome.way}: ${outcome.verdict}`);
    if ((outcomes.length - kept) % 20 !== 0) return;
    console.log(`${outcomes.length - kept} of ${chosen.length * columns.length} crossings made`);
    write();
  });
  write();
  const made = outcomes.slice(kept);
  console.log(`${made.filter((one) => one.passed).length} of ${made.length} passed; wrote docs/compatibility.md`);
}

main().catch((error: Error) => {
  console.error(error.stack);
  process.exitCode = 1;
});
