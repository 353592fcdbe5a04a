// Runs the reading, planning and composing of a restore on an image directory that will be restored, and throws the
// results away: V8 compiles what has run often, and the first restore then waits less for it. Makes nothing, opens no
// file of the program and runs nothing anywhere: the system calls are only written down.
import { ImageDirectory } from "../../images/directory";
import { closeMasters, placeDescriptors } from "./filePlan";
import { loadTree } from "./loadTree";
import { lazyLayout } from "./pages";
import { type PlanOptions, planRestore, type RestorePlan } from "./plan";
import { common, processCalls, timerCalls } from "./processPlan";
import { Script } from "./script";
import { clearSpace, makeMappings, setFields } from "./spacePlan";
import { threadCalls, threadRegisters } from "./threadPlan";
import type { TaskImage } from "./treeImage";

/** After so many rounds V8 has compiled most of it; more of them gain little. */
const ROUNDS = 20;

/** Throws what a restore of the directory would throw up to its plan: FaultlineErrors. */
export function warmUpRestore(imagesDir: string, options: PlanOptions = {}): void {
  for (let round = 0; round < ROUNDS; round++) {
    const images = ImageDirectory.open(imagesDir);
    try {
      const plan = planRestore(loadTree(images), options);
      for (const script of [plan.files.objects, plan.files.make, plan.files.late]) encode(script, plan.hole);
      for (const task of plan.tree.tasks) if (!task.dead) composeTask(plan, task, images);
    } finally {
      images.close();
    }
  }
}

function composeTask(plan: RestorePlan, task: TaskImage, images: ImageDirectory): void {
  const space = plan.spaces.get(task.pid);
  const script = new Script();
  if (space !== undefined) {
    clearSpace(script, plan.hole);
    makeMappings(script, space, plan.files);
    setFields(script, space.mm, plan.files.file(space.mm.exe_file_id));
    lazyLayout(task.pid, space, images);
  }
  processCalls(script, task, plan.files, plan.tree);
  placeDescriptors(script, plan.files, task, plan.tree);
  closeMasters(script, plan.files);
  for (const thread of task.threads) {
    threadCalls(script, thread, common(task).comm);
    const info = thread.core.thread_info;
    if (info !== undefined) threadRegisters(info.gpregs);
  }
  timerCalls(script, task);
  encode(script, plan.hole);
}

function encode(script: Script, address: number): void {
  for (const batch of script.batches) batch.encode(address);
}
