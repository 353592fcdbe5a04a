// Reads and decodes one stored block into memory. The pager does not come this way: it installs blocks natively.
import { errorName, FaultlineError } from "../errors";
import { PAGE_BYTES } from "../limits";
import { native } from "../native";
import { BlockCodec, type BlockRef } from "./block";

const EBADMSG = 74;
const EILSEQ = 84;
const ENODATA = 61;

/** What a failed read or decode of a block means; `status` is the native layer's negative errno. */
export function blockError(status: number, block: BlockRef): FaultlineError {
  const { file, offset } = block;
  if (status === -EBADMSG) return new FaultlineError("IMAGE_CORRUPT", "a block's checksum is wrong", { file, offset });
  if (status === -EILSEQ) return new FaultlineError("IMAGE_CORRUPT", "a block does not decode", { file, offset });
  if (status === -ENODATA)
    return new FaultlineError("IMAGE_TRUNCATED", "the file ends inside a block", { file, offset });
  return new FaultlineError("SYSTEM", `a block cannot be read: ${errorName(-status)}`, {
    file,
    offset,
    syscall: "pread",
    errno: -status,
  });
}

/** Fills out[0, pageCount * 4096) with the block's pages, checked against its checksum where it has one. */
export function readBlock(block: BlockRef, out: Uint8Array): void {
  const outBytes = block.pageCount * PAGE_BYTES;
  if (out.length < outBytes) throw new RangeError("the output is shorter than the block");
  if (block.codec === BlockCodec.Zero) {
    out.fill(0, 0, outBytes);
    return;
  }
  const { fd, offset, storedBytes, codec, checksum } = block;
  const status = native.readBlock(fd, offset, storedBytes, codec, checksum, out, 0, outBytes);
  if (status < 0) throw blockError(status, block);
}
