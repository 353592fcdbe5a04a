// A server of lines over TCP: "item N", "digest", "count" (how many were answered before). Holds some 60 MB of JavaScript objects.
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const net = require("node:net");

const scratch = process.argv[2];
const table = new Map(Array.from({ length: 100_000 }, (_, n) => [`key ${n}`, `value ${n * n} of ${n}`.repeat(4)]));
let answered = 0;

function answer(question) {
  answered++;
  if (question === "digest") {
    const digest = createHash("sha256");
    for (const key of [...table.keys()].sort()) digest.update(`${key}=${table.get(key)}\n`);
    return digest.digest("hex");
  }
  if (question === "count") return String(answered);
  return table.get(`key ${question.split(" ")[1]}`);
}

const server = net.createServer((socket) => {
  let unanswered = "";
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    const lines = (unanswered + chunk).split("\n");
    unanswered = lines.pop();
    for (const line of lines) socket.write(`${answer(line.trim())}\n`);
  });
});
server.listen(0, "127.0.0.1", () => {
  fs.writeFileSync(`${scratch}/.ready`, String(server.address().port));
  fs.renameSync(`${scratch}/.ready`, `${scratch}/ready`);
});
