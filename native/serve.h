// Answering faults inside a wait, without going back to JavaScript for each: see serve.cc.
#pragma once

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>

namespace faultline {

// What a wait did by itself, for the caller to note down. Numbers of an entry: addon.d.ts.
class ServedLog {
 public:
  static constexpr size_t kNumbers = 11;
  // What one fault may add: its own page, and every second page of the block around it.
  static constexpr size_t kMostOfOneFault = 10;

  // `numbers`: the count of entries, then the entries; null: nothing is served.
  ServedLog(double* numbers, size_t length)
      : numbers_(numbers), room_(numbers == nullptr ? 0 : (length - 1) / kNumbers) {
    if (numbers_ != nullptr) numbers_[0] = 0;
  }

  size_t count() const { return count_; }
  bool hasRoom() const { return room_ - count_ >= kMostOfOneFault; }
  double* add() {
    double* entry = numbers_ + 1 + count_++ * kNumbers;
    numbers_[0] = static_cast<double>(count_);
    return entry;
  }

 private:
  double* numbers_;
  size_t room_;
  size_t count_ = 0;
};

// Whether the faults that this thread answered last were all of one thread, which leaves its processor free while it waits. Where
// several threads fault by turns, whoever looks for messages without sleeping keeps one of them from running.
bool oneThreadFaults();

// Reads and answers what it may of the ready descriptors; those that the caller has to look at stay in `events`, and their
// number is returned.
int serveReady(epoll_event* events, int count, ServedLog& log);

}  // namespace faultline
