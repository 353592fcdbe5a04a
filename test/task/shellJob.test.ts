// A shell's job, dumped with -j on one terminal and restored with -j on another: it reads and writes there, and the keys of
// that terminal reach it. The terminals are script(1)'s, with an interactive shell on each.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { withTempDir } from "../support/tempdir";
import { sleep, waitFor } from "../support/wait";

const limit = { timeout: 120_000 };
const faultline = resolve(__dirname, "..", "..", "..", "bin", "faultline");

const job = `
trap 'interrupts=$((interrupts + 1)); echo "interrupted $interrupts"' INT
interrupts=0
tty; echo "job $$ is ready"
while :; do
  read line || continue
  [ "$line" = quit ] && exit 7
  echo "got <$line> from $(tty)"
done
`;

/** An interactive shell on a terminal of its own. */
class Terminal {
  readonly #child: ChildProcess;
  /** Everything that came on the terminal, typed lines included. */
  screen = "";

  constructor() {
    const shell = "PS1='prompt> ' bash --noprofile --norc -i";
    this.#child = spawn("script", ["-qfc", shell, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.screen += chunk.toString("latin1");
    });
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  /** Waits until the screen has it, and gives what matched. */
  async shows(what: RegExp): Promise<RegExpExecArray> {
    try {
      return await waitFor(`${what} on the terminal`, () => what.exec(this.screen) ?? undefined);
    } catch (error) {
      throw new Error(`${(error as Error).message}; it shows ${JSON.stringify(this.screen)}`);
    }
  }

  async close(): Promise<void> {
    // With its end the terminal hangs up on all who run there.
    this.#child.kill("SIGKILL");
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
  }
}

for (const eager of [false, true]) {
  test(`a shell's job goes on at another terminal, restored ${eager ? "eagerly" : "lazily"}`, limit, async () => {
    await withTempDir("shell-job", async (folder) => {
      writeFileSync(folder.join("job.sh"), job);
      const first = new Terminal();
      const second = new Terminal();
      try {
        first.type(`sh ${folder.join("job.sh")}\n`);
        const pid = Number((await first.shows(/job (\d+) is ready/))[1]);
        first.type("one\n");
        const [, firstTty] = await first.shows(/got <one> from (\S+)/);
        const images = folder.join("img");
        const dumped = spawn(faultline, ["dump", "-t", String(pid), "-j", "-D", images], { stdio: "inherit" });
        assert.deepEqual(await once(dumped, "exit"), [0, null]);
        await first.shows(/Killed/);

        await second.shows(/prompt> /);
        second.type(`${faultline} restore -j -D ${images} ${eager ? "--eager" : ""}; echo "code $?"\n`);
        await waitFor("the job to be back", () => {
          if (/code \d/.test(second.screen)) throw new Error(`it is not restored: ${second.screen}`);
          return (
            existsSync(`/proc/${pid}/stat`) && /^State:\s+[SR]/m.test(readFileSync(`/proc/${pid}/status`, "latin1"))
          );
        });
        second.type("two\n");
        const [, secondTty] = await second.shows(/got <two> from (\S+)/);
        assert.notEqual(secondTty, firstTty);

        second.type("\x03");
        await second.shows(/interrupted 1/);
        second.type("three\n");
        await second.shows(/got <three>/);
        await sleep(200); // it had one for each Ctrl-C, and one more from the restore that waits for it
        assert.doesNotMatch(second.screen, /interrupted 2/);
        second.type("\x03");
        await second.shows(/interrupted 2/);
        second.type("quit\n");
        await second.shows(/code 7/);
        assert.ok(!existsSync(`/proc/${pid}`));
        assert.doesNotMatch(first.screen, /two|three|interrupted/);
      } finally {
        await first.close();
        await second.close();
      }
    });
  });
}
