// What each path of the contract does. HTTP itself is http.ts, the engine is engine.ts.
import type { ServerResponse } from "node:http";
import { FaultlineError } from "../errors";
import type { Contract } from "./contract";
import type { DumpRequest, Engine, RestoreRequest } from "./engine";
import type { EventLog, ServiceEvent } from "./events";
import type { Answer, Route } from "./http";
import type { ServiceMetrics } from "./metrics";
import type { Restores } from "./restores";

export interface ServiceState {
  readonly version: string;
  readonly contract: Contract;
  readonly engine: Engine;
  readonly events: EventLog;
  readonly restores: Restores;
  readonly metrics: ServiceMetrics;
  /** Fires when the service is asked to end: dumps and restores in progress are abandoned. */
  readonly ending: AbortSignal;
}

export function routesOf(state: ServiceState): readonly Route[] {
  const { contract, engine, events, restores, metrics } = state;
  const startedAt = Date.now();
  return [
    {
      method: "GET",
      path: "/v1/status",
      handle: async () => ({
        status: 200,
        body: {
          version: state.version,
          pid: process.pid,
          uptimeMs: Date.now() - startedAt,
          restoresRunning: restores.running,
          restoresStarted: restores.started,
          dumpsDone: metrics.dumpsDone,
        },
      }),
    },
    { method: "GET", path: "/v1/openapi.json", handle: async () => ({ status: 200, body: contract.document }) },
    {
      method: "POST",
      path: "/v1/dumps",
      handle: async ({ body }) => {
        const request = contract.check<DumpRequest>("DumpRequest", body);
        const dump = await metrics.timeDump(engine.dump(request, state.ending));
        events.emit("dumped", { pid: dump.pid, directory: dump.directory, frozenUs: dump.frozenUs });
        return { status: 201, body: dump };
      },
    },
    {
      method: "GET",
      path: "/v1/restores",
      handle: async () => ({ status: 200, body: { restores: await restores.list() } }),
    },
    {
      method: "POST",
      path: "/v1/restores",
      handle: async ({ body }) => {
        const request = contract.check<RestoreRequest>("RestoreRequest", body);
        const tree = await metrics.timeRestore(engine.restore(request, state.ending));
        return { status: 201, body: await restores.add(request.directory, tree) };
      },
    },
    {
      method: "GET",
      path: "/v1/restores/{id}",
      handle: async ({ parameters }) => ({ status: 200, body: await restores.get(restoreId(parameters.id)) }),
    },
    {
      method: "DELETE",
      path: "/v1/restores/{id}",
      handle: async ({ parameters }) => ({ status: 200, body: await restores.end(restoreId(parameters.id)) }),
    },
    {
      method: "GET",
      path: "/v1/events",
      handle: async ({ query, response }) => streamEvents(events, query.get("since"), response),
    },
    {
      method: "GET",
      path: "/metrics",
      handle: async ({ response }) => {
        response.writeHead(200, { "content-type": metrics.contentType });
        response.end((await metrics.text()) + (await engine.metricsText()));
        return undefined;
      },
    },
  ];
}

function restoreId(text: string | undefined): number {
  const id = Number(text);
  if (!Number.isSafeInteger(id) || id < 1) throw new FaultlineError("NOT_FOUND", `no restore ${text}`);
  return id;
}

/** Writes events as lines until the client goes. A client that does not read is dropped rather than buffered for. */
function streamEvents(events: EventLog, since: string | null, response: ServerResponse): Answer {
  const first = since === null ? undefined : Number(since);
  if (first !== undefined && !Number.isSafeInteger(first)) {
    throw new FaultlineError("USAGE", "since is not a number", { advice: "give the id of the last event seen" });
  }
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  response.flushHeaders();
  const send = (event: ServiceEvent): void => {
    if (!response.write(`${JSON.stringify(event)}\n`)) response.destroy();
  };
  if (first !== undefined) for (const event of events.since(first)) send(event);
  response.once("close", events.listen(send));
  return undefined;
}
