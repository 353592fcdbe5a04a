// `npm run compatibility`: makes every crossing of every test program and writes docs/compatibility.md.
// A failure is written as a failure, with its reason. Not for asserting anything: see crossings.test.ts.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { criuBinary } from "../support/criu";
import { repositoryRoot } from "../support/program";
import { crossAll, everyProgram, type Outcome } from "./crossing";
import { columns, renderTable } from "./table";

const introduction = `# Compatibility

What was dumped by one engine and restored by one, program by program, in one run. Each program of \`test/programs\` holds
one kind of state and checks itself afterwards; "yes" means that it was dumped, ended, restored under the same pids and gave
the verdict PASS. Everything else is a failure, listed below with its reason. \`npm run compatibility\` makes this page;
\`test/interop/crossings.test.ts\` holds that what it promises stays true.

Faultline→CRIU dumps raw images (\`--compress none\`), and its lazy column uses Faultline's page daemon. A
program that CRIU alone cannot do says so in the list at the end (\`node dist/test/interop/crossings.js --baseline\`).`;

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

async function main(): Promise<void> {
  const programs = everyProgram();
  const outcomes: Outcome[] = [];
  const head = `${introduction}\n\n${machine()}\n\n`;
  // Written as it goes: a run that is cut short leaves a table whose missing cells say "not run".
  const write = () =>
    writeFileSync(join(repositoryRoot, "docs", "compatibility.md"), head + renderTable(programs, outcomes));
  const jobs = Number(process.env.FAULTLINE_JOBS ?? cpus().length);
  await crossAll(programs, columns, jobs, (outcome) => {
    outcomes.push(outcome);
    if (!outcome.passed) console.log(`${outcome.program}, ${outcome.way}: ${outcome.verdict}`);
    if (outcomes.length % 20 !== 0) return;
    console.log(`${outcomes.length} of ${programs.length * columns.length} crossings made`);
    write();
  });
  write();
  console.log(
    `${outcomes.filter((one) => one.passed).length} of ${outcomes.length} passed; wrote docs/compatibility.md`,
  );
}

main().catch((error: Error) => {
  console.error(error.stack);
  process.exitCode = 1;
});
