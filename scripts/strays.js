// `node scripts/strays.js DIR`: processes that the tests left behind, which are those that name or hold something in DIR,
// the test run's own temporary directory: by command line, environment, executable, current directory or descriptor.
// Ends them by pid, prints one line each on stderr and exits 1; prints nothing where there are none.
// Not for looking at other runs: two runs have two directories.
const { readdirSync, readFileSync, readlinkSync } = require("node:fs");

const folder = process.argv[2];
if (folder === undefined || !folder.startsWith("/tmp/")) throw new Error("usage: strays.js /tmp/DIR");

/** What `read` gives, or nothing where the process or the entry is gone meanwhile or cannot be looked at. */
function look(read) {
  try {
    return read();
  } catch (error) {
    if (error.code === undefined) throw error;
    return undefined;
  }
}

const text = (path) => look(() => readFileSync(path, "latin1")) ?? "";
const link = (path) => look(() => readlinkSync(path)) ?? "";
const names = (path) => look(() => readdirSync(path)) ?? [];

/** Not this process and not those that wait for it. */
function ownAncestors() {
  const found = new Set();
  for (let pid = process.pid; pid > 1; ) {
    found.add(pid);
    const stat = text(`/proc/${pid}/stat`);
    pid = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  }
  return found;
}

function usesFolder(pid) {
  const at = `/proc/${pid}`;
  const holds = (path) => path.startsWith(`${folder}/`);
  if (`${text(`${at}/cmdline`)}\0${text(`${at}/environ`)}`.includes(folder)) return true;
  if (holds(link(`${at}/exe`)) || holds(link(`${at}/cwd`))) return true;
  return names(`${at}/fd`).some((fd) => holds(link(`${at}/fd/${fd}`)));
}

const spared = ownAncestors();
const strays = names("/proc")
  .filter((name) => /^\d+$/.test(name))
  .map(Number)
  .filter((pid) => !spared.has(pid) && usesFolder(pid));
for (const pid of strays) {
  const command = text(`/proc/${pid}/cmdline`).split("\0").join(" ").trim();
  const state = /State:\s+(\S+)/.exec(text(`/proc/${pid}/status`))?.[1] ?? "?";
  console.error(`a test left a process behind: pid ${pid}, state ${state}: ${command.slice(0, 200)}`);
  look(() => process.kill(pid, "SIGKILL"));
}
if (strays.length > 0) process.exitCode = 1;
