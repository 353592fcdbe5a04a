// Core files: the real gdb on a task that the real CRIU dumped, and the file's own structure.
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeImageOf, encodeImage } from "../../src/images/framing";
import { Checkpoint } from "../../src/inspect/checkpoint";
import { writeCoreFile } from "../../src/inspect/coreFile";
import { coreHead, registerNames } from "../../src/inspect/elfCore";
import { taskMappings } from "../../src/inspect/mappings";
import { threadRegisters } from "../../src/inspect/registers";
import { criuDump, runCommand } from "../support/criu";
import { compileProgram, withProgram } from "../support/program";
import { withTempDir } from "../support/tempdir";
import { type CritRun, type CritVma, critEntries, critRuns, fixtureImages, fixtureNames, packedCopy } from "./fixtures";

/** Runs gdb without any user's settings; gives the output of each command, in order. */
async function gdb(executable: string, core: string, commands: readonly string[]): Promise<string[]> {
  const mark = "----8<----";
  const args = commands.flatMap((command) => ["-ex", `echo ${mark}\\n`, "-ex", command]);
  const debuginfod = ["-iex", "set debuginfod enabled off", "-iex", "set width 0"];
  const { output } = await runCommand("gdb", ["-batch", "-nx", ...debuginfod, ...args, executable, core]);
  assert.doesNotMatch(output.split(mark)[0]!, /warning: Unexpected size|not a core dump|corrupt/);
  return output.split(mark).slice(1);
}

test("gdb opens the core of a dumped program: threads, backtraces, registers, memory, files", async () => {
  await withTempDir("core", (images) =>
    withProgram("gdb_threads", async (program) => {
      await criuDump(program.pid, images.path);
      await program.gone();
      const core = images.join("core.gdb");
      using checkpoint = Checkpoint.open(images.path);
      const summary = writeCoreFile(checkpoint, program.pid, core);
      assert.equal(summary.threads, 3);
      assert.equal(summary.absentPages, 0);
      const [threads, traces, globals, list, island, sea, libraries, auxv] = await gdb(
        compileProgram("gdb_threads"),
        core,
        [
          "info threads",
          "thread apply all backtrace",
          "print greeting",
          "print {*book, *book->next->next}",
          "x/s island + 33554432",
          "x/2xg island",
          "info sharedlibrary",
          "info auxv",
        ],
      );
      assert.equal(threads!.match(/LWP \d+/g)!.length, 3);
      assert.ok(threads!.includes(`LWP ${program.pid}`));
      for (const frames of [
        /innermost .*\n.*middle \(word=.*"hello"\).*\n.*main /,
        /wait_in_read .*\n.*level_two .*\n.*reader /,
        /spinner /,
      ]) {
        assert.match(traces!, frames);
      }
      assert.match(globals!, /"written at run time"/);
      assert.match(list!, /count = 2, title = 0x[0-9a-f]+ "the last entry", balance = 3/);
      assert.match(list!, /count = 0, title = 0x[0-9a-f]+ "an entry", balance = 0, next = 0x0/);
      assert.match(island!, /"an island"/);
      assert.match(sea!, /0x0000000000000000\s+0x0000000000000000/);
      assert.match(libraries!, /libc\.so\.6/);
      assert.match(auxv!, /AT_ENTRY/);

      // The spinner's vector register, in whichever number gdb gave its thread.
      const index = /Thread (\d+) \(.*\n#0 .* spinner /.exec(traces!)![1]!;
      const [switched, vector, general] = await gdb(compileProgram("gdb_threads"), core, [
        `thread ${index}`,
        "print/x $xmm7.v2_int64",
        "print/x $r12",
      ]);
      assert.match(switched!, /spinner/);
      assert.match(vector!, /\{0x1122334455667788, 0x99aabbccddeeff00\}/);
      assert.match(general!, /0x123456789abcdef/);

      // Every general register of the leader, as gdb names them.
      const [leader] = threadRegisters(checkpoint, program.pid);
      const [shown] = await gdb(compileProgram("gdb_threads"), core, ["info registers"]);
      const gdbNames: Readonly<Record<string, string>> = { flags: "eflags" };
      for (const [name, value] of Object.entries(leader!.registers)) {
        const long = /^(ax|bx|cx|dx|si|di|bp|sp|ip)$/.test(name) ? `r${name}` : (gdbNames[name] ?? name);
        if (/^(orig_ax|fs_base|gs_base)$/.test(name)) continue; // not among the registers that gdb 13 lists
        const found = new RegExp(`^${long} +0x([0-9a-f]+)`, "m").exec(shown!);
        assert.equal(BigInt(`0x${found?.[1]}`), value, long);
      }
    }),
  );
});

test("a core of redis is mostly holes where the memory is, and its notes carry every thread's registers", async () => {
  await withTempDir("core", (dir) => {
    using checkpoint = Checkpoint.open(fixtureImages("redis"));
    const file = dir.join("core");
    const summary = writeCoreFile(checkpoint, 15853, file);
    const bytes = readFileSync(file);
    assert.equal(bytes.length, summary.fileBytes);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual([...bytes.subarray(0, 7)], [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    const notes = prstatusNotes(bytes);
    const threads = threadRegisters(checkpoint, 15853);
    assert.deepEqual(
      notes.map((note) => note.readUInt32LE(32)),
      threads.map((thread) => thread.threadId),
    );
    threads.forEach((thread, at) => {
      registerNames.forEach((name, index) => {
        assert.equal(notes[at]!.readBigUInt64LE(112 + index * 8), thread.registers[name]);
      });
    });
  });
});

/** Pages of the runs within [start, end). */
function pagesWithin(runs: readonly CritRun[], start: number, end: number): number {
  return runs.reduce((sum, run) => {
    const first = Number(BigInt(run.vaddr));
    const bytes = Math.min(end, first + run.nr_pages * 4096) - Math.max(start, first);
    return sum + Math.max(0, bytes) / 4096;
  }, 0);
}

interface Load {
  readonly start: number;
  readonly offset: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

/** All PT_LOADs of a core file, in order. */
function loads(bytes: Buffer): Load[] {
  const number = (at: number) => Number(bytes.readBigUInt64LE(at));
  const headers = Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => 64 + index * 56);
  return headers
    .filter((at) => bytes.readUInt32LE(at) === 1)
    .map((at) => ({
      start: number(at + 16),
      offset: number(at + 8),
      fileBytes: number(at + 32),
      memoryBytes: number(at + 40),
    }));
}

for (const name of fixtureNames) {
  test(`the core of ${name} has every stored page at its address, and every mapping once`, async () => {
    await withTempDir("core", (dir) => {
      using checkpoint = Checkpoint.open(fixtureImages(name));
      for (const { pid, dead } of checkpoint.tasks) {
        if (dead) continue;
        const file = dir.join(`core.${pid}`);
        writeCoreFile(checkpoint, pid, file);
        const core = readFileSync(file);
        const segments = loads(core);
        const { pagesId, runs } = critRuns(name, `pagemap-${pid}.img`);
        const pages = readFileSync(join(fixtureImages(name), `pages-${pagesId}.img`));
        for (const run of runs) {
          for (let page = 0; page < run.nr_pages; page++) {
            const address = Number(BigInt(run.vaddr)) + page * 4096;
            const segment = segments.find(({ start, fileBytes }) => address >= start && address < start + fileBytes)!;
            const at = segment.offset + address - segment.start;
            const raw = (run.filePage + page) * 4096;
            assert.equal(core.compare(pages, raw, raw + 4096, at, at + 4096), 0, `0x${address.toString(16)}`);
          }
        }
        const [mm] = critEntries<{ vmas: CritVma[] }>(name, `mm-${pid}.img`);
        for (const vma of mm!.vmas.filter(({ status }) => !/VVAR|VSYSCALL/.test(status))) {
          const [start, end] = [Number(BigInt(vma.start)), Number(BigInt(vma.end))];
          const within = segments.filter((segment) => segment.start >= start && segment.start < end);
          let next = start;
          let storedBytes = 0;
          for (const segment of within) {
            assert.equal(segment.start, next);
            next += segment.memoryBytes;
            storedBytes += segment.fileBytes;
          }
          assert.equal(next, end);
          // Of a file's mapping only what the task changed is stored: the rest is for the debugger to read there.
          if (vma.status.includes("FILE_PRIVATE")) assert.equal(storedBytes, pagesWithin(runs, start, end) * 4096);
        }
      }
    });
  });
}

test("pages that a lazy dump left at its source are in no segment of the core, and maps calls them absent", async () => {
  await withTempDir("core", (dir) => {
    const images = dir.join("images");
    cpSync(fixtureImages("redis"), images, { recursive: true });
    const pagemap = join(images, "pagemap-15853.img");
    const image = decodeImageOf("PAGEMAP", readFileSync(pagemap), pagemap);
    // The last run loses its bytes: nothing after it moves.
    const last = image.records.at(-1)!.message;
    const records = [...image.records.slice(0, -1), { message: { ...last, flags: 2 } }];
    rmSync(pagemap);
    writeFileSync(pagemap, encodeImage("PAGEMAP", records, { head: image.head }));
    using checkpoint = Checkpoint.open(images);
    const summary = writeCoreFile(checkpoint, 15853, dir.join("core"));
    assert.equal(summary.absentPages, Number(last.nr_pages));
    const [start, end] = [Number(last.vaddr), Number(last.vaddr) + Number(last.nr_pages) * 4096];
    for (const segment of loads(readFileSync(dir.join("core")))) {
      assert.ok(segment.start + segment.memoryBytes <= start || segment.start >= end);
    }
    const mapping = taskMappings(checkpoint, 15853).mappings.find((each) => each.end > start && each.start <= start)!;
    assert.equal(mapping.statistics.absent, Number(last.nr_pages));
  });
});

/** The descriptions of all NT_PRSTATUS notes of a core file. */
function prstatusNotes(bytes: Buffer): Buffer[] {
  const [offset, size] = [Number(bytes.readBigUInt64LE(64 + 8)), Number(bytes.readBigUInt64LE(64 + 32))];
  const found: Buffer[] = [];
  for (let at = offset; at < offset + size; ) {
    const [name, length, type] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at + 8)];
    const start = at + 12 + ((name + 3) & ~3);
    if (type === 1) found.push(bytes.subarray(start, start + length));
    at = start + ((length + 3) & ~3);
  }
  return found;
}

test("more segments than a program header count can say are counted in section 0", () => {
  const segments = Array.from({ length: 70_000 }, (_, index) => ({
    firstPage: index * 2,
    pageCount: 1,
    readable: true,
    writable: false,
    executable: false,
    stored: index % 2 === 0,
  }));
  const process = {
    pid: 1,
    parentPid: 0,
    processGroup: 1,
    session: 1,
    userId: 0,
    groupId: 0,
    nice: 0,
    flags: 0,
    command: "many",
    commandLine: "many",
    auxiliaryVector: [],
  };
  const { bytes, offsets, fileBytes } = coreHead(process, [], [], segments);
  assert.equal(bytes.readUInt16LE(56), 0xffff);
  const section = Number(bytes.readBigUInt64LE(40));
  assert.equal(bytes.readUInt32LE(section + 44), 70_001);
  assert.equal(fileBytes, bytes.length + 35_000 * 4096);
  assert.equal(offsets[2], bytes.length + 4096);
});

test("the core of a packed directory is the core of the raw one, byte for byte", async () => {
  await withTempDir("core", async (dir) => {
    for (const name of ["patchwork", "redis"] as const) {
      const packed = await packedCopy(name, dir.join(name));
      using left = Checkpoint.open(fixtureImages(name));
      using right = Checkpoint.open(packed);
      const pid = left.tasks[0]!.pid;
      writeCoreFile(left, pid, dir.join("raw.core"));
      writeCoreFile(right, pid, dir.join("packed.core"));
      assert.ok(readFileSync(dir.join("raw.core")).equals(readFileSync(dir.join("packed.core"))));
    }
  });
});

test("a core of a dead task, or to a place that cannot be written, is an error and leaves no file", async () => {
  await withTempDir("core", (dir) => {
    using checkpoint = Checkpoint.open(fixtureImages("patchwork"));
    assert.throws(() => writeCoreFile(checkpoint, 15813, dir.join("core")), { code: "NOT_FOUND" });
    assert.throws(() => writeCoreFile(checkpoint, 15808, dir.join("missing", "core")), { code: "SYSTEM" });
    assert.throws(() => statSync(dir.join("core")), { code: "ENOENT" });
  });
});
