// faultline serve: the resident process that dumps and restores on request over a Unix socket.
import type { Command } from "commander";
import type { ErrorPolicy } from "../src/pager/requests";
import { bytesOption, onErrorHelp, policyOption } from "./support/options";
import { version } from "./support/version";

interface Options {
  readonly socket: string;
  readonly stayLazy?: true;
  readonly drainRate?: number;
  readonly onError: ErrorPolicy;
  readonly warm?: readonly string[];
}

export function define(command: Command): void {
  command
    .requiredOption("--socket <path>", "the Unix socket to listen on; made with mode 0600")
    .option("--stay-lazy", "bring pages only when they are touched")
    .option("--drain-rate <bytes>", "most bytes a second in the background, e.g. 50M", bytesOption("--drain-rate", 1))
    .option("--on-error <policy>", onErrorHelp, policyOption("--on-error"), "kill")
    .option("--warm <dirs...>", "image directories that will be restored: their first restore is quicker for it")
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
  const { LocalEngine } = require("../src/service/localEngine") as typeof import("../src/service/localEngine");
  const { startService } = require("../src/service/service") as typeof import("../src/service/service");
  const engine = new LocalEngine({
    onError: options.onError,
    stayLazy: options.stayLazy,
    drainRateBytes: options.drainRate,
    warm: options.warm,
    onWarning: (line) => void process.stderr.write(`faultline: warning: ${line}\n`),
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
