// What the terminal can show: colours, characters beyond ASCII, and lines that are written over.
import type { WriteStream } from "node:tty";

export interface Style {
  readonly live: boolean;
  readonly unicode: boolean;
  /** `text` in one of the 256 colours of xterm, where there are colours. */
  color(text: string, color: number): string;
  bold(text: string): string;
}

export function styleOf(stream: WriteStream, environment: NodeJS.ProcessEnv = process.env): Style {
  const live = stream.isTTY === true;
  const colors = live && (environment.NO_COLOR ?? "") === "" && environment.TERM !== "dumb";
  const locale = environment.LC_ALL || environment.LC_CTYPE || environment.LANG || "";
  const wrap = (text: string, code: string): string => (colors ? `\u001b[${code}m${text}\u001b[0m` : text);
  return {
    live: live && environment.TERM !== "dumb",
    unicode: /utf-?8/i.test(locale),
    color: (text, color) => wrap(text, `38;5;${color}`),
    bold: (text) => wrap(text, "1"),
  };
}
