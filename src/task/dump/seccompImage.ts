// Seccomp filters of the threads: seccomp.img, where filters installed one after the other form chains (seccomp(2)).
import { native } from "../../native";
import { parseFields, readProc } from "../proc";
import type { Tracee } from "../tracee";
import type { SeccompFacts } from "./coreImage";
import type { ImageSet } from "./imageSet";

const modeFilter = 2;
const instructionBytes = 8;

interface Filter {
  readonly filter: Buffer;
  readonly prev: number | undefined;
  readonly flags: number;
}

/** Gathers the filters of all threads, equal chains once. */
export class SeccompFilters {
  readonly #filters: Filter[] = [];
  readonly #known = new Map<string, number>();

  of(tracee: Tracee): SeccompFacts {
    const mode = Number(parseFields(readProc(tracee.pid, `task/${tracee.tid}/status`)).get("Seccomp") ?? 0);
    if (mode !== modeFilter) return { mode, filter: undefined };
    const chain: { filter: Buffer; flags: number }[] = [];
    for (let index = 0; ; index++) {
      const count = native.ptraceSeccompFilter(tracee.tid, index, new Uint8Array(0));
      if (count < 0) break;
      const filter = Buffer.alloc(count * instructionBytes);
      native.ptraceSeccompFilter(tracee.tid, index, filter);
      const metadata = new BigUint64Array([BigInt(index), 0n]);
      const known = native.ptraceSeccompMetadata(tracee.tid, metadata) >= 0;
      chain.push({ filter, flags: known ? Number(metadata[1]) : 0 });
    }
    // The kernel gives the latest first; each links to the one installed before it.
    let prev: number | undefined;
    for (const { filter, flags } of chain.reverse()) prev = this.#add({ filter, prev, flags });
    return { mode, filter: prev };
  }

  #add(entry: Filter): number {
    const key = `${entry.prev ?? "-"}:${entry.flags}:${entry.filter.toString("base64")}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const index = this.#filters.length;
    this.#filters.push(entry);
    this.#known.set(key, index);
    return index;
  }

  write(images: ImageSet): void {
    images.add("seccomp.img", "SECCOMP", {
      seccomp_filters: this.#filters.map(({ filter, prev, flags }) => ({
        filter,
        prev,
        flags: flags === 0 ? undefined : flags,
      })),
    });
  }
}
