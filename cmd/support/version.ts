// Which version this is. Nothing else of package.json.
import { readFileSync } from "node:fs";
import { join } from "node:path";

export function version(): string {
  const file = join(__dirname, "..", "..", "..", "package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
