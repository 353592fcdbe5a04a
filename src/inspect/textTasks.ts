// The process tree as text: `inspect ps`.
import type { Task } from "./tasks";
import { bytesText, type Paint, plainPaint, safeText, textTable } from "./textTable";

const columns = [
  { title: "PID", align: "right" },
  { title: "STATE" },
  { title: "VIRTUAL", align: "right" },
  { title: "PAGES", align: "right" },
  { title: "LAZY", align: "right" },
  { title: "STORED", align: "right" },
  { title: "COMMAND" },
] as const;

export function tasksText(tasks: readonly Task[], paint: Paint = plainPaint): string {
  const lines = branches(tasks);
  const rows: string[][] = [];
  tasks.forEach((task, index) => {
    const { own, below } = lines[index]!;
    const sizes = [task.virtualBytes, task.pagesBytes, task.lazyBytes, task.storedBytes].map(bytesText);
    rows.push([String(task.pid), stateText(task), ...sizes, own + commandText(task)]);
    for (const thread of task.threads) {
      if (thread.threadId === task.pid) continue;
      rows.push([String(thread.threadId), "thread", "", "", "", "", `${below}{${safeText(thread.name)}}`]);
    }
  });
  return textTable(columns, rows, paint);
}

function stateText(task: Task): string {
  if (task.exitStatus === undefined) return task.state;
  const signal = task.exitStatus & 0x7f;
  return signal !== 0 ? `dead, signal ${signal}` : `dead, exit ${task.exitStatus >> 8}`;
}

function commandText(task: Task): string {
  const line = task.commandLine
    .filter((word) => word !== "")
    .map((word) => (/[\s"'\\]/.test(word) ? JSON.stringify(word) : word));
  return safeText(line.length > 0 ? line.join(" ") : `[${task.command}]`);
}

/** For each task, the lines drawn before its own name and before its threads. */
function branches(tasks: readonly Task[]): { own: string; below: string }[] {
  const open: boolean[] = [];
  return tasks.map((task, index) => {
    open[task.depth] = hasSibling(tasks, index);
    const stems = open.slice(1, task.depth).map((more) => (more ? "│  " : "   "));
    const own = task.depth === 0 ? "" : `${stems.join("")}${open[task.depth] ? "├─ " : "└─ "}`;
    const after = task.depth === 0 ? "" : `${stems.join("")}${open[task.depth] ? "│  " : "   "}`;
    const hasChild = tasks[index + 1] !== undefined && tasks[index + 1]!.depth > task.depth;
    return { own, below: `${after}${hasChild ? "│  " : "   "}` };
  });
}

function hasSibling(tasks: readonly Task[], index: number): boolean {
  const { depth } = tasks[index]!;
  for (let next = index + 1; next < tasks.length; next++) {
    if (tasks[next]!.depth < depth) return false;
    if (tasks[next]!.depth === depth) return true;
  }
  return false;
}
