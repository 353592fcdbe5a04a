// The library: what `import ... from "faultline"` gives. One line per public noun.
export type { ErrorCode, ErrorDetails } from "./errors";
export { FaultlineError } from "./errors";
export { BlockCodec, type BlockRef } from "./images/block";
export { type Descriptor, ImageDirectory, type TaskNode, TaskState } from "./images/directory";
export { decodeImage, encodeImage, type Image, type ImageRecord, writeImage } from "./images/framing";
export * from "./images/messages";
export { PageIndex, type PageLookup, type PagePiece, type PageRun } from "./images/pageIndex";
export { PageFlag } from "./images/pagemap";
export { Checkpoint } from "./inspect/checkpoint";
export { writeCoreFile } from "./inspect/coreFile";
export { taskDescriptors } from "./inspect/descriptors";
export { diffCheckpoints } from "./inspect/diff";
export { taskMappings } from "./inspect/mappings";
export { threadRegisters } from "./inspect/registers";
export { environment, listTasks } from "./inspect/tasks";
export { type AfterDump, type DumpOptions, type DumpPhase, type DumpResult, dump } from "./task/dump/dump";
export { findObstacles, type Obstacle, obstacleText } from "./task/dump/obstacles";
export type {
  ExitStatus,
  RestoreOptions,
  RestoreProgress,
  RestoreResult,
  RestoreTimes,
} from "./task/restore/restore";
export { Restorer, restore } from "./task/restore/restore";
