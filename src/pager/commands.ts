// What is said between a pager and who uses it. Plain data, as it may cross threads.
import type { ContextRequest, PagerReport, SessionReport, SessionRequest } from "./requests";

/** To the pager. `id` is answered by a Reply of the same id. */
export type Command =
  | { readonly id: number; readonly kind: "prepare"; readonly imagesDir: string }
  | { readonly id: number; readonly kind: "openSession"; readonly request: SessionRequest }
  | { readonly id: number; readonly kind: "addContext"; readonly request: ContextRequest }
  | { readonly id: number; readonly kind: "awaitWorkingSets"; readonly sessionId: number }
  | { readonly id: number; readonly kind: "startDrain"; readonly sessionId: number }
  | { readonly id: number; readonly kind: "closeSession"; readonly sessionId: number; readonly error?: string }
  | { readonly id: number; readonly kind: "report" }
  | { readonly id: number; readonly kind: "stop" };

export interface ErrorData {
  readonly code: string;
  readonly message: string;
  readonly details: Record<string, unknown>;
}

/** From the pager. */
export type Reply =
  | { readonly kind: "ready"; readonly control: number }
  | { readonly kind: "answer"; readonly id: number; readonly report?: PagerReport | undefined }
  | { readonly kind: "failed"; readonly id: number; readonly error: ErrorData }
  | { readonly kind: "sessionDone"; readonly report: SessionReport }
  /** The pages that a task touched, in order of first touch. */
  | { readonly kind: "recorded"; readonly imagesDir: string; readonly imagePid: number; readonly pages: Float64Array }
  /** Something that is not as it should be and does no harm, in one line. */
  | { readonly kind: "warning"; readonly line: string };
