// The longest literal that every match of a regular expression must contain, so that the native scan can find the places
// worth trying. Understands only the plain outside of an expression, and rather finds nothing than something wrong.

/** Shorter ones are nearly everywhere. */
const LITERAL_BYTES_MIN = 3;

/** What follows an atom: how long it is, and whether the atom may be missing. */
function quantifier(source: string, at: number): { length: number; optional: boolean } | undefined {
  const match = /^(?:[*+?]|\{(\d+)(?:,\d*)?\})\??/.exec(source.slice(at, at + 32));
  if (match === null) return source[at] === "{" ? undefined : { length: 0, optional: false };
  const sign = match[0][0]!;
  return {
    length: match[0].length,
    optional: sign === "*" || sign === "?" || (sign === "{" && Number(match[1]) === 0),
  };
}

/** The end of the class or group that begins at `at`; -1 where it does not end. */
function endOf(source: string, at: number): number {
  let depth = 0;
  let inClass = false;
  for (let i = at; i < source.length; i++) {
    const char = source[i];
    if (char === "\\") i++;
    else if (inClass) inClass = char !== "]";
    else if (char === "[") inClass = true;
    else if (char === "(") depth++;
    else if (char === ")") depth--;
    if (depth === 0 && !inClass) return i + 1;
  }
  return -1;
}

/** A literal of the expression `source` (flags g and m, characters are bytes); empty where none is certain. */
export function requiredLiteral(source: string): Buffer {
  let best = "";
  let run = "";
  const broken = (): void => {
    if (run.length > best.length) best = run;
    run = "";
  };
  for (let at = 0; at < source.length; ) {
    const char = source[at]!;
    if (char === "|") return Buffer.alloc(0);
    let literal = "";
    let end = at + 1;
    if (char === "(" || char === "[") end = endOf(source, at);
    else if (char === "\\") {
      // Digits and most letters mean something longer or something else; punctuation means itself.
      const next = source[at + 1] ?? "";
      if (!/^[dDwWsSbBnrtfv]$|^[^0-9A-Za-z]$/.test(next)) return Buffer.alloc(0);
      if (!/[A-Za-z]/.test(next)) literal = next;
      end = at + 2;
    } else if (!"^$.".includes(char)) literal = char;
    const more = end < 0 ? undefined : quantifier(source, end);
    if (more === undefined) return Buffer.alloc(0);
    if (literal === "" || more.optional) broken();
    else run += literal;
    // What comes after a repeated character does not follow its first one.
    if (more.length > 0) broken();
    at = end + more.length;
  }
  broken();
  const bytes = Buffer.from(best, "latin1");
  return bytes.length < LITERAL_BYTES_MIN || bytes.every((byte) => byte === 0) ? Buffer.alloc(0) : bytes;
}
