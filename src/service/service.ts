// The resident process: one engine, the restores it started, and the socket it answers on.
import { unlinkSync } from "node:fs";
import type { Server } from "node:http";
import { Contract } from "./contract";
import type { Engine } from "./engine";
import { EventLog } from "./events";
import { listen } from "./http";
import { ServiceMetrics } from "./metrics";
import { Restores } from "./restores";
import { routesOf } from "./routes";

export interface ServiceOptions {
  /** Path of the Unix socket; made with mode 0600. */
  readonly socket: string;
  readonly version: string;
  readonly engine: Engine;
  /** Unexpected failures of a request, with their stack. */
  readonly onFailure: (error: unknown) => void;
}

export interface Service {
  /** Refuses new requests, abandons those in progress, ends every restored tree with SIGKILL and removes the socket. */
  close(): Promise<void>;
}

export async function startService(options: ServiceOptions): Promise<Service> {
  const ending = new AbortController();
  const events = new EventLog();
  const restores = new Restores(events);
  const metrics = new ServiceMetrics(() => restores.running);
  const { version, engine } = options;
  const contract = new Contract();
  const routes = routesOf({ version, contract, engine, events, restores, metrics, ending: ending.signal });
  const server = await listen(options.socket, routes, options.onFailure);
  return { close: () => close(server, options, ending, restores) };
}

async function close(
  server: Server,
  { socket, engine }: ServiceOptions,
  ending: AbortController,
  restores: Restores,
): Promise<void> {
  unlinkSync(socket);
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  ending.abort();
  await restores.endAll();
  await engine.close();
  server.closeAllConnections();
  await closed;
}
