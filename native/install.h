// What uffd.cc shares with whoever installs many blocks in one call: one block's bytes, and one UFFDIO_COPY.
#pragma once

#include <cstddef>
#include <cstdint>

namespace faultline {

struct StoredBlock {
  int fd;
  int codec;
  uint64_t offset;
  uint64_t storedBytes;
  uint64_t pageCount;
  int64_t checksum;  // -1: none
};

// Puts pages [skip, skip + count) of `block` into `into`, at the place they have in the whole block; `into` and `scratch`
// hold a whole block. 0, or a number of blockLoad in addon.d.ts.
int64_t loadBlock(const StoredBlock& block, uint64_t skip, uint64_t count, uint8_t* scratch, uint8_t* into);

// UFFDIO_COPY: the bytes installed, or -errno.
int64_t copyPages(int uffd, uint64_t address, const uint8_t* bytes, uint64_t length);

}  // namespace faultline
