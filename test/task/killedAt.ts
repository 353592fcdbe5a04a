// A dumper that is killed at the instant that its arguments name: PID DIR N. Told by a line, it dumps the process and dies by SIGKILL right
// after its Nth call of the addon that changes or waits for the process. With N = 0 it lives, and prints their names. What it
// does to the process that it practises on before (src/task/dump/rehearsal.ts) is not counted.
import { native } from "../../src/native";
import { dump } from "../../src/task/dump/dump";

const [pid, directory, last] = process.argv.slice(2) as [string, string, string];
const watched = new Set<string>([
  ...["ptraceSeize", "ptraceInterrupt", "ptraceContinue", "ptraceSyscall", "ptraceListen", "ptraceDetach"],
  ...["ptraceSetOptions", "ptraceSetRegset", "ptraceSetSigmask", "waitTask", "vmWrite", "writeAt"],
]);
const calls: string[] = [];
for (const [name, call] of Object.entries(native)) {
  if (!watched.has(name)) continue;
  Reflect.set(native, name, (...values: unknown[]): unknown => {
    const result: unknown = Reflect.apply(call, native, values);
    if (calls.length === 0 && !(name === "ptraceSeize" && values[0] === Number(pid))) return result;
    if (calls.push(name) === Number(last)) process.kill(process.pid, "SIGKILL");
    return result;
  });
}

process.stdin.once("data", () => {
  process.stdin.destroy();
  dump({ pid: Number(pid), directory, after: "run" }).then(
    () => process.stdout.write(JSON.stringify(calls)),
    (error) => {
      throw error;
    },
  );
});
