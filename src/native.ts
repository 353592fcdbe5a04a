// Loads the native addon once, with one clear error where it has not been built.
import { join } from "node:path";
import type { Addon } from "../native/addon";
import { FaultlineError } from "./errors";

/** The addon file, built by node-gyp at `npm ci`: <package>/build/Release/faultline.node. */
export const addonPath = join(__dirname, "..", "..", "build", "Release", "faultline.node");

function load(): Addon {
  try {
    return require(addonPath) as Addon;
  } catch (cause) {
    throw new FaultlineError("ADDON_MISSING", "the native addon cannot be loaded", {
      file: addonPath,
      advice: "run `npm ci` on Linux x86-64 with g++, make and python3 installed",
      cause,
    });
  }
}

export const native: Addon = load();
