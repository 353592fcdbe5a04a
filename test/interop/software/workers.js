// node with worker threads that compute and answer over message ports and shared memory, timers, streams and a child process.
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");
const { spawn } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");

if (!isMainThread) {
  const counter = new Int32Array(workerData);
  parentPort.on("message", ({ id, text }) => {
    Atomics.add(counter, 0, 1);
    parentPort.postMessage({ id, hash: createHash("sha256").update(text).digest("hex") });
  });
} else {
  main()
    .catch((error) => publish("verdict", `FAIL ${error.stack.split("\n").join(" | ")}\n`))
    .then(() => process.exit());
}

function publish(name, text) {
  const scratch = process.argv[2];
  fs.writeFileSync(`${scratch}/.${name}`, text);
  fs.renameSync(`${scratch}/.${name}`, `${scratch}/${name}`);
}

async function main() {
  const shared = new SharedArrayBuffer(4);
  const held = Array.from({ length: 20000 }, (_, i) => ({ i, text: `item ${i}`.repeat(10) }));
  const workers = [0, 1, 2].map(() => new Worker(__filename, { workerData: shared }));
  const child = spawn("/bin/cat", { stdio: ["pipe", "pipe", "inherit"] });
  let [asked, answered, echoed, ticks, said] = [0, 0, "", 0, ""];
  const waiting = new Map();
  for (const worker of workers)
    worker.on("message", ({ id, hash }) => {
      waiting.get(id)(hash);
      waiting.delete(id);
      answered++;
    });
  child.stdout.on("data", (chunk) => (echoed += chunk));
  setInterval(() => ticks++, 5);
  const ask = async () => {
    const id = asked++;
    const hash = await new Promise((done) => {
      waiting.set(id, done);
      workers[id % 3].postMessage({ id, text: `text ${id}` });
    });
    if (hash !== createHash("sha256").update(`text ${id}`).digest("hex")) throw new Error(`answer ${id} is wrong`);
  };
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  let before = 0;
  for (let round = 0; ; round++) {
    await Promise.all([ask(), ask(), ask()]);
    said += `${round} `;
    child.stdin.write(`${round} `);
    if (round === 50) publish("ready", "ready\n");
    if (round % 4 === 0) await pause(1);
    if (before === 0 && fs.existsSync(`${process.argv[2]}/go`)) before = round;
    if (before > 0 && round > before + 200) break;
  }
  const late = new Worker("require('node:worker_threads').parentPort.postMessage(42)", { eval: true });
  const got = await new Promise((done) => late.once("message", done));
  if (got !== 42) throw new Error("a new worker does not answer");
  child.stdin.end();
  const status = await new Promise((done) => child.once("close", done));
  if (status !== 0 || echoed !== said)
    throw new Error(`the child ended with ${status} and echoed ${echoed.length} of ${said.length}`);
  if (Atomics.load(new Int32Array(shared), 0) !== asked || answered !== asked) throw new Error("answers are missing");
  if (!held.every(({ i, text }) => text === `item ${i}`.repeat(10))) throw new Error("held data changed");
  if (ticks < 10) throw new Error("the timer stopped");
  publish("verdict", "PASS\n");
}
