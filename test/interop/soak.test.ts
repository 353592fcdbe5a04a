// The short form of the soak (`npm run soak` makes 200 cycles).
import { test } from "node:test";
import { soak } from "./soaking";

test("a busy program lives through cycles of dump, leave running, end and restore without leaks", async () => {
  await soak(6, () => {});
});
