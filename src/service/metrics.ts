// The service's own metrics, in Prometheus text. The pager's are added by the engine that runs it.
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { DumpView } from "./engine";
import type { RunningTree } from "./restores";

const SECONDS_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

export class ServiceMetrics {
  readonly registry = new Registry();
  dumpsDone = 0;
  private readonly dumps = this.counter("faultline_dumps_total", "Dumps by outcome", ["outcome"]);
  private readonly restores = this.counter("faultline_restores_total", "Restores by outcome", ["outcome"]);
  private readonly frozen = this.histogram("faultline_dump_frozen_seconds", "How long dumped trees were frozen");
  private readonly restored = this.histogram(
    "faultline_restore_seconds",
    "From the start of a restore to the first instruction of the program",
  );

  constructor(runningTrees: () => number) {
    new Gauge({
      name: "faultline_restored_trees",
      help: "Restored trees that run now",
      registers: [this.registry],
      collect() {
        this.set(runningTrees());
      },
    });
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }

  async timeDump(work: Promise<DumpView>): Promise<DumpView> {
    const dump = await this.count(this.dumps, work);
    this.dumpsDone++;
    this.frozen.observe(dump.frozenUs / 1e6);
    return dump;
  }

  async timeRestore(work: Promise<RunningTree>): Promise<RunningTree> {
    const tree = await this.count(this.restores, work);
    this.restored.observe(tree.restoreUs / 1e6);
    return tree;
  }

  private async count<T>(counter: Counter, work: Promise<T>): Promise<T> {
    try {
      const value = await work;
      counter.inc({ outcome: "ok" });
      return value;
    } catch (error) {
      counter.inc({ outcome: "failed" });
      throw error;
    }
  }

  private counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  private histogram(name: string, help: string): Histogram {
    return new Histogram({ name, help, buckets: SECONDS_BUCKETS, registers: [this.registry] });
  }
}
