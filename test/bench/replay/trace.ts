// A file of `lazy-pages --trace` as programs: for each address space what it did, in its own order. Knows no kernel.
import { readFileSync } from "node:fs";

export interface Entry {
  readonly us: number;
  readonly session: number;
  readonly pid: number;
  readonly context: number;
  readonly what: string;
  readonly page: number;
  readonly pages: number;
  readonly detail: number;
}

export type Step =
  | { readonly kind: "read" | "write"; readonly page: number }
  | { readonly kind: "remap"; readonly page: number; readonly pages: number; readonly to: number }
  | { readonly kind: "remove" | "unmap"; readonly page: number; readonly pages: number }
  | { readonly kind: "fork"; readonly child: AddressSpace };

/** One address space: of a restored task, or a copy made by fork. */
export interface AddressSpace {
  readonly imagePid: number;
  readonly steps: Step[];
}

export interface Recorded {
  /** The restored tasks' address spaces; copies hang on their fork steps. */
  readonly roots: readonly AddressSpace[];
  readonly faults: number;
  readonly events: number;
  readonly forks: number;
  /** From the read of a fault to its wake, microseconds, as the pager saw it then. */
  readonly latenciesUs: readonly number[];
}

/** Reads the entries of one session. A last line cut short, of a daemon that was killed, is left out. */
export function readTrace(file: string, session: number): Recorded {
  const lines = readFileSync(file, "utf8").split("\n");
  lines.pop();
  const entries = lines.map((line) => JSON.parse(line) as Entry);
  return follow(entries.filter((entry) => entry.session === session));
}

export function follow(entries: readonly Entry[]): Recorded {
  const roots: AddressSpace[] = [];
  const now = new Map<number, AddressSpace>();
  const latenciesUs: number[] = [];
  const counts = { faults: 0, events: 0, forks: 0 };
  for (const entry of entries) {
    const { what, page, pages, detail, context } = entry;
    const space = now.get(context);
    if (what === "begin") {
      const root = { imagePid: entry.pid, steps: [] };
      roots.push(root);
      now.set(context, root);
    } else if (what === "end") {
      now.delete(context); // the number is free for another
    } else if (what === "answered") {
      latenciesUs.push(detail);
    } else if (space === undefined) {
    } else if (what === "read" || what === "write") {
      counts.faults++;
      space.steps.push({ kind: what, page });
    } else if (what === "remap") {
      counts.events++;
      space.steps.push({ kind: "remap", page, pages, to: detail });
    } else if (what === "remove" || what === "unmap") {
      counts.events++;
      space.steps.push({ kind: what, page, pages });
    } else if (what === "fork") {
      counts.forks++;
      const child = { imagePid: entry.pid, steps: [] };
      now.set(detail, child);
      space.steps.push({ kind: "fork", child });
    }
  }
  return { roots, ...counts, latenciesUs };
}
