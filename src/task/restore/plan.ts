// The whole plan of a restore, made and checked from the images before anything is created. Reads the machine's vdso
// layout and nothing else of the machine; whether files have changed is fileCheck.ts.
import { existsSync, readFileSync, statSync } from "node:fs";
import { FaultlineError } from "../../errors";
import { isPlainDevice } from "../devices";
import { type SegmentFacts, systemVSegments } from "../segments";
import { credentialProblems } from "./credentialPlan";
import { type FilePlan, planFiles } from "./filePlan";
import { agentBytes, findHole } from "./layout";
import { processProblems } from "./processPlan";
import { planSegments, type SegmentPlan } from "./segments";
import { findSharedObjects, type SharedObject } from "./sharedMemory";
import { planSpace, type SpacePlan, type VdsoShape } from "./spacePlan";
import { threadProblems } from "./threadPlan";
import { rootTask, type TreeImage } from "./treeImage";

export interface RestorePlan {
  readonly tree: TreeImage;
  /** By pid; none for dead tasks. */
  readonly spaces: ReadonlyMap<number, SpacePlan>;
  readonly shared: readonly SharedObject[];
  readonly segments: readonly SegmentPlan[];
  readonly files: FilePlan;
  /** Where the agent goes, in every task. */
  readonly hole: number;
}

let shape: VdsoShape | undefined;

/** How this kernel lays out the vdso, from our own. */
export function ownVdsoShape(): VdsoShape {
  if (shape !== undefined) return shape;
  let dataStart = 0;
  for (const line of readFileSync("/proc/self/maps", "latin1").split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) .*\[(vvar|vdso)/.exec(line);
    if (match === null) continue;
    const start = Number.parseInt(match[1] as string, 16);
    if (match[3] === "vvar") dataStart ||= start;
    else {
      shape = { dataBytes: start - dataStart, codeBytes: Number.parseInt(match[2] as string, 16) - start };
      return shape;
    }
  }
  throw new FaultlineError("UNSUPPORTED", "this process has no vdso to compare with");
}

export interface PlanOptions {
  /** The tree may be part of a session outside of the image, and joins ours. */
  readonly shellJob?: boolean | undefined;
  /** Established TCP connections are kept, or closed: one of them must be said where there are any. */
  readonly tcpEstablished?: boolean | undefined;
  readonly tcpClose?: boolean | undefined;
  /** Unix sockets are connected to names outside of the image again. */
  readonly externalUnix?: boolean | undefined;
}

/** The mount point of a device, from /proc/self/mountinfo (proc(5)). */
function mountOf(device: number): string | undefined {
  const name = `${device >>> 20}:${device & 0xfffff}`;
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const fields = line.split(" ");
    if (fields[2] === name)
      return fields[4]?.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(parseInt(code, 8)));
  }
  return undefined;
}

/** Sessions and groups that nobody in the image can bring back. */
function treeProblems(tree: TreeImage, shellJob: boolean): string[] {
  const root = rootTask(tree);
  const problems: string[] = [];
  if (root.session !== root.pid && !shellJob) {
    problems.push(
      `pid ${root.pid}: part of session ${root.session}, which is not in the image; say --shell-job to join ours`,
    );
  }
  return problems;
}

/** Throws IMAGE_UNSUPPORTED with everything that stands in the way, in one message. */
export function planRestore(tree: TreeImage, options: PlanOptions = {}): RestorePlan {
  const vdso = ownVdsoShape();
  const problems: string[] = treeProblems(tree, options.shellJob === true);
  const spaces = new Map<number, SpacePlan>();
  for (const task of tree.tasks) {
    if (task.dead) continue;
    if (task.mm !== undefined) {
      const own: string[] = [];
      spaces.set(task.pid, planSpace(task.mm, vdso, own, tree.segments));
      problems.push(...own.map((problem) => `pid ${task.pid}: ${problem}`));
    }
    problems.push(...processProblems(task, tree), ...task.threads.flatMap(threadProblems));
    problems.push(...task.threads.flatMap((thread) => credentialProblems(thread, tree)));
  }
  const shared = findSharedObjects([...spaces.values()]);
  const attachments = [...spaces.values()].flatMap((space) => space.attachments);
  const present = attachments.length === 0 ? new Map<number, SegmentFacts>() : systemVSegments();
  const segments = planSegments(attachments, tree.segments, present, problems);
  const files = planFiles(tree, shared, problems, {
    shellJob: options.shellJob === true,
    tcpEstablished: options.tcpEstablished === true,
    tcpClose: options.tcpClose === true || tree.inventory.tcp_close === true,
    externalUnix: options.externalUnix === true,
    mountOf,
    isFree: (path) => !existsSync(path),
    isPlainDevice: (path) => {
      const found = statSync(path, { bigint: true, throwIfNoEntry: false });
      return found === undefined || (found.isCharacterDevice() && isPlainDevice(found.rdev));
    },
  });
  if (problems.length > 0) {
    throw new FaultlineError("IMAGE_UNSUPPORTED", `cannot restore this image: ${problems.join("; ")}`);
  }
  const taken = [...spaces.values()].flatMap((space) => space.mappings);
  return { tree, spaces, shared, segments, files, hole: findHole(taken, agentBytes) };
}
