// Opens an image file for reading, with Node's errors turned into ours. No parsing.
import { openSync } from "node:fs";
import { FaultlineError } from "../errors";

/** A descriptor of `file`, read-only. Throws IMAGE_MISSING, PERMISSION or SYSTEM. The caller closes it. */
export function openImageFile(file: string): number {
  try {
    return openSync(file, "r");
  } catch (cause) {
    throw fileError(cause, "cannot open the file", file);
  }
}

/** The FaultlineError for what node:fs threw about `file`. */
export function fileError(cause: unknown, message: string, file: string): FaultlineError {
  const { code, errno, syscall } = cause as NodeJS.ErrnoException;
  const details = { file, syscall, errno: errno === undefined ? undefined : Math.abs(errno), cause };
  if (code === "ENOENT") return new FaultlineError("IMAGE_MISSING", "the file does not exist", { file, cause });
  if (code === "EACCES" || code === "EPERM") return new FaultlineError("PERMISSION", message, details);
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new FaultlineError("SYSTEM", message, {
      ...details,
      advice: "make room on that file system and run it again",
    });
  }
  return new FaultlineError("SYSTEM", message, details);
}
