// Every error that Faultline throws on purpose: one class, stable codes, and what the error is about.
// A FaultlineError is an expected failure (bad input, a peer that hung up, no permission): the command
// line prints it as one line. Anything else is a bug and keeps its stack trace.

/** Stable error codes. Add one here before throwing it; never reuse one for another meaning. */
export type ErrorCode =
  | "ADDON_MISSING" // the native addon is not built
  | "USAGE" // bad options or arguments: exit code 2
  | "NOT_FOUND" // a file, task or address that was asked for does not exist
  | "PERMISSION" // the kernel refused for lack of privilege
  | "SYSTEM" // a system call failed for another reason
  | "IMAGE_CORRUPT" // an image file holds something it must not
  | "IMAGE_TRUNCATED" // an image file ends inside a record or block
  | "IMAGE_MISSING" // an image file that another one needs is absent
  | "IMAGE_UNSUPPORTED" // a valid image holds something that this version does not handle
  | "UNSUPPORTED" // the target or the machine holds something that this version does not handle
  | "PEER" // the other end of a socket broke the protocol or went away
  | "TIMEOUT" // a peer or task did not answer in time
  | "BUSY" // a pid, path or socket is taken
  | "CHANGED" // a file differs from what it was at dump
  | "ABORTED"; // the caller's AbortSignal fired

export interface ErrorDetails {
  /** The file that the error is about. */
  readonly file?: string | undefined;
  /** Offset in that file, bytes. */
  readonly offset?: number | undefined;
  /** Index of the record in that file, from 0. */
  readonly record?: number | undefined;
  /** The task that the error is about. */
  readonly pid?: number | undefined;
  /** The address that the error is about, bytes. */
  readonly address?: number | bigint | undefined;
  /** The system call that failed, and its errno as a positive number. */
  readonly syscall?: string | undefined;
  readonly errno?: number | undefined;
  /** What to do next, for a person, without a full stop. */
  readonly advice?: string | undefined;
  readonly cause?: unknown;
}

export class FaultlineError extends Error {
  override readonly name = "FaultlineError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.details = details;
  }

  /** The error in one line: what, where, what to do next. */
  line(): string {
    const { file, offset, record, pid, address, syscall, errno, advice } = this.details;
    const where: string[] = [];
    if (file !== undefined) where.push(file);
    if (record !== undefined) where.push(`record ${record}`);
    if (offset !== undefined) where.push(`offset ${offset}`);
    if (pid !== undefined) where.push(`pid ${pid}`);
    if (address !== undefined) where.push(`address 0x${address.toString(16)}`);
    if (syscall !== undefined) where.push(syscall);
    if (errno !== undefined) where.push(errorName(errno));
    let text = this.message;
    if (where.length > 0) text += ` (${where.join(", ")})`;
    if (advice !== undefined) text += `; ${advice}`;
    return text.replace(/\s*\n\s*/g, " ");
  }
}

/** "ENOENT" for 2, and so on; "errno N" for a number without a name (errno(3)). */
export function errorName(errno: number): string {
  const { errno: numbers } = require("node:os").constants as { errno: Record<string, number> };
  const found = Object.entries(numbers).find(([, value]) => value === errno);
  return found === undefined ? `errno ${errno}` : found[0];
}

/** Returns `result` of a native call, or throws what its negative errno means. */
export function checked(result: number, syscall: string, message: string, details: ErrorDetails = {}): number {
  if (result >= 0) return result;
  const errno = -result;
  const code: ErrorCode =
    errno === 1 || errno === 13 ? "PERMISSION" : errno === 2 || errno === 3 ? "NOT_FOUND" : "SYSTEM";
  throw new FaultlineError(code, message, { ...details, syscall, errno });
}
