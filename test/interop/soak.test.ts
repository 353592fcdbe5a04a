// The short form of the soak (`npm run soak` makes 200 cycles).
import { test } from "node:test";
import { soak, soakPrograms } from "./soaking";

for (const name of soakPrograms) {
  test(`${name} lives through cycles of dump, leave running, end and restore without leaks`, async () => {
    await soak(name, 4, () => {});
  });
}
