// The limits of the image room. An image never makes Faultline go beyond them.

/** Messages inside messages; protobuf's own default. */
export const MESSAGE_DEPTH_MAX = 100;
/** Largest image file that is read as a whole, bytes. Pages files and ghost files are read in pieces. */
export const IMAGE_BYTES_MAX = 1024 * 1024 * 1024;
/** Directories in a chain of `parent` links. */
export const PARENT_CHAIN_MAX = 1024;
