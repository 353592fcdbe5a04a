// The sections of the benchmark, in the order of its documents.
import type { Section } from "../report/result";
import { drain } from "./drain";
import { dumps } from "./dump";
import { faults } from "./faults";
import { pager } from "./pager";
import { redis } from "./redis";
import { restore } from "./restore";
import { scale } from "./scale";
import { servers } from "./servers";
import { start } from "./start";
import { storage } from "./storage";
import { workingSet } from "./workingSet";

export const sections: readonly Section[] = [
  faults,
  drain,
  restore,
  start,
  servers,
  redis,
  storage,
  workingSet,
  dumps,
  pager,
  scale,
];
