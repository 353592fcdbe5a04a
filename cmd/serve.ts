// faultline serve: the resident process that dumps and restores on request over a Unix socket.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { FaultlineError } from "../src/errors";
import type { ErrorPolicy } from "../src/pager/requests";

interface Options {
  readonly socket: string;
  readonly stayLazy?: true;
  readonly drainRate?: string;
  readonly onError: string;
}

const policies: readonly string[] = ["kill", "poison", "wait"];
const units: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

export function define(command: Command): void {
  command
    .requiredOption("--socket <path>", "the Unix socket to listen on; made with mode 0600")
    .option("--stay-lazy", "bring pages only when they are touched")
    .option("--drain-rate <bytes>", "most bytes a second read in the background, with k, m or g")
    .option("--on-error <policy>", "what happens to tasks whose pages cannot be had: kill, poison or wait", "kill")
    .addHelpText(
      "after",
      `
Answers HTTP with JSON; docs/service.md and GET /v1/openapi.json say what. SIGINT and SIGTERM end it and every tree that
it restored.

Example:
  faultline serve --socket /run/faultline.sock &
  curl --unix-socket /run/faultline.sock http://faultline/v1/restores -d '{"directory": "/var/checkpoints/redis"}'`,
    )
    .action(serve);
}

async function serve(options: Options): Promise<void> {
  if (!policies.includes(options.onError)) {
    throw new FaultlineError("USAGE", `--on-error ${options.onError} is none of ${policies.join(", ")}`);
  }
  const { LocalEngine } = require("../src/service/localEngine") as typeof import("../src/service/localEngine");
  const { startService } = require("../src/service/service") as typeof import("../src/service/service");
  const engine = new LocalEngine({
    onError: options.onError as ErrorPolicy,
    stayLazy: options.stayLazy,
    drainRateBytes: options.drainRate === undefined ? undefined : bytesOf(options.drainRate),
  });
  const service = await startService({
    socket: options.socket,
    version: version(),
    engine,
    onFailure: (error) => process.stderr.write(`faultline: ${(error as Error)?.stack ?? error}\n`),
  }).catch(async (error: unknown) => {
    await engine.close();
    throw error;
  });
  const ended = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  process.stderr.write(`faultline: serving on ${options.socket}\n`);
  await ended;
  await service.close();
}

function bytesOf(text: string): number {
  const match = /^(\d+)([kmg]?)$/i.exec(text);
  const bytes = Number(match?.[1]) * (units[match?.[2]?.toLowerCase() ?? ""] ?? Number.NaN);
  if (bytes > 0) return bytes;
  throw new FaultlineError("USAGE", `--drain-rate ${text} is no number of bytes, as in 50m`);
}

function version(): string {
  const file = join(__dirname, "..", "..", "package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
