// What inspect says of a dump against what /proc said of the same processes while they lived.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { taskDescriptors } from "../../src/inspect/descriptors";
import { taskMappings } from "../../src/inspect/mappings";
import { environment, listTasks } from "../../src/inspect/tasks";
import { criuDump } from "../support/criu";
import { programFacts, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";

/** Programs with descriptors, mappings and trees of every sort that CRIU dumps. */
const programs = [
  "heap",
  "tree",
  "pipes",
  "fifos",
  "files",
  "memfds",
  "epolls",
  "eventfds",
  "timerfds",
  "signalfds",
  "inotifies",
  "ptys",
  "unix_pairs",
  "unix_named",
  "tcp_listening",
  "ghost_files",
  "mapped_deleted",
  "unix_passed",
  "pidfds",
  "guard_pages",
  "folders",
  "udp_loopback",
  "netlink",
  "shared_anonymous",
  "file_mapping_private",
  "mapping_flags",
  "zombies",
] as const;

interface Lived {
  readonly pid: number;
  readonly maps: readonly string[];
  readonly fds: ReadonlyMap<number, string>;
  readonly words: readonly string[];
  readonly environment: readonly string[];
}

/** What /proc says of a process (proc(5)); a zombie has none of it. */
function look(pid: number): Lived {
  const text = (name: string) => readFileSync(`/proc/${pid}/${name}`, "utf8");
  const strings = (name: string) => text(name).split("\0").slice(0, -1);
  const fds = new Map(readdirSync(`/proc/${pid}/fd`).map((fd) => [Number(fd), readlinkSync(`/proc/${pid}/fd/${fd}`)]));
  return {
    pid,
    maps: text("maps").trimEnd().split("\n"),
    fds,
    words: strings("cmdline"),
    environment: strings("environ"),
  };
}

/** "start-end prot offset name" of a line of /proc/PID/maps. */
function factsOf(line: string): string {
  const [range, prot, offset, , , ...name] = line.split(/\s+/);
  const [start, end] = range!.split("-").map((address) => Number.parseInt(address, 16).toString(16));
  return `${start}-${end} ${prot} ${Number.parseInt(offset!, 16)} ${name.join(" ")}`.trim();
}

/** The kernel shows the parts of its vvar area one by one; an image has one mapping. */
function withOneVvar(lines: readonly string[]): string[] {
  const kept: string[] = [];
  for (const line of lines) {
    if (line.endsWith("[vvar_vclock]") && kept.at(-1)?.endsWith("[vvar]") === true) {
      const end = /-(\w+)/.exec(line)![1]!;
      kept.push(kept.pop()!.replace(/-\w+/, `-${end}`));
    } else kept.push(line);
  }
  return kept;
}

/** Names that the kernel and an image give to the same thing differently, or that an image does not know. */
function comparable(facts: string): string {
  return facts.replace(/ \[(stack:\d+|vvar|anon:.*)\]$/, "").replace(/^(\S+ \S+) \d+( \[|$)/, "$1$2");
}

/** How /proc names an open file of a kind that has no path. */
const linkOf: Readonly<Record<string, RegExp>> = {
  pipe: /^pipe:\[/,
  inet: /^socket:\[/,
  unix: /^socket:\[/,
  netlink: /^socket:\[/,
  eventfd: /^anon_inode:\[eventfd/,
  eventpoll: /^anon_inode:\[eventpoll\]$/,
  timerfd: /^anon_inode:\[timerfd\]$/,
  signalfd: /^anon_inode:\[signalfd\]$/,
  inotify: /^anon_inode:inotify$/,
  memfd: /^\/memfd:/,
  pidfd: /^anon_inode:\[pidfd\]$/,
  tty: /^\/dev\/(pts\/\d+|ptmx)$/,
};

for (const name of programs) {
  test(`a dump of ${name} shows the mappings, descriptors and strings that /proc showed`, async () => {
    await withTempDir("live", (images) =>
      withProgram(name, async (program) => {
        const tree = program.tree().filter((stat) => stat.state !== "Z");
        const lived = tree.map((stat) => look(stat.pid));
        await criuDump(program.pid, images.path, programFacts(name).options);
        await program.gone();
        using checkpoint = Checkpoint.open(images.path);
        assert.deepEqual(
          new Set(
            listTasks(checkpoint)
              .filter((task) => task.state !== "dead")
              .map((task) => task.pid),
          ),
          new Set(lived.map(({ pid }) => pid)),
        );
        const descriptors = new Map(taskDescriptors(checkpoint).map((task) => [task.pid, task.descriptors]));
        for (const { pid, maps, fds, words, environment: variables } of lived) {
          // Guard ranges are parts of other mappings; the kernel's list does not show them.
          const shown = taskMappings(checkpoint, pid).mappings.filter((mapping) => mapping.kind !== "guard");
          const told = shown.map(({ start, end, protection, offset, name }) =>
            `${start.toString(16)}-${end.toString(16)} ${protection} ${offset} ${name}`.trim(),
          );
          assert.deepEqual(told.map(comparable), withOneVvar(maps).map(factsOf).map(comparable));
          assert.deepEqual(listTasks(checkpoint).find((task) => task.pid === pid)!.commandLine, words);
          assert.deepEqual(environment(checkpoint, pid), variables);
          const open = descriptors.get(pid)!;
          assert.deepEqual(new Set(open.map(({ fd }) => fd)), new Set(fds.keys()));
          for (const { fd, kind, target } of open) {
            const link = fds.get(fd)!;
            const pattern = linkOf[kind];
            if (pattern === undefined) assert.equal(target, link, `${kind} ${fd}`);
            else assert.match(link, pattern, `${kind} ${fd}`);
            if (kind === "pipe") assert.ok(target.startsWith(link), `${target} for ${link}`);
          }
        }
      }),
    );
  });
}
