// A stored block: what the page index answers and the uffd port installs. Types only.

/** How a block's bytes are stored. */
export enum BlockCodec {
  /** No bytes stored: all pages are zero. */
  Zero = 0,
  /** Stored as they are. */
  Raw = 1,
  /** One LZ4 block (no frame). */
  Lz4 = 2,
}

/** A run of image pages that is read and decoded as one. Offsets and sizes in bytes, counts in 4096-byte pages. */
export interface BlockRef {
  /** The open pages file: a descriptor that the ImageDirectory owns. Unused for a Zero block. */
  readonly fd: number;
  /** That file's path, for error messages. */
  readonly file: string;
  readonly codec: BlockCodec;
  readonly offset: number;
  readonly storedBytes: number;
  /** Pages that the block decodes to, 1 to 16 as written by default, at most 1024. */
  readonly pageCount: number;
  /** XXH32 (seed 0) of the stored bytes, or -1 where the form has none (raw CRIU page files). */
  readonly checksum: number;
}
