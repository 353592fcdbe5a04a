// HTML from templates in which every value is escaped unless it is HTML already. What an image says is never trusted.
import { safeText } from "./textTable";

export class Html {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

type Value = Html | string | number | readonly Html[];

const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export function escapeHtml(text: string): string {
  return safeText(text).replace(/[&<>"']/g, (char) => escapes[char]!);
}

/** html`<b>${text}</b>`: strings are escaped, Html is not, arrays are joined. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  let text = parts[0]!;
  values.forEach((value, index) => {
    text += rendered(value) + parts[index + 1]!;
  });
  return new Html(text);
}

function rendered(value: Value): string {
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return escapeHtml(value);
  return value instanceof Html ? value.text : value.map((each) => each.text).join("");
}
