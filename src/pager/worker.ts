// The pager's thread. It never returns to Node's event loop while it serves: commands are fetched when the wait says so.
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { OPTIMIZER_HOLD_MS } from "../limits";
import { holdOptimizer } from "../optimizer";
import type { Command } from "./commands";
import type { PagerOptions } from "./requests";
import { PagerService } from "./service";
import { WarmUp } from "./warmUp";

const port = parentPort!;
const service = new PagerService(workerData as PagerOptions, (reply) => port.postMessage(reply), true);

/** False when the thread is to end. */
function executeAll(): boolean {
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
    if (!service.execute(next.message as Command)) return false;
  }
  return true;
}

/** Until the first context comes. */
function warmUp(): boolean {
  const made = new WarmUp();
  let goOn = true;
  while (goOn && !service.busy && made.step()) {
    if (service.step(0)) goOn = executeAll();
  }
  return goOn;
}

/** Keeps V8 from optimizing in the first moments of serving, when most faults come: see optimizer.ts. */
class OptimizerHold {
  private release: (() => void) | undefined;
  private untilMs = 0;
  private wasBusy = false;

  look(busy: boolean): void {
    if (busy && !this.wasBusy) {
      this.untilMs = performance.now() + OPTIMIZER_HOLD_MS;
      this.release ??= holdOptimizer();
    } else if (this.release !== undefined && (!busy || performance.now() > this.untilMs)) {
      this.release();
      this.release = undefined;
    }
    this.wasBusy = busy;
  }
}

function serve(): void {
  if (!warmUp()) return;
  const optimizer = new OptimizerHold();
  for (;;) {
    if (service.step() && !executeAll()) return;
    optimizer.look(service.busy);
  }
}

function main(): void {
  port.postMessage({ kind: "ready", control: service.controlDescriptor });
  try {
    serve();
  } catch (error) {
    // A bug must not become zeros in the restored tasks: the policy first, then the report of the bug.
    service.abandon();
    throw error;
  }
  service.close();
  // The thread is ended from outside (worker.terminate) and the control descriptor stays open until then. A worker that
  // runs out of things to do waits for V8's background compiler first, which may itself wait for this thread to collect
  // garbage: Node 20 then hangs for ever.
  port.on("message", () => undefined);
}

main();
