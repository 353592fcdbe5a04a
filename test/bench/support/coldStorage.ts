// Storage as a measurement wants it: image files out of the page cache, and a device that reads slowly. The latter needs the
// blkio controller of cgroup v1.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileYardstick } from "./compile";
import { soon } from "./heap";

const controller = "/sys/fs/cgroup/blkio";
export const slowBytesPerSecond = 100_000_000;
export const slowReadsPerSecond = 1000;
/** Pages that may stay cached: those that the kernel holds for a moment on its way to its lists. */
const leftPagesMax = 64;

/** Takes every image of the directory out of the page cache (posix_fadvise, POSIX_FADV_DONTNEED). */
export async function dropFromCache(dir: string): Promise<void> {
  const files = readdirSync(dir).filter((name) => name.endsWith(".img") || name.endsWith(".aside"));
  const paths = files.map((name) => join(dir, name));
  // Pages that are still being read ahead for the restore before cannot be dropped yet.
  await soon(`${dir} to leave the page cache`, () => {
    const left = Number(execFileSync(compileYardstick("uncache"), paths, { encoding: "utf8" }));
    return left <= leftPagesMax;
  });
}

/** A control group whose members read slowly from the device that holds `path`. */
export class SlowGroup {
  private readonly folder = join(controller, `faultline-bench-${process.pid}`);

  constructor(path: string) {
    if (!existsSync(join(controller, "blkio.throttle.read_bps_device")))
      throw new Error(`no ${controller} to slow a device down`);
    const { dev } = statSync(path);
    const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
    mkdirSync(this.folder, { recursive: true });
    writeFileSync(join(this.folder, "blkio.throttle.read_bps_device"), `${device} ${slowBytesPerSecond}`);
    writeFileSync(join(this.folder, "blkio.throttle.read_iops_device"), `${device} ${slowReadsPerSecond}`);
  }

  add(pid: number): void {
    writeFileSync(join(this.folder, "cgroup.procs"), String(pid));
  }

  remove(): void {
    rmdirSync(this.folder);
  }
}
