#pragma once
// A BlockReader over files that are vectors, delivering late and out of order. It checks what
// callers promise, writes into a destination only at the moment of delivery (so a slot that was
// reused too early is found out), and fails on request.

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/experts/files_in_memory.h"

namespace sluice::test {

enum class ReadFault { kNone, kFail, kShort, kDelay };

class MemoryReader final : public FilesInMemory {
 public:
  MemoryReader(std::vector<std::string> names, const std::vector<File>& files,
               std::size_t alignment, unsigned seed = 1)
      : FilesInMemory(std::move(names), files), alignment_(alignment), random_(seed) {
    pending_.reserve(4096);
  }

  // What the test sets and looks at.
  std::size_t most_per_reap = 2;   // reads delivered by one `reap`
  std::uint64_t fault_at = ~0ull;  // counts reads from 0
  ReadFault fault = ReadFault::kNone;
  bool refuse_submissions = false;
  bool lose_reads = false;
  std::uint64_t submissions = 0;
  std::uint64_t reads = 0;
  std::vector<std::string> violations;
  std::size_t under_way() const { return pending_.size(); }

  std::size_t alignment(FileIndex) const override { return alignment_; }
  void register_memory(std::span<std::byte> memory) override { memory_ = memory; }

  void forget_memory(std::span<std::byte> memory) override {
    if (memory.data() != memory_.data() || !pending_.empty())
      violations.push_back("forgot what is in use");
    memory_ = {};
  }

  Status submit(std::span<const ReadRequest> requests) override {
    if (refuse_submissions) return Status(ErrorCode::kIo, "the ring is broken");
    submissions += 1;
    for (const ReadRequest& request : requests) {
      check(request);
      const bool bad = reads++ == fault_at;
      pending_.push_back({request, bad ? fault : ReadFault::kNone});
    }
    return {};
  }

  std::size_t reap(std::span<ReadCompletion> out, bool) override {
    if (lose_reads) pending_.clear();
    std::size_t count = 0;
    while (count < std::min(most_per_reap, out.size()) && !pending_.empty()) {
      std::size_t pick = random_() % pending_.size();
      // A delayed read comes after everything else.
      if (pending_[pick].fault == ReadFault::kDelay) pick = (pick + 1) % pending_.size();
      out[count++] = deliver(pending_[pick]);
      pending_[pick] = pending_.back();
      pending_.pop_back();
    }
    return count;
  }

  ReaderInfo info() const override { return {"memory", "for tests", alignment_ > 1, 64}; }

 private:
  struct Pending {
    ReadRequest request;
    ReadFault fault;
  };

  void check(const ReadRequest& request) {
    const auto address = reinterpret_cast<std::uintptr_t>(request.destination);
    if (request.offset % alignment_ != 0 || request.bytes % alignment_ != 0 ||
        address % alignment_ != 0) {
      violations.push_back("unaligned");
    }
    if (request.destination < memory_.data() ||
        request.destination + request.bytes > memory_.data() + memory_.size()) {
      violations.push_back("outside of the registered memory");
    }
    if (request.needed > request.bytes ||
        request.offset + request.needed > file(request.file).size()) {
      violations.push_back("needs more than there is");
    }
    for (const Pending& other : pending_) {
      if (request.destination < other.request.destination + other.request.bytes &&
          other.request.destination < request.destination + request.bytes) {
        violations.push_back("two reads into one place");
      }
    }
  }

  ReadCompletion deliver(const Pending& pending) {
    const ReadRequest& request = pending.request;
    const File& from = file(request.file);
    std::size_t bytes = std::min<std::size_t>(request.bytes, from.size() - request.offset);
    if (pending.fault == ReadFault::kShort) bytes /= 2;
    if (pending.fault == ReadFault::kFail) bytes = 0;
    std::memcpy(request.destination, from.data() + request.offset, bytes);
    if (pending.fault == ReadFault::kFail || pending.fault == ReadFault::kShort) {
      return {request.tag, Status(ErrorCode::kIo, "the disk is tired")};
    }
    return {request.tag, {}};
  }

  std::size_t alignment_;
  std::mt19937 random_;
  std::span<std::byte> memory_;
  std::vector<Pending> pending_;
};

}  // namespace sluice::test
