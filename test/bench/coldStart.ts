// Measures cold starts against `node -e 0`, alternating, as medians: `faultline --version` and its ratio, and, as root,
// `faultline restore -d` of an idle Node with 64 MB, dumped by ourselves, and its difference.
// Run by `npm run bench:cold-start`; exits 1 where the ratio exceeds the bound that the project holds itself to.
import { cpus, release } from "node:os";
import { median } from "./report/statistics";
import { restoreAimMs } from "./sections/start";
import { measureStarts } from "./support/starts";

const rounds = Number(process.env.ROUNDS ?? 41);
const ratioBound = 1.5;

function line(name: string, values: readonly number[]): string {
  const fastest = Math.min(...values).toFixed(1);
  return `  ${name.padEnd(22)}${median(values).toFixed(1)} ms median, ${fastest} ms fastest\n`;
}

function difference(name: string, more: number, note: string): string {
  return `  ${name.padEnd(22)}${more.toFixed(1)} ms ${note}\n`;
}

async function main(): Promise<void> {
  const { node, nodeWithCertificates, version, restore } = await measureStarts(rounds, false);
  const ratio = median(version) / median(node);
  process.stdout.write(
    `cold start, ${rounds} alternating runs, Node ${process.version}, Linux ${release()}, ${cpus()[0]?.model.trim()}, ` +
      `${cpus().length} cores\n${line("node -e 0", node)}${line("faultline --version", version)}` +
      `  ratio                 ${ratio.toFixed(2)} (bound ${ratioBound})\n`,
  );
  if (ratio > ratioBound) process.exitCode = 1;
  if (restore.length === 0) return;
  const more = median(restore) - median(node);
  process.stdout.write(
    line("faultline restore -d", restore) + difference("above node -e 0", more, `(aim ${restoreAimMs} ms)`),
  );
  if (nodeWithCertificates.length === 0) return;
  const moreThan = median(restore) - median(nodeWithCertificates);
  process.stdout.write(
    line("node -e 0, as it is", nodeWithCertificates) +
      difference("above that", moreThan, "(NODE_EXTRA_CA_CERTS is set here, which faultline leaves unread)"),
  );
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
