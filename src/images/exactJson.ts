// JSON whose integers are exact: beyond 2^53 they are bigints on our side and bare numbers in the text, as crit writes them.
// JSON.parse and JSON.stringify would round or refuse them. RFC 8259.
import { FaultlineError } from "../errors";

export type Json = null | boolean | number | bigint | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

/** Values inside values. */
const DEPTH_MAX = 200;

/** The text of `value`, indented by `indent` spaces per level, or in one line for 0. */
export function formatJson(value: Json, indent: number): string {
  const parts: string[] = [];
  format(value, indent, indent === 0 ? "" : "\n", parts);
  return parts.join("");
}

function format(value: Json, indent: number, line: string, parts: string[]): void {
  if (value === null || typeof value !== "object") {
    parts.push(typeof value === "bigint" ? value.toString() : JSON.stringify(value));
    return;
  }
  const list = Array.isArray(value);
  const entries: [string, Json][] = list ? value.map((each) => ["", each]) : Object.entries(value);
  if (entries.length === 0) {
    parts.push(list ? "[]" : "{}");
    return;
  }
  const inner = line === "" ? "" : line + " ".repeat(indent);
  parts.push(list ? "[" : "{");
  entries.forEach(([key, each], index) => {
    if (index > 0) parts.push(line === "" ? ", " : ",");
    parts.push(inner);
    if (!list) parts.push(JSON.stringify(key), ": ");
    format(each, indent, inner, parts);
  });
  parts.push(line, list ? "]" : "}");
}

/** The value of `text`. Integers that a number cannot hold exactly are bigints. Throws IMAGE_CORRUPT with the offset. */
export function parseJson(text: string, file: string): Json {
  const parser = new Parser(text, file);
  return parser.document();
}

class Parser {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly file: string,
  ) {}

  document(): Json {
    const value = this.value(0);
    this.space();
    if (this.at < this.text.length) throw this.wrong("something after the end");
    return value;
  }

  private value(depth: number): Json {
    if (depth > DEPTH_MAX) throw this.wrong(`values nested more than ${DEPTH_MAX} deep`);
    this.space();
    const first = this.text[this.at];
    if (first === "{") return this.object(depth);
    if (first === "[") return this.list(depth);
    if (first === '"') return this.string();
    for (const [word, value] of [
      ["true", true],
      ["false", false],
      ["null", null],
    ] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  private object(depth: number): JsonObject {
    const result: JsonObject = {};
    this.items("}", () => {
      this.space();
      const key = this.string();
      this.expect(":");
      const value = this.value(depth + 1);
      // Plain assignment of this one key would set the prototype.
      Object.defineProperty(result, key, { value, enumerable: true, writable: true, configurable: true });
    });
    return result;
  }

  private list(depth: number): Json[] {
    const result: Json[] = [];
    this.items("]", () => result.push(this.value(depth + 1)));
    return result;
  }

  private items(close: string, item: () => void): void {
    this.at += 1;
    this.space();
    if (this.text[this.at] === close) {
      this.at += 1;
      return;
    }
    for (;;) {
      item();
      this.space();
      const next = this.text[this.at];
      if (next !== "," && next !== close) throw this.wrong(`"," or "${close}" is missing`);
      this.at += 1;
      if (next === close) return;
    }
  }

  /** By hand to its end, since a payload of megabytes is too long for a regular expression. */
  private string(): string {
    const start = this.at;
    if (this.text[start] !== '"') throw this.wrong("a string is missing");
    let end = start + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === "\\" ? 2 : 1;
    try {
      const value = JSON.parse(this.text.slice(start, end + 1)) as string;
      this.at = end + 1;
      return value;
    } catch {
      throw this.wrong("a string is broken");
    }
  }

  private number(): number | bigint {
    const match = this.match(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y);
    if (match === undefined) throw this.wrong("a value is missing or broken");
    const value = Number(match);
    return Number.isSafeInteger(value) || /[.eE]/.test(match) ? value : BigInt(match);
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    if (found !== undefined) this.at += found.length;
    return found;
  }

  private expect(symbol: string): void {
    this.space();
    if (this.text[this.at] !== symbol) throw this.wrong(`"${symbol}" is missing`);
    this.at += 1;
  }

  private space(): void {
    this.match(/[ \t\r\n]*/y);
  }

  private wrong(what: string): FaultlineError {
    return new FaultlineError("IMAGE_CORRUPT", `broken JSON: ${what}`, { file: this.file, offset: this.at });
  }
}
