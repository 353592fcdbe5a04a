// `npm run soak [-- CYCLES]`: the whole soak, 200 cycles unless told otherwise. The short form runs in soak.test.ts.
import { soak } from "./soaking";

const cycles = Number(process.argv[2] ?? 200);
soak(cycles, (cycle, now) => {
  if (cycle % 10 === 9 || cycle === cycles - 1) console.log(`cycle ${cycle + 1}: ${JSON.stringify(now)}`);
}).then(
  () => console.log(`${cycles} cycles, nothing leaked`),
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
