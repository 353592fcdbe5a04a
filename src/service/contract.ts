// The service's contract: docs/openapi.json, read once; request bodies are checked against its schemas, so that the
// document and the server cannot disagree about what is accepted.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv2020, { type ValidateFunction } from "ajv/dist/2020";
import { FaultlineError } from "../errors";

const CONTRACT_FILE = join(__dirname, "..", "..", "..", "docs", "openapi.json");

interface Document {
  readonly paths: Record<string, Record<string, unknown>>;
  readonly components: { readonly schemas: Record<string, object> };
}

export class Contract {
  readonly text: string;
  readonly document: Document;
  private readonly ajv = new Ajv2020({ strict: true, allErrors: false });
  private readonly validators = new Map<string, ValidateFunction>();

  constructor() {
    this.text = readFileSync(CONTRACT_FILE, "utf8");
    this.document = JSON.parse(this.text) as Document;
    // OpenAPI keeps its schemas under this word, which JSON Schema does not know.
    this.ajv.addVocabulary(["components"]);
    this.ajv.addSchema({ $id: "contract", components: { schemas: this.document.components.schemas } });
  }

  /**
   * Returns `body` where it fits the schema of that name.
   * @throws FaultlineError USAGE naming the first field that does not.
   */
  check<T>(schemaName: string, body: unknown): T {
    let validate = this.validators.get(schemaName);
    if (validate === undefined) {
      validate = this.ajv.compile({ $ref: `contract#/components/schemas/${schemaName}` });
      this.validators.set(schemaName, validate);
    }
    if (validate(body)) return body as T;
    const first = validate.errors?.[0];
    const where = first?.instancePath ? `field ${first.instancePath.slice(1).replaceAll("/", ".")}` : "the body";
    const extra = first?.params?.additionalProperty as string | undefined;
    throw new FaultlineError("USAGE", `${where} ${first?.message ?? "is wrong"}${extra ? ` (${extra})` : ""}`, {
      advice: "GET /v1/openapi.json says what a request may hold",
    });
  }
}
