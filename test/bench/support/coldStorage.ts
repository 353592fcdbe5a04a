// Storage as a measurement wants it: image files out of the page cache, and a disk that reads slowly. The latter is an ext4 in
// a file behind a loop device, with the blkio controller of cgroup v1 before it.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../../support/tempdir";
import { compileYardstick } from "./compile";
import { soon } from "./heap";

const controller = "/sys/fs/cgroup/blkio";
export const slowBytesPerSecond = 100_000_000;
export const slowReadsPerSecond = 1000;
/** What Linux gives a disk unless told otherwise; this machine's own may have another. */
const readAheadKib = 128;
/** Pages that may stay cached: those that the kernel holds for a moment on its way to its lists. */
const leftPagesMax = 64;

/** Takes every image in and below the directory out of the page cache (posix_fadvise, POSIX_FADV_DONTNEED). */
export async function dropFromCache(dir: string): Promise<void> {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".img"));
  if (files.length === 0) return;
  const paths = files.map((name) => join(dir, name));
  // Pages that are still being read ahead for the restore before cannot be dropped yet.
  await soon(`${dir} to leave the page cache`, () => {
    const left = Number(execFileSync(compileYardstick("uncache"), paths, { encoding: "utf8" }));
    return left <= leftPagesMax;
  });
}

/** A disk from which the processes of its control group may read 100 MB and 1000 times a second. */
export class SlowDisk {
  private readonly folder = new TempDir("bench-disk");
  /** Where it is mounted. */
  readonly path = this.folder.join("mounted");
  private readonly group = join(controller, `faultline-bench-${process.pid}`);

  /** A run that is broken off leaves no mount behind. */
  private readonly atExit = (): void => {
    execFileSync("umount", ["--lazy", this.path], { stdio: "ignore" });
  };

  private constructor() {}

  static make(megabytes: number): SlowDisk {
    if (!existsSync(join(controller, "blkio.throttle.read_bps_device")))
      throw new Error(`no ${controller} to slow a disk down`);
    const disk = new SlowDisk();
    try {
      disk.mount(megabytes);
      disk.slowDown();
    } catch (error) {
      disk.remove();
      throw error;
    }
    return disk;
  }

  private mount(megabytes: number): void {
    const file = this.folder.join("disk");
    writeFileSync(file, "");
    truncateSync(file, megabytes * 2 ** 20);
    execFileSync("mkfs.ext4", ["-q", "-F", "-m", "0", file]);
    mkdirSync(this.path);
    const device = execFileSync("losetup", ["--direct-io=on", "--find", "--show", file], { encoding: "utf8" }).trim();
    try {
      writeFileSync(join("/sys/block", device.replace("/dev/", ""), "queue", "read_ahead_kb"), String(readAheadKib));
      execFileSync("mount", ["-o", "noatime", device, this.path]);
      process.once("exit", this.atExit);
    } finally {
      // The device goes when nothing uses it any more: with the mount, or now.
      execFileSync("losetup", ["--detach", device]);
    }
  }

  private slowDown(): void {
    const { dev } = statSync(this.path);
    const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
    mkdirSync(this.group);
    writeFileSync(join(this.group, "blkio.throttle.read_bps_device"), `${device} ${slowBytesPerSecond}`);
    writeFileSync(join(this.group, "blkio.throttle.read_iops_device"), `${device} ${slowReadsPerSecond}`);
  }

  /** The process, and what it starts from now on, reads slowly. */
  add(pid: number): void {
    writeFileSync(join(this.group, "cgroup.procs"), String(pid));
  }

  /** The command line of a process that reads slowly from its first instruction on. */
  command(file: string, args: readonly string[]): [string, string[]] {
    return ["/bin/sh", ["-c", 'echo $$ > "$0" && exec "$@"', join(this.group, "cgroup.procs"), file, ...args]];
  }

  /** After the last process of the group has gone. */
  remove(): void {
    process.off("exit", this.atExit);
    if (existsSync(this.group)) rmdirSync(this.group);
    try {
      if (existsSync(this.path)) execFileSync("umount", [this.path], { stdio: "ignore" });
    } finally {
      this.folder[Symbol.dispose]();
    }
  }
}
