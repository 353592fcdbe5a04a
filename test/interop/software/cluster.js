// node cluster: a primary and two workers behind one listening socket, with channels between them.
const cluster = require("node:cluster");
const fs = require("node:fs");
const http = require("node:http");

function publish(name, text) {
  const scratch = process.argv[2];
  fs.writeFileSync(`${scratch}/.${name}`, text);
  fs.renameSync(`${scratch}/.${name}`, `${scratch}/${name}`);
}

function get(port) {
  return new Promise((done, fail) => {
    const request = http.get({ port, host: "127.0.0.1", agent: false, timeout: 5000 }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => done(text));
    });
    request.on("error", fail);
    request.on("timeout", () => request.destroy(new Error("no answer")));
  });
}

async function primary() {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const workers = [cluster.fork(), cluster.fork()];
  let [pongs, port] = [0, 0];
  await Promise.all(
    workers.map(
      (worker) =>
        new Promise((done) => {
          worker.on("message", (message) => {
            if (message.port) {
              port = message.port;
              done();
            } else pongs++;
          });
        }),
    ),
  );
  const seen = new Set();
  for (let i = 0; i < 10; i++) seen.add(await get(port));
  if (seen.size !== 2) throw new Error(`answers of ${seen.size} workers`);
  await new Promise((done) => setTimeout(done, 100));
  setInterval(() => {
    for (const worker of workers) worker.send("ping");
  }, 5);
  setTimeout(() => publish("ready", "ready\n"), 100);
  while (!fs.existsSync(`${process.argv[2]}/go`)) await new Promise((done) => setTimeout(done, 5));
  const before = pongs;
  const after = new Set();
  for (let i = 0; i < 50; i++) after.add(await get(port));
  if ([...after].sort().join() !== [...seen].sort().join())
    throw new Error(`other workers answer: ${[...after]}, not ${[...seen]}`);
  await new Promise((done) => setTimeout(done, 100));
  if (pongs <= before) throw new Error("the channel to the workers is dead");
  const late = cluster.fork();
  await new Promise((done) => late.on("message", (message) => message.port && done()));
  publish("verdict", "PASS\n");
}

if (cluster.isPrimary) {
  primary()
    .catch((error) => publish("verdict", `FAIL ${error.stack.split("\n").join(" | ")}\n`))
    .then(() => {
      for (const worker of Object.values(cluster.workers)) worker.process.kill("SIGKILL");
      process.exit();
    });
} else {
  const server = http.createServer((_, response) => response.end(`worker ${process.pid}`));
  server.listen(0, "127.0.0.1", () => process.send({ port: server.address().port }));
  process.on("message", () => process.send("pong"));
}
