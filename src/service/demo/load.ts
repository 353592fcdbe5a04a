// The clients of the demo, seen from the thread that started them: begin, count, end.
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { LoadCommand, LoadCounts, LoadOptions } from "./loadWorker";

export class Load {
  private readonly worker: Worker;
  private readonly failure: Promise<never>;

  constructor(options: LoadOptions) {
    this.worker = new Worker(join(__dirname, "loadWorker.js"), { workerData: options });
    this.failure = new Promise((_, reject) => this.worker.once("error", reject));
    this.failure.catch(() => undefined); // the next question gets it
  }

  private tell(command: LoadCommand): Promise<LoadCounts> {
    const reply = new Promise<LoadCounts>((resolve) => this.worker.once("message", resolve));
    this.worker.postMessage(command);
    return Promise.race([reply, this.failure]);
  }

  counts(): Promise<LoadCounts> {
    return this.tell("counts");
  }

  /** From now on the first right answer is of interest. Ask while the server is gone, so that no earlier one is on its way. */
  watch(): Promise<LoadCounts> {
    return this.tell("watch");
  }

  /** No new requests; the counts up to now. */
  stop(): Promise<LoadCounts> {
    return this.tell("stop");
  }

  /** Ends the thread and whatever it still asks. */
  async end(): Promise<void> {
    await this.worker.terminate();
  }
}
