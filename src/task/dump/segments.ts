// System V shared memory that the tree has attached: one ipc_shm_entry per segment. Contents are gathered apart.
import { FaultlineError } from "../../errors";
import { type SegmentFacts, systemVSegments } from "../segments";
import type { ImageSet } from "./imageSet";

export class Segments {
  readonly #images: ImageSet;
  readonly #image: string;
  readonly #attachments = new Map<number, number>();
  #facts: ReadonlyMap<number, SegmentFacts> | undefined;
  /** By id: a path by which this process can read the content. */
  readonly contents = new Map<number, { readonly path: string; readonly pid: number }>();

  /** `namespaceId`: of the IPC namespace, as the tasks' ids have it. */
  constructor(images: ImageSet, namespaceId: number) {
    this.#images = images;
    this.#image = `ipcns-shm-${namespaceId}.img`;
  }

  /** Notes one mapping of segment `id`, and writes the segment's entry at the first. */
  attached(id: number, pid: number, path: string): void {
    this.#attachments.set(id, (this.#attachments.get(id) ?? 0) + 1);
    if (this.contents.has(id)) return;
    this.contents.set(id, { path, pid });
    this.#facts ??= systemVSegments();
    const facts = this.#facts.get(id);
    if (facts === undefined) {
      throw new FaultlineError("SYSTEM", `System V segment ${id} is mapped, but not in /proc/sysvipc/shm`, { pid });
    }
    this.#images.add(this.#image, "IPCNS_SHM", {
      desc: {
        key: facts.key,
        uid: facts.uid,
        gid: facts.gid,
        cuid: facts.creatorUid,
        cgid: facts.creatorGid,
        mode: facts.mode,
        id,
      },
      size: BigInt(facts.bytes),
      in_pagemaps: true,
    });
  }

  /** What a restored tree may find different: segments that processes outside of it have attached as well. */
  warnings(): string[] {
    return [...this.#attachments].flatMap(([id, count]) => {
      const others = (this.#facts?.get(id)?.attached ?? 0) - count;
      if (others <= 0) return [];
      return [`System V segment ${id} is attached outside of the tree as well; restore needs it unattached`];
    });
  }
}
