// The plans of directories that a resident process restores again: reading and planning is the same each time as long as no
// image changed, and most of the restore's computing. Only plans that follow from the images alone are kept; what depends
// on the machine (files, pids) is checked at each restore, elsewhere.

import { ImageDirectory } from "../../images/directory";
import type { FileEntry } from "../../images/messages";
import type { OwnCredentials } from "./credentialPlan";
import { loadTree } from "./loadTree";
import { type PlanOptions, planRestore, type RestorePlan } from "./plan";
import { Composition } from "./taskPlan";
import type { TreeImage } from "./treeImage";

/** Plans kept: each holds its images decoded, and up to 4 MiB of pages for each of its tasks. */
const PLANS_MAX = 4;
/** Larger trees are planned anew: what is kept would be as large, and their restore takes long in any case. */
const TASKS_MAX = 16;

export interface Prepared {
  readonly plan: RestorePlan;
  readonly images: ImageDirectory;
  readonly composition: Composition;
}

export class PlanCache {
  /** In the order of last use. */
  readonly #kept = new Map<string, Prepared>();

  /** The plan of a directory, from the images or as it was kept. Throws FaultlineErrors. The caller closes `images`. */
  prepare(path: string, options: PlanOptions & { readonly eager: boolean }, credentials: OwnCredentials): Prepared {
    const { shellJob, tcpEstablished, tcpClose, externalUnix, eager } = options;
    const wishes = [shellJob, tcpEstablished, tcpClose, externalUnix, eager].map((is) => is === true);
    const key = `${ImageDirectory.resolve(path)} ${wishes}`;
    const known = this.#kept.get(key);
    this.#kept.delete(key);
    if (known !== undefined && known.composition.credentials === credentials && known.images.isUnchanged()) {
      this.#kept.set(key, known);
      return known;
    }
    const images = ImageDirectory.open(path);
    try {
      const plan = planRestore(loadTree(images), options);
      const keep = followsFromImages(plan.tree);
      const prepared = { plan, images, composition: new Composition(plan, eager, credentials, keep) };
      if (keep) this.#keep(key, prepared);
      return prepared;
    } catch (error) {
      images.close();
      throw error;
    }
  }

  clear(): void {
    this.#kept.clear();
  }

  #keep(key: string, prepared: Prepared): void {
    this.#kept.set(key, prepared);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= PLANS_MAX) return;
      this.#kept.delete(oldest);
    }
  }
}

/** Kinds of files whose plan looks at nothing but the images; a kind that is not named here is planned anew. */
function isPure(file: FileEntry): boolean {
  const { reg, pipe, efd, epfd, tfd, sgfd, isk, usk } = file;
  return [reg, pipe, efd, epfd, tfd, sgfd, isk].some((kind) => kind !== undefined) || usk?.name.length === 0;
}

function followsFromImages(tree: TreeImage): boolean {
  if (tree.tasks.length > TASKS_MAX || tree.ghosts.size > 0 || tree.links.size > 0 || tree.segments.size > 0)
    return false;
  return [...tree.files.values()].every(isPure);
}
