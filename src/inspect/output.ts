// How a question's answer leaves the process: as JSON, or as text painted for a terminal. The only place here that prints.
import { FaultlineError } from "../errors";
import { jsonText } from "./json";
import { type Paint, paintFor } from "./textTable";

export function printAnswer(json: boolean | undefined, data: () => unknown, text: (paint: Paint) => string): void {
  process.stdout.write(json === true ? jsonText(data()) : text(paintFor(process.stdout, process.env)));
}

/** A pid given on the command line. Throws USAGE. */
export function parsePid(text: string): number {
  const pid = Number(text);
  if (/^\d+$/.test(text) && pid > 0 && pid < 2 ** 31) return pid;
  throw new FaultlineError("USAGE", `"${text}" is not a pid`, {
    advice: "give a number, as `faultline inspect ps` shows them",
  });
}

/** A number given on the command line as `option`, 0 to `most`. Throws USAGE. */
export function parseCount(text: string, option: string, most = Number.MAX_SAFE_INTEGER): number {
  const count = Number(text);
  if (/^\d+$/.test(text) && count <= most) return count;
  throw new FaultlineError("USAGE", `${option}: "${text}" is not a number from 0 to ${most}`);
}
