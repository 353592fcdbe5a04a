// `npm run soak [-- CYCLES [PROGRAM]]`: the whole soak, 200 cycles of each program unless told otherwise. The short form runs
// in soak.test.ts.
import { soak, soakPrograms } from "./soaking";

async function main(): Promise<void> {
  const cycles = Number(process.argv[2] ?? 200);
  const chosen = process.argv[3] === undefined ? soakPrograms : [process.argv[3]];
  for (const name of chosen) {
    const said = await soak(name, cycles, (cycle, now) => {
      if (cycle % 10 === 9 || cycle === cycles - 1) console.log(`${name}, cycle ${cycle + 1}: ${JSON.stringify(now)}`);
    });
    console.log(`${name}: ${cycles} cycles, nothing leaked${said === "" ? "" : `; ${said}`}`);
  }
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
