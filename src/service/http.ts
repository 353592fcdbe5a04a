// HTTP over a Unix socket: listening, who may connect, routing, bodies in and out. What the routes do is routes.ts.
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { type ErrorCode, FaultlineError } from "../errors";
import { REQUEST_BODY_BYTES_MAX } from "../limits";
import { native } from "../native";

/** What a route answers: a status and a JSON body, or undefined where it has written the response itself. */
export type Answer = { readonly status: number; readonly body: unknown } | undefined;

export interface Exchange {
  /** The path's parameters, by name. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** The parsed JSON body; undefined where there was none. */
  readonly body: unknown;
  readonly response: ServerResponse;
}

export interface Route {
  readonly method: "GET" | "POST" | "DELETE";
  /** As in the contract: "/v1/restores/{id}". */
  readonly path: string;
  readonly handle: (exchange: Exchange) => Promise<Answer>;
}

const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  USAGE: 400,
  PERMISSION: 403,
  NOT_FOUND: 404,
  IMAGE_MISSING: 404,
  BUSY: 409,
  CHANGED: 409,
  UNSUPPORTED: 422,
  IMAGE_CORRUPT: 422,
  IMAGE_TRUNCATED: 422,
  IMAGE_UNSUPPORTED: 422,
};

/** Serves `routes` on a Unix socket at `path`, mode 0600, to the peers that this process's user owns, and to root. */
export async function listen(
  path: string,
  routes: readonly Route[],
  onFailure: (error: unknown) => void,
): Promise<Server> {
  await removeStaleSocket(path);
  const server = createServer((request, response) => {
    exchange(routes, request, response, onFailure).catch((error: unknown) => {
      onFailure(error);
      response.destroy();
    });
  });
  server.on("connection", refuseStrangers);
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(path, error)));
      server.listen(path, resolve);
    });
  } finally {
    process.umask(mask);
  }
  chmodSync(path, 0o600);
  return server;
}

function listenError(path: string, error: NodeJS.ErrnoException): FaultlineError {
  const code: ErrorCode = error.code === "EADDRINUSE" ? "BUSY" : error.code === "EACCES" ? "PERMISSION" : "SYSTEM";
  return new FaultlineError(code, `the service cannot listen: ${error.code ?? error.message}`, {
    file: path,
    advice: "choose another --socket path",
    cause: error,
  });
}

/** A socket file that nobody answers is what a service left that was killed; anything else at the path is kept. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new FaultlineError("BUSY", "something other than a socket is at the path", {
      file: path,
      advice: "choose another --socket path",
    });
  }
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (alive) {
    throw new FaultlineError("BUSY", "a service is already listening", {
      file: path,
      advice: "ask that one, or end it",
    });
  }
  unlinkSync(path);
}

/** The file's mode keeps others out already; this also holds where the mode was widened, or the socket handed on. */
function refuseStrangers(socket: Socket): void {
  const handle = (socket as unknown as { _handle?: { fd?: number } })._handle;
  const uid = native.socketPeerUid(handle?.fd ?? -1);
  if (uid !== 0 && uid !== process.geteuid?.()) socket.destroy();
}

async function exchange(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
  onFailure: (error: unknown) => void,
): Promise<void> {
  let answer: Answer;
  try {
    const url = new URL(request.url ?? "/", "http://faultline");
    const { route, parameters } = find(routes, request.method ?? "GET", url.pathname);
    const body = route.method === "POST" ? await readBody(request) : undefined;
    answer = await route.handle({ parameters, query: url.searchParams, body, response });
  } catch (error) {
    if (!(error instanceof FaultlineError)) onFailure(error);
    if (response.headersSent) {
      response.destroy();
      return;
    }
    answer = errorAnswer(error);
  }
  if (answer === undefined) return;
  response.writeHead(answer.status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(answer.body)}\n`);
}

function errorAnswer(error: unknown): Answer {
  if (error instanceof FaultlineError) {
    return { status: STATUS_OF[error.code] ?? 500, body: { error: { code: error.code, message: error.line() } } };
  }
  return {
    status: 500,
    body: { error: { code: "INTERNAL", message: "unexpected failure; the service's log has it" } },
  };
}

function find(
  routes: readonly Route[],
  method: string,
  path: string,
): { route: Route; parameters: Record<string, string> } {
  const allowed: string[] = [];
  for (const route of routes) {
    const parameters = match(route.path, path);
    if (parameters === undefined) continue;
    if (route.method === method) return { route, parameters };
    allowed.push(route.method);
  }
  if (allowed.length > 0) {
    throw new FaultlineError("USAGE", `${path} takes ${allowed.join(", ")}, not ${method}`);
  }
  throw new FaultlineError("NOT_FOUND", `the service has no ${path}`, {
    advice: "GET /v1/openapi.json lists its paths",
  });
}

function match(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const value = given[index]!;
    if (part.startsWith("{")) parameters[part.slice(1, -1)] = decodeURIComponent(value);
    else if (part !== value) return undefined;
  }
  return parameters;
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > REQUEST_BODY_BYTES_MAX) throw new FaultlineError("USAGE", "the request body is too large");
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new FaultlineError("USAGE", "the request body is not JSON");
  }
}
