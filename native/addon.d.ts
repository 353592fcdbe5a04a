// The addon's whole surface. Every function is positional and returns a number: the value, or a
// negative errno. Addresses, lengths and file offsets are bytes as exact integers below 2^53.
// Arguments are checked by the callers in src/, not here.

export interface Addon {
  // codec.cc
  /** The LZ4 library's version as major * 10000 + minor * 100 + release. */
  lz4Version(): number;
}
