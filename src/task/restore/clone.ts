// New threads and processes made by a task under restore: clone3(2) with a chosen pid, attached to our tracer at birth
// (CLONE_PTRACE), so that it stops before its first instruction and its parent needs no stop of its own. Pure.

import type { Batch } from "../batch";
import { syscalls } from "../constants";
import type { Script } from "./script";

export const cloneFlag = {
  vm: 0x100,
  fs: 0x200,
  files: 0x400,
  signalHandlers: 0x800,
  ptrace: 0x2000,
  parent: 0x8000,
  thread: 0x10000,
  semaphoreUndo: 0x40000,
} as const;

const threadFlags =
  cloneFlag.vm |
  cloneFlag.fs |
  cloneFlag.files |
  cloneFlag.signalHandlers |
  cloneFlag.thread |
  cloneFlag.semaphoreUndo |
  cloneFlag.ptrace;
const cloneArgumentBytes = 88;

function clone(batch: Batch, tid: number, flags: number, exitSignal: number): void {
  const words = new BigUint64Array(cloneArgumentBytes / 8);
  words[0] = BigInt(flags);
  words[4] = BigInt(exitSignal);
  words[9] = 1n;
  const slot = batch.place(new Uint8Array(words.buffer));
  batch.point(slot, 64, batch.place(new Uint8Array(new Int32Array([tid]).buffer)));
  batch.call(syscalls.clone3, [slot, cloneArgumentBytes], { purpose: `creating ${tid}` });
}

export function cloneThread(script: Script, tid: number): void {
  clone(script.room(1, 128), tid, threadFlags, 0);
}

/** A child process, in a copy of the stub's memory, with what `sharing` says in common with its parent. */
export function cloneProcess(script: Script, pid: number, exitSignal: number, sharing = 0): void {
  // A sibling takes its maker's exit signal, and clone3 takes no other.
  const told = (sharing & cloneFlag.parent) === 0 ? exitSignal : 0;
  clone(script.room(1, 128), pid, cloneFlag.ptrace | sharing, told);
}
