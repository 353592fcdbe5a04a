// Values of options that several verbs take, parsed and refused in one way. What an option means is its verb's.
import { FaultlineError } from "../../src/errors";
import { type ErrorPolicy, errorPolicies } from "../../src/pager/requests";

/** The largest pid that Linux gives on 64 bits (PID_MAX_LIMIT, linux/threads.h). */
const PID_MAX = 4194304;
const SECONDS_MAX = 9_999_999;

/** Each parser takes the option's name for its message, and throws USAGE. */
function refused(option: string, text: string, what: string): FaultlineError {
  return new FaultlineError("USAGE", `${option}: "${text}" is not ${what}`, { advice: "run with --help for usage" });
}

export function pidOption(option: string): (text: string) => number {
  return (text) => {
    const pid = Number(text);
    if (/^\d+$/.test(text) && pid >= 1 && pid <= PID_MAX) return pid;
    throw refused(option, text, "a process id");
  };
}

/** Bytes, at least `least`; K, M and G are powers of 1024. */
export function bytesOption(option: string, least: number): (text: string) => number {
  return (text) => {
    const match = /^(\d{1,15})([KMG]?)$/i.exec(text);
    const unit = match?.[2]?.toUpperCase() ?? "";
    const bytes = match === null ? -1 : Number(match[1]) * 1024 ** ["", "K", "M", "G"].indexOf(unit);
    if (bytes >= least) return bytes;
    throw refused(option, text, "a number of bytes, like 50M");
  };
}

/** A whole number from 0, such as a descriptor or microseconds. */
export function wholeOption(option: string): (text: string) => number {
  return (text) => {
    if (/^\d{1,9}$/.test(text)) return Number(text);
    throw refused(option, text, "a whole number");
  };
}

/** Seconds from `least` to `most`, both included. */
export function secondsOption(option: string, least = 0, most = SECONDS_MAX): (text: string) => number {
  return (text) => {
    const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (seconds >= least && seconds <= most) return seconds;
    throw refused(option, text, `a number of seconds from ${least} to ${most}`);
  };
}

/** What --on-error is about, for the help of each verb that has it. */
export const onErrorHelp = `what happens to tasks whose pages cannot be had: ${errorPolicies.join(", ")}`;

export function policyOption(option: string): (text: string) => ErrorPolicy {
  return (text) => {
    const policy = errorPolicies.find((each) => each === text);
    if (policy !== undefined) return policy;
    throw refused(option, text, `one of ${errorPolicies.join(", ")}`);
  };
}
