// The two forms of a dump that are measured beside each other: raw, as CRIU wrote it, and a packed copy in a directory of its
// own, as a user has either. A resident process keeps what it has planned for each.
import { join } from "node:path";
import { packDirectory } from "../../../src/images/pack";

/** The directory of a form of the dump in `dir`. */
export function formOf(dir: string, packed: boolean): string {
  return packed ? join(dir, "packed") : dir;
}

export async function packForm(dir: string): Promise<void> {
  await packDirectory(dir, { output: formOf(dir, true) });
}
