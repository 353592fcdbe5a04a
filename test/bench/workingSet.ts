// Measures the recorded working set on servers (redis, node, python): demand faults of a restore without and with it, and
// the time from the start of the command to the last of 60 answers with the image files out of the page cache, for raw
// images, packed ones, and ones packed by working set. In turns, medians.
//   npm run bench:working-set [-- ROUNDS]
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync } from "node:fs";
import { cpus, release } from "node:os";
import { packDirectory } from "../../src/images/pack";
import type { SessionReport } from "../../src/pager/requests";
import { dumpServer, RestoredServer, type ServerKind, serverKinds } from "../support/servers";
import { type TempDir, withTempDir } from "../support/tempdir";

const forms = ["images", "packed", "ordered"] as const;
const names = { images: "raw", packed: "packed", ordered: "packed by working set" } as const;

/** Out of the page cache: dd without a byte to copy only gives the advice (posix_fadvise DONTNEED). */
function dropCache(images: string): void {
  for (const name of readdirSync(images).filter((each) => each.endsWith(".img"))) {
    execFileSync("dd", [`if=${images}/${name}`, "iflag=nocache", "count=0"], { stdio: "ignore" });
  }
}

interface Measured {
  readonly answeredMs: number;
  readonly report: SessionReport;
}

async function restoreOnce(kind: ServerKind, dir: TempDir, images: string, options: string[]): Promise<Measured> {
  const startMs = performance.now();
  const server = await RestoredServer.start(kind, dir.join("socket"), images, ["--stay-lazy", ...options]);
  await server.askAll();
  const answeredMs = performance.now() - startMs;
  return { answeredMs, report: await server.end() };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

async function measure(kind: ServerKind, rounds: number): Promise<void> {
  await withTempDir("bench", async (dir) => {
    const images = dir.join("images");
    await dumpServer(kind, dir.join("socket"), images, "none");
    await restoreOnce(kind, dir, images, ["--record"]);
    for (const form of ["packed", "ordered"] as const) {
      cpSync(images, dir.join(form), { recursive: true });
      await packDirectory(dir.join(form), { byWorkingSet: form === "ordered" });
    }
    for (const form of forms) {
      const without: Measured[] = [];
      const with_: Measured[] = [];
      for (let round = 0; round < rounds; round++) {
        dropCache(dir.join(form));
        without.push(await restoreOnce(kind, dir, dir.join(form), ["--no-working-set"]));
        dropCache(dir.join(form));
        with_.push(await restoreOnce(kind, dir, dir.join(form), []));
      }
      const faults = (all: Measured[]) => median(all.map(({ report }) => report.faults));
      const time = (all: Measured[]) => median(all.map(({ answeredMs }) => answeredMs));
      const cells = [
        kind,
        names[form],
        faults(without),
        faults(with_),
        time(without).toFixed(0),
        time(with_).toFixed(0),
      ];
      process.stdout.write(`| ${[...cells, (time(without) / time(with_)).toFixed(2)].join(" | ")} |\n`);
    }
  });
}

async function main(): Promise<void> {
  const rounds = Number(process.argv[2] ?? "5");
  process.stdout.write(`${cpus().length} CPUs (${cpus()[0]!.model}), Linux ${release()}, Node ${process.version}, `);
  process.stdout.write(`${new Date().toISOString().slice(0, 10)}; medians of ${rounds}, in turns\n\n`);
  process.stdout.write("| server | images | faults without | faults with | ms without | ms with | ratio |\n");
  process.stdout.write("| --- | --- | --: | --: | --: | --: | --: |\n");
  for (const kind of serverKinds) await measure(kind, rounds);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
