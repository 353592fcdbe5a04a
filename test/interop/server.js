// A node HTTP server with worker threads that answers from data it holds; driven by servers.test.ts. Prints nothing.
const http = require("node:http");
const { createHash } = require("node:crypto");
const { Worker, isMainThread, parentPort } = require("node:worker_threads");

if (!isMainThread) {
  parentPort.on("message", ({ id, text }) => {
    parentPort.postMessage({ id, hash: createHash("sha256").update(text).digest("hex") });
  });
} else {
  const held = new Map();
  for (let i = 0; i < 50000; i++) held.set(`key ${i}`, `value ${i} `.repeat(20));
  const workers = [0, 1].map(() => new Worker(__filename));
  const waiting = new Map();
  let asked = 0;
  for (const worker of workers)
    worker.on("message", ({ id, hash }) => {
      waiting.get(id)(hash);
      waiting.delete(id);
    });
  const server = http.createServer(async (request, response) => {
    const id = asked++;
    const text = held.get(decodeURIComponent(request.url.slice(1))) ?? "";
    const hash = await new Promise((done) => {
      waiting.set(id, done);
      workers[id % 2].postMessage({ id, text });
    });
    response.end(hash);
  });
  server.listen(Number(process.argv[2]), "127.0.0.1");
}
