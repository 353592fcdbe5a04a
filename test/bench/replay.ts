// Replays a trace of `lazy-pages --trace` or of the same image again: a process with the memory of the recorded one, lazy as
// after a restore, does the recorded faults and layout changes in their order, served by the pager as it is now. Says what the
// touches took, then and now, and whether every page had its bytes. Threads of the recorded program do not run beside each
// other here, and memory that it mapped later is not there.
//   npm run replay -- TRACE DIR [--session N] [--drain] [--json]
import { parseArgs } from "node:util";
import { FaultlineError } from "../../src/errors";
import { type Replayed, replay } from "./replay/run";
import { type Recorded, readTrace } from "./replay/trace";

function percentiles(us: readonly number[]): { p50: number; p90: number; p99: number } {
  const sorted = [...us].sort((a, b) => a - b);
  const at = (share: number) => Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 10) / 10;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

function text(recorded: Recorded, now: Replayed): string {
  const line = (us: readonly number[]) => {
    const { p50, p90, p99 } = percentiles(us);
    return `p50 ${p50} µs, p90 ${p90} µs, p99 ${p99} µs`;
  };
  const { report } = now;
  return [
    `recorded: ${recorded.faults} faults, ${recorded.events} layout changes, ${recorded.forks} forks in ${recorded.roots.length} tasks; pager ${line(recorded.latenciesUs)}`,
    `replayed: ${now.touches} touches, ${now.waitedUs.length} of them waited: ${line(now.waitedUs)}`,
    `pager:    ${report.faults} faults, p50 ${report.latency.p50Us} µs, p99 ${report.latency.p99Us} µs; ${report.faultedPages} pages on demand, ${report.drainedPages} in the background`,
    `bytes:    ${now.right} right, ${now.wrong.length} wrong, ${now.notMapped} not mapped here, ${now.refused} layout changes refused`,
    ...now.wrong.slice(0, 10).map((wrong) => `wrong:    ${wrong}`),
  ].join("\n");
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { session: { type: "string" }, drain: { type: "boolean" }, json: { type: "boolean" } },
  });
  const [file, directory] = positionals;
  if (file === undefined || directory === undefined || positionals.length > 2) {
    throw new FaultlineError("USAGE", "npm run replay -- TRACE DIR [--session N] [--drain] [--json]");
  }
  const recorded = readTrace(file, Number(values.session ?? 1));
  const now = await replay(recorded, directory, { stayLazy: values.drain !== true });
  if (values.json === true) {
    const { waitedUs, ...rest } = now;
    console.log(JSON.stringify({ ...rest, waited: { count: waitedUs.length, ...percentiles(waitedUs) } }));
  } else {
    console.log(text(recorded, now));
  }
  if (now.wrong.length > 0 || now.report.state !== "done") process.exitCode = 1;
}

main().catch((error: unknown) => {
  console.error(error instanceof FaultlineError ? `replay: ${error.line()}` : error);
  process.exitCode = error instanceof FaultlineError && error.code === "USAGE" ? 2 : 1;
});
