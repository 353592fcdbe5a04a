// Opens an image file for reading, with Node's errors turned into ours. No parsing.
import { closeSync, constants, fstatSync, openSync, type Stats } from "node:fs";
import { FaultlineError } from "../errors";

/** No links, which could lead out of the image directory; no waiting for the writer of a FIFO. */
const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** A descriptor of the regular file `file`, read-only. Throws IMAGE_MISSING, PERMISSION, IMAGE_CORRUPT or SYSTEM. The caller closes it. */
export function openImageFile(file: string): number {
  return openRegular(file).fd;
}

/** Like openImageFile(), with what fstat(2) says of the file. */
export function openRegular(file: string): { readonly fd: number; readonly stats: Stats } {
  let fd: number;
  try {
    fd = openSync(file, flags);
  } catch (cause) {
    throw fileError(cause, "cannot open the file", file);
  }
  const stats = fstatSync(fd);
  if (stats.isFile()) return { fd, stats };
  closeSync(fd);
  throw new FaultlineError("IMAGE_CORRUPT", "an image is not a regular file", { file });
}

/** The FaultlineError for what node:fs threw about `file`. */
export function fileError(cause: unknown, message: string, file: string): FaultlineError {
  const { code, errno, syscall } = cause as NodeJS.ErrnoException;
  const details = { file, syscall, errno: errno === undefined ? undefined : Math.abs(errno), cause };
  if (code === "ELOOP") return new FaultlineError("IMAGE_CORRUPT", "an image is a symbolic link", { file, cause });
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
