// Runs the reading, planning and composing of a restore on an image directory that will be restored: V8 compiles what has run
// often, and the plan is kept, so that the first restore waits less for both. Makes nothing, opens no file of the program
// and runs nothing anywhere: the system calls are only written down.
import { readOwnCredentials } from "./ownCredentials";
import type { PlanOptions } from "./plan";
import { PlanCache, type Prepared } from "./planCache";
import type { Script } from "./script";
import type { TaskImage } from "./treeImage";

/** After so many rounds V8 has compiled most of it; more of them gain little. */
const ROUNDS = 20;

/** Throws what a restore of the directory would throw up to its plan: FaultlineErrors. */
export function warmUpRestore(plans: PlanCache, imagesDir: string, options: PlanOptions = {}): void {
  for (let round = 0; round < ROUNDS; round++) compose(new PlanCache(), imagesDir, options);
  compose(plans, imagesDir, options);
}

function compose(plans: PlanCache, imagesDir: string, options: PlanOptions): void {
  const prepared = plans.prepare(imagesDir, { ...options, eager: false }, readOwnCredentials());
  const { images, plan } = prepared;
  try {
    for (const script of [plan.files.objects, plan.files.make, plan.files.late]) encode(script, plan.hole);
    for (const task of plan.tree.tasks) if (!task.dead) composeTask(prepared, task);
  } finally {
    images.close();
  }
}

function composeTask({ plan, images, composition }: Prepared, task: TaskImage): void {
  if (plan.spaces.has(task.pid)) {
    encode(composition.space(task).script, plan.hole);
    composition.contents(task, images);
  }
  encode(composition.process(task), plan.hole);
  for (const script of composition.threads(task)) encode(script, plan.hole);
}

function encode(script: Script, address: number): void {
  for (const batch of script.batches) batch.encode(address);
}
