// Registers as text: `inspect regs`. Names and order as debuggers show them.
import type { RegisterName } from "./elfCore";
import type { ThreadRegisters } from "./registers";
import { signalName } from "./signals";
import { hexText, type Paint, plainPaint, safeText } from "./textTable";

const shown: readonly (readonly (readonly [string, RegisterName])[])[] = [
  [
    ["rip", "ip"],
    ["rsp", "sp"],
    ["rbp", "bp"],
    ["eflags", "flags"],
  ],
  [
    ["rax", "ax"],
    ["rbx", "bx"],
    ["rcx", "cx"],
    ["rdx", "dx"],
  ],
  [
    ["rsi", "si"],
    ["rdi", "di"],
    ["r8", "r8"],
    ["r9", "r9"],
  ],
  [
    ["r10", "r10"],
    ["r11", "r11"],
    ["r12", "r12"],
    ["r13", "r13"],
  ],
  [
    ["r14", "r14"],
    ["r15", "r15"],
    ["orig_rax", "orig_ax"],
    ["cs", "cs"],
  ],
  [
    ["fs_base", "fs_base"],
    ["gs_base", "gs_base"],
    ["ss", "ss"],
    ["mxcsr", "ss"],
  ],
];

export function registersText(threads: readonly ThreadRegisters[], paint: Paint = plainPaint): string {
  return threads.map((thread) => threadText(thread, paint)).join("\n");
}

function threadText(thread: ThreadRegisters, paint: Paint): string {
  const { registers, floating } = thread;
  const lines = shown.map((row) =>
    row.map(([label, name]) => field(label, label === "mxcsr" ? BigInt(floating.mxcsr) : registers[name])).join("  "),
  );
  for (let index = 0; index < 16; index += 2) {
    const pair = [index, index + 1].map((at) => `${`xmm${at}`.padStart(8)} ${vectorText(floating.sse, at)}`);
    if (isUsed(floating.sse, index) || isUsed(floating.sse, index + 1)) lines.push(pair.join("  "));
  }
  const blocked = signals(thread.blockedSignals);
  if (blocked.length > 0) lines.push(` blocked ${blocked.join(" ")}`);
  const place = thread.location === undefined ? "" : ` at ${safeText(thread.location)}`;
  return `${paint.strong(`${thread.threadId} ${safeText(thread.name)}`)}${place}\n${lines.join("\n")}\n`;
}

function field(label: string, value: bigint): string {
  return `${label.padStart(8)} ${hexText(value, 16)}`;
}

function isUsed(words: readonly number[], index: number): boolean {
  return words.slice(index * 4, index * 4 + 4).some((word) => word !== 0);
}

/** An xmm register, most significant word first. */
function vectorText(words: readonly number[], index: number): string {
  return [3, 2, 1, 0].map((word) => hexText((words[index * 4 + word] ?? 0) >>> 0, 8)).join("");
}

function signals(mask: bigint): string[] {
  const names: string[] = [];
  for (let signal = 1; signal <= 64; signal++) {
    if (((mask >> BigInt(signal - 1)) & 1n) === 1n) names.push(signalName(signal));
  }
  return names;
}
