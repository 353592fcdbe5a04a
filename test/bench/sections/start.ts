// What a whole command takes that restores in the background, beside an empty Node.
import { type Aim, digits, type Section, type SectionResult } from "../report/result";
import { median, quantile } from "../report/statistics";
import { measureStarts, type Starts } from "../support/starts";

/** What `restore -d` may take more than an empty Node, milliseconds. */
export const restoreAimMs = 20;

export const start: Section = {
  name: "start",
  async measure({ quick, say }) {
    const rounds = quick ? 7 : 25;
    say(`${rounds} rounds`);
    return describe(await measureStarts(rounds, true));
  },
};

function describe(starts: Starts): SectionResult {
  const { node, nodeWithCertificates, version, restore, criu } = starts;
  const row = (name: string, values: readonly number[]) =>
    values.length === 0 ? [] : [[name, ...[0, 0.5, 0.9].map((q) => digits(quantile(values, q)))]];
  return {
    name: "start",
    title: "Whole commands",
    about:
      "From the start of a command until it returns, which `restore -d` does when the tree runs: an idle Node of 64 MB, dumped by " +
      "Faultline. The pages are in the page cache. *As it is set*: some environments have Node read more certificates at every start, which Faultline leaves unread; " +
      "all other rows are without.",
    tables: [
      {
        title: "Command to return, ms",
        columns: ["command", "fastest", "median", "p90"],
        rows: [
          ...row("node -e 0", node),
          ...row("node -e 0, NODE_EXTRA_CA_CERTS as it is set", nodeWithCertificates),
          ...row("faultline --version", version),
          ...row("faultline restore -d, packed", restore),
          ...row("criu restore -d, raw, all pages", criu),
        ],
      },
    ],
    plots: [],
    aims: [aim(starts)],
    raw: starts,
  };
}

function aim({ node, nodeWithCertificates, restore }: Starts): Aim {
  const more = median(restore) - median(node);
  const asSet = median(restore) - median(nodeWithCertificates);
  const there = Number.isNaN(asSet) ? "" : `; ${asSet.toFixed(1)} ms with NODE_EXTRA_CA_CERTS as it is set there`;
  return {
    aim: `restore -d returns at most ${restoreAimMs} ms after an empty Node would`,
    measured: `${more.toFixed(1)} ms${there}`,
    met: more <= restoreAimMs,
    why: "a third of the rest is loading the command, a third reading the images and planning, a third making the task, all in code that runs once and so is interpreted: see *How long it takes* in restore.md",
  };
}
