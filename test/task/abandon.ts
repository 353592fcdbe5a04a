// A tracer that starts a long batch in the process named by its argument, says so, and waits to be killed.
import { Batch } from "../../src/task/batch";
import { signals, syscalls } from "../../src/task/constants";
import { AgentThread, mapAgent } from "../../src/task/injector";
import { Tracee } from "../../src/task/tracee";
import { findSyscallInstruction } from "../../src/task/vdso";

const pid = Number(process.argv[2]);
const tracee = Tracee.seize(pid, pid);
tracee.interrupt();
const thread = new AgentThread(tracee, { stopSignal: signals.SIGURG, rescue: true });
const space = mapAgent(tracee, findSyscallInstruction(pid), 64 * 1024);
thread.useSpace(space.code, space.data, space.dataBytes);
const batch = new Batch();
const time = batch.place(new Uint8Array(new BigUint64Array([0n, 300_000_000n]).buffer));
batch.call(syscalls.nanosleep, [time, 0]);
thread.start(batch);
process.stdout.write("in the batch\n");
setInterval(() => {}, 1000);
