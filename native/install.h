// What the files that install pages share: one block's bytes, one UFFDIO_COPY, and the messages of a userfaultfd.
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

// UFFDIO_WAKE: 0, or -errno.
int64_t wakePages(int uffd, uint64_t address, uint64_t length);

// struct uffd_msg; the union is read by event.
struct Message {
  uint8_t event;
  uint8_t reserved1;
  uint16_t reserved2;
  uint32_t reserved3;
  uint64_t first;   // fault: flags; fork: the descriptor (u32); remap: from; remove, unmap: start
  uint64_t second;  // fault: address; remap: to; remove, unmap: end
  uint64_t third;   // fault: thread id (u32); remap: length
};
static_assert(sizeof(Message) == 32 && offsetof(Message, first) == 8);

constexpr uint8_t kEventPagefault = 0x12;
constexpr uint8_t kEventFork = 0x13;
constexpr uint64_t kFaultWrite = 1;

// The queued messages of a userfaultfd, `most` of them; their number, or -errno. 0: none is queued.
int64_t readMessages(int uffd, Message* into, size_t most);

// Messages of the descriptor that serveWait has read and not answered, oldest first; how many, at most `most`.
size_t takeUnread(int uffd, Message* into, size_t most);

}  // namespace faultline
