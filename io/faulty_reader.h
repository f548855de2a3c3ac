#pragma once
// For tests: wraps any reader and makes chosen reads fail, come short, come wrong or come late. A
// room that reads shows with it that for every N, the Nth read going wrong harms only what needed
// it.

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "io/block_reader.h"

namespace sluice {

struct ReadFault {
  enum class Kind {
    kFail,     // fails with an input/output error; the destination holds rubbish
    kShort,    // fails as if the file had been cut short: the first half is right, the rest rubbish
    kCorrupt,  // succeeds, but with some bytes of the destination inverted: what only a checksum
               // can see
    kDelay,    // succeeds, but is held back
  };
  Kind kind = Kind::kFail;
  std::uint64_t nth = 1;    // the first read that is hit, counted from 1 in the order of submission
  std::uint64_t times = 1;  // how many reads in a row are hit
  /// kDelay: held back until so many other completions were handed out, or nothing else is under
  /// way.
  std::uint64_t behind = 1;
};

struct FaultCounters {
  std::uint64_t submitted = 0;
  std::uint64_t delivered = 0;
  std::uint64_t faults = 0;  // reads that were hit
};

/// Thread-safe as every reader is.
class FaultyReader final : public BlockReader {
 public:
  explicit FaultyReader(std::unique_ptr<BlockReader> inner) : inner_(std::move(inner)) {}

  /// Faults add up; the first that names a read decides.
  void add_fault(const ReadFault& fault);
  /// Reads that are under way keep their faults.
  void clear_faults();
  FaultCounters fault_counters() const;

  Result<FileIndex> open(const std::string& path) override;
  std::uint64_t file_size(FileIndex file) const override { return inner_->file_size(file); }
  std::size_t alignment(FileIndex file) const override { return inner_->alignment(file); }
  void register_memory(std::span<std::byte> memory) override { inner_->register_memory(memory); }
  void forget_memory(std::span<std::byte> memory) override { inner_->forget_memory(memory); }
  void limit_in_flight(std::size_t bytes) override { inner_->limit_in_flight(bytes); }
  Status submit(std::span<const ReadRequest> requests) override;
  std::size_t reap(std::span<ReadCompletion> out, bool wait) override;
  ReaderInfo info() const override;
  ReaderCounters counters() const override { return inner_->counters(); }

 private:
  struct Flight {
    ReadRequest request;
    std::uint64_t number = 0;
    bool faulty = false;
    ReadFault fault;
  };
  struct Held {
    ReadCompletion completion;
    std::uint64_t due = 0;  // hand out once `delivered` is so many
  };

  void inflict(const Flight& flight, ReadCompletion* completion);
  std::size_t release(std::span<ReadCompletion> out, bool all);

  const std::unique_ptr<BlockReader> inner_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<ReadFault> faults_;
  std::vector<std::string> paths_;
  std::unordered_map<std::uint64_t, Flight> flights_;  // by the tag that the inner reader sees
  std::deque<Held> held_;
  std::uint64_t last_tag_ = 0;
  FaultCounters counters_;
};

}  // namespace sluice
