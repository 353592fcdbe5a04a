// The library: what `import ... from "faultline"` gives. One line per public noun.
export type { ErrorCode, ErrorDetails } from "./errors";
export { FaultlineError } from "./errors";
