// Plain data as JSON text: what `--json` prints. Bigints (registers, masks) and addresses become "0x..." strings.

/** Fields that hold byte addresses, wherever they are. */
const addressFields: ReadonlySet<string> = new Set(["start", "end"]);

export function jsonText(value: unknown): string {
  const replacer = (key: string, field: unknown) => {
    if (typeof field === "bigint") return `0x${field.toString(16)}`;
    return typeof field === "number" && addressFields.has(key) ? `0x${field.toString(16)}` : field;
  };
  return `${JSON.stringify(value, replacer, 2)}\n`;
}
