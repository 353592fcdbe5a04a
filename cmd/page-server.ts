// faultline page-server: stands in for `criu page-server`. Options and a summary; the work is src/wire/pageServer.
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { secondsOption, wholeOption } from "./support/options";
import { signalDescriptor } from "./support/statusDescriptor";

interface Options {
  readonly imagesDir: string;
  readonly address: string;
  readonly port: number;
  readonly statusFd?: number;
  readonly pidfile?: string;
  readonly timeout: number;
  readonly json?: true;
}

export function define(command: Command): void {
  command
    .requiredOption("-D, --images-dir <dir>", "where the pagemaps and pages files go")
    .option("--address <address>", "where to listen", "127.0.0.1")
    .option("--port <port>", "0: the kernel chooses, and the port is printed", wholeOption("--port"), 0)
    .option("--status-fd <fd>", "write a NUL byte there and close it when listening", wholeOption("--status-fd"))
    .option("--pidfile <file>", "write the server's pid there")
    .option(
      "--timeout <seconds>",
      "longest wait for a dump to connect or to go on; 0: for ever",
      secondsOption("--timeout"),
      60,
    )
    .option("--json", "print what was received as JSON, on stdout")
    .addHelpText(
      "after",
      `
Example, on the machine that gets the pages, and on the one with the program:
  faultline page-server -D images --address 10.0.0.2 --port 7100
  criu dump -t 4711 -D images --page-server --address 10.0.0.2 --port 7100

The other images of the dump stay where criu wrote them: copy them beside the pages. Whoever reaches the port may send: it has
no encryption and no password. Exit status: 0 when a whole dump was received, 1 when not, and then no file is left.`,
    )
    .action(serve);
}

async function serve(options: Options): Promise<void> {
  const { PageServer } = require("../src/wire/pageServer") as typeof import("../src/wire/pageServer");
  const { address, port, timeout } = options;
  const timeoutMs = timeout === 0 ? Number.POSITIVE_INFINITY : timeout * 1000;
  const server = await PageServer.start({ imagesDir: resolve(options.imagesDir), address, port, timeoutMs });
  if (options.pidfile !== undefined) writeFileSync(options.pidfile, String(process.pid));
  process.stderr.write(`faultline: listening at ${address}:${server.port}\n`);
  if (options.statusFd !== undefined) signalDescriptor(options.statusFd);
  const { objects, pages } = await server.serve();
  if (options.json === true) process.stdout.write(`${JSON.stringify({ objects, pages, bytes: pages * 4096 })}\n`);
  else
    process.stderr.write(
      `faultline: ${objects} ${objects === 1 ? "object" : "objects"}, ${((pages * 4096) / 2 ** 20).toFixed(1)} MiB\n`,
    );
}
