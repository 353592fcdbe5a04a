// Decoding of one stored block, shared by the codec's own functions and by whoever installs blocks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace faultline {

constexpr size_t kPageBytes = 4096;

// As in src/images/block.ts.
enum BlockCodec : int { kBlockZero = 0, kBlockRaw = 1, kBlockLz4 = 2 };

// Decodes a block of storedBytes at `stored` into exactly outBytes at `out`. `checksum` is the XXH32 (seed 0) of the
// stored bytes, or -1 for none. Returns 0; -EBADMSG where the checksum differs; -EILSEQ where the bytes do not decode to
// exactly outBytes; -EINVAL for an unknown codec. Never writes outside [out, out + outBytes). A raw block
// may be read to its place before: `stored` is `out` then.
int decodeBlock(int codec, const uint8_t* stored, size_t storedBytes, int64_t checksum, uint8_t* out, size_t outBytes);

// Whether the XXH32 of the stored bytes is `checksum`; -1 holds always.
bool checksumHolds(const uint8_t* stored, size_t storedBytes, int64_t checksum);

// The first wantedBytes of an LZ4 or raw block that decodes to outBytes, at the front of `out`, without its checksum: whole
// blocks as decodeBlock. 0 or -EILSEQ.
int decodePrefix(int codec, const uint8_t* stored, size_t storedBytes, uint8_t* out, size_t wantedBytes, size_t outBytes);

// Whether all bytes are zero.
bool allZero(const uint8_t* bytes, size_t length);

// pread(2) until `length` bytes are there. Returns 0, -errno, or -ENODATA where the file ends before.
int preadFully(int fd, uint8_t* into, size_t length, uint64_t offset);

// A disk takes as long for a page as for this much around it, and whoever wants one page soon wants others near it.
constexpr uint64_t kNeighbourBytes = 128 * 1024;

// preadFully for reads all over a file: what has to come from the disk brings the aligned kNeighbourBytes around it into the
// page cache. The kernel's own read-ahead does so only for reads in sequence.
int preadWithNeighbours(int fd, uint8_t* into, size_t length, uint64_t offset);

}  // namespace faultline
