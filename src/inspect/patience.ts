// Runs code that may never end, as a backtracking regular expression does, for a bounded time. Not for code that waits.
import { type Context, createContext, Script } from "node:vm";

const call = new Script("step()");

/** Ends what it runs after `limitMs`. Starting one run costs about 0.1 ms. */
export class Patience {
  readonly #context: Context = createContext({});

  constructor(private readonly limitMs: number) {}

  /** What `step` gives, or undefined where it took too long: it was cut off at whatever instant. */
  run<T>(step: () => T): { readonly value: T } | undefined {
    try {
      this.#context.step = step;
      return { value: call.runInContext(this.#context, { timeout: this.limitMs }) as T };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return undefined;
      throw error;
    }
  }
}
