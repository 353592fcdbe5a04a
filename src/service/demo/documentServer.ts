// The program that the demo freezes: a small HTTP server which holds documents in memory. It runs as a process of its
// own and knows nothing of Faultline. Arguments: bytes of documents to make, and the pid of who started it.
//   GET /document/N   that document        GET /status   counts        GET /digest   SHA-256 over all documents
import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import { documentText } from "./documents";

/** Below the ports that the kernel gives to clients, so that none of those takes ours while the server is frozen. */
const firstPort = 20_000;
const portCount = 10_000;
/** One allocation holds many documents, as in a real cache. */
const poolBytes = 1024 * 1024;

const documents: Buffer[] = [];
const startedAt = new Date().toISOString();
let answered = 0;

function fill(wantedBytes: number): number {
  Buffer.poolSize = poolBytes;
  let bytes = 0;
  while (bytes < wantedBytes) {
    const document = Buffer.from(documentText(documents.length));
    bytes += document.length;
    documents.push(document);
  }
  return bytes;
}

function digest(): string {
  const hash = createHash("sha256");
  for (const document of documents) hash.update(document);
  return hash.digest("hex");
}

function answer(url: string, response: ServerResponse): void {
  const id = /^\/document\/(\d+)$/.exec(url)?.[1];
  const document = id === undefined ? undefined : documents[Number(id)];
  if (document !== undefined) {
    answered++;
    response.setHeader("content-type", "application/json");
    response.end(document);
  } else if (url === "/status") {
    response.end(JSON.stringify({ documents: documents.length, answered, startedAt }));
  } else if (url === "/digest") {
    response.end(digest());
  } else {
    response.statusCode = 404;
    response.end();
  }
}

function listen(server: Server, ready: (port: number) => void): void {
  const port = firstPort + Math.floor(Math.random() * portCount);
  server.once("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EADDRINUSE") throw error;
    listen(server, ready);
  });
  server.listen(port, "127.0.0.1", () => ready(port));
}

/** As a daemon does it; so the frozen process needs no file but its program. The lowest free number is given out first. */
function letGoOfLog(): void {
  for (const descriptor of [1, 2]) {
    closeSync(descriptor);
    openSync("/dev/null", "a");
  }
}

function main(): void {
  const [wantedBytes, starter] = process.argv.slice(2).map(Number) as [number, number];
  // Whoever started it may be killed before it can clean up.
  if (starter > 0) setInterval(() => process.ppid === starter || process.exit(0), 1000);
  const bytes = fill(wantedBytes);
  const server = createServer((request, response) => answer(request.url ?? "", response));
  listen(server, (port) => {
    writeSync(1, `${JSON.stringify({ port, documents: documents.length, bytes })}\n`);
    letGoOfLog();
  });
}

main();
