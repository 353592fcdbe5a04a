// A tracer that starts a long batch in the process named by its argument, says so, and waits to be killed.
import { Batch } from "../../src/task/batch";
import { Bridge } from "../../src/task/bridge";
import { signals, syscalls } from "../../src/task/constants";
import { AgentThread, openAgent } from "../../src/task/injector";
import { Tracee } from "../../src/task/tracee";

const pid = Number(process.argv[2]);
const tracee = Tracee.seize(pid, pid);
tracee.interrupt();
const thread = new AgentThread(tracee, { stopSignal: signals.SIGURG, rescue: true });
thread.useSpace(openAgent(thread, Bridge.find(pid), 64 * 1024));
const batch = new Batch();
const time = batch.place(new Uint8Array(new BigUint64Array([0n, 300_000_000n]).buffer));
batch.call(syscalls.nanosleep, [time, 0]);
thread.start(batch);
process.stdout.write("in the batch\n");
setInterval(() => {}, 1000);
