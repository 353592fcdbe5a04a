// An image directory with one task and one large anonymous mapping, for tests and benchmarks of size: the redis fixture with
// another memory. Its pages file is the caller's to write.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeImageOf, encodeImage, writeImage } from "../../src/images/framing";
import { repositoryRoot } from "./program";

/** The task of the image. */
export const bigImagePid = 15853;
/** Where its mapping begins, in pages. */
export const bigImageFirstPage = 0x100000;

export interface BigImageRun {
  /** Pages from the start of the mapping. */
  readonly page: number;
  readonly pageCount: number;
  /** Present (4), with lazy (2) unless said otherwise. */
  readonly flags?: number;
}

/** Makes `to` with a mapping of `pageCount` pages whose pages file (pages-1.img, which is missing) holds `runs`. */
export function makeBigImage(to: string, pageCount: number, runs: readonly BigImageRun[]): void {
  cpSync(join(repositoryRoot, "test", "fixtures", "redis", "images"), to, { recursive: true });
  const file = join(to, `mm-${bigImagePid}.img`);
  const { message } = decodeImageOf("MM", readFileSync(file), file).records[0]!;
  const anonymous = message.vmas.find((vma) => vma.flags === 0x22)!;
  const start = BigInt(bigImageFirstPage) * 4096n;
  const vmas = [{ ...anonymous, start, end: start + BigInt(pageCount) * 4096n }];
  rmSync(file);
  writeFileSync(file, encodeImage("MM", [{ message: { ...message, vmas } }]));
  const entries = runs.map((run) => ({
    vaddr: start + BigInt(run.page) * 4096n,
    compat_nr_pages: 0,
    nr_pages: BigInt(run.pageCount),
    flags: run.flags ?? 6,
  }));
  rmSync(join(to, `pagemap-${bigImagePid}.img`));
  writeImage(to, `pagemap-${bigImagePid}.img`, "PAGEMAP", entries, { head: { pages_id: 1 } });
  rmSync(join(to, "pages-1.img"));
}
