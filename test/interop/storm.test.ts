// Eight threads that change their layout at random while CRIU's restore of them is lazy, over seeds and drain rates: no
// wrong byte, no hang, nothing left in the daemon.
//   npm run storm -- --seeds N --seconds S      longer: the full storm is 20 seeds of 60 seconds
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { criuDump, criuRestore } from "../support/criu";
import { FaultlineLazyPages } from "../support/lazyDaemon";
import { packBeside } from "../support/packedPages";
import { withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

const seeds = option("seeds", 8);
const seconds = option("seconds", 1);
/** Low: the storm is over before the drain. High: they race. */
const drains: readonly (readonly string[])[] = [["--drain-rate", "1M"], ["--drain-rate", "50M"], [], ["--stay-lazy"]];
/** What the daemon may grow by between two restores that it has ended: noise of the collector, not pages. */
const growthMaxKib = 96 * 1024;

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]);
}

/** What the daemon has open, sorted. With --keep that includes the page files read ahead for the next restore. */
function descriptors(pid: number): string {
  const folder = `/proc/${pid}/fd`;
  const links = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`);
    } catch (error) {
      return `closed meanwhile: ${error}`;
    }
  });
  return links.sort().join("\n");
}

/** A restore served by a daemon that stays (--keep), so that what it leaves behind shows. */
async function storm(seed: number, drain: readonly string[], packed: boolean): Promise<void> {
  await withTempDir("storm", (images) =>
    withProgram(
      "lazy_storm",
      async (program) => {
        await criuDump(program.pid, images.path);
        await program.gone();
        if (packed) await packBeside(images.path);
        const daemon = await FaultlineLazyPages.start(images.path, ["--keep", ...drain]);
        try {
          const resident = residentKib(daemon.pid);
          const before = descriptors(daemon.pid);
          await criuRestore(images.path, [], true);
          program.go();
          assert.equal(await program.verdict(seconds * 1000 + 30_000), "PASS", `seed ${seed}: ${daemon.messages}`);
          // The last context goes when its process does, and its exit raises no event.
          await waitFor("the daemon to let go of the session", () => descriptors(daemon.pid) === before).catch(() =>
            assert.equal(descriptors(daemon.pid), before, daemon.messages),
          );
          const growth = residentKib(daemon.pid) - resident;
          assert.ok(growth < growthMaxKib, `the daemon grew by ${growth} KiB`);
        } finally {
          await daemon.stop();
        }
      },
      { arguments: [`${seed}`, `${seconds * 1000}`] },
    ),
  );
}

for (let seed = 1; seed <= seeds; seed++) {
  const drain = drains[seed % drains.length]!;
  const packed = seed % 8 >= 4;
  test(`a storm of layout changes is served, seed ${seed} ${drain.join(" ")} ${packed ? "packed" : "raw"}`, () =>
    storm(seed, drain, packed));
}
