// Verifies an image directory: every file decodes, every reference leads somewhere, every page is where it should be.
// It finds; it repairs nothing.
import { ImageDirectory } from "./directory";
import { type Finding, Findings } from "./finding";
import { imageName } from "./formats";
import { verifyReferences } from "./verifyFiles";
import { verifyMemory } from "./verifyMemory";

export interface VerifyReport {
  readonly directory: string;
  readonly findings: readonly Finding[];
  /** Images that were decoded. */
  readonly imageCount: number;
  /** Pages whose blocks were read and checked. */
  readonly pageCount: number;
}

/**
 * Checks `path`: framing, messages, references, order and overlap of mappings and runs, length of pages files, and every
 * block of packed pages files. Throws only where the directory cannot be opened at all.
 */
export function verifyDirectory(path: string): VerifyReport {
  using directory = ImageDirectory.open(path);
  const findings = new Findings();
  let imageCount = 0;
  for (const name of directory.names()) {
    const kind = imageName(name)?.kind;
    // Files that are no images may lie in the directory: logs, configuration, what other tools keep there.
    if (kind === undefined || kind === "raw") continue;
    imageCount += 1;
    // A million runs are too many objects: verifyMemory decodes pagemaps into arrays.
    if (kind !== "PAGEMAP") findings.attempt(name, () => directory.image(kind, name));
  }
  findings.attempt("pstree.img", () => verifyReferences(directory, findings));
  const pageCount = verifyMemory(directory, findings);
  return { directory: path, findings: findings.list(), imageCount, pageCount };
}
