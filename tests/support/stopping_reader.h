#pragma once
// Counts reads, and asks for a stop when a chosen one is submitted.

#include <atomic>
#include <limits>
#include <memory>
#include <utility>

#include "io/block_reader.h"

namespace sluice::test {

/// Thread-safe as every reader is.
class StoppingReader final : public BlockReader {
 public:
  explicit StoppingReader(std::unique_ptr<BlockReader> inner) : inner_(std::move(inner)) {}

  /// Raises `flag` with the nth read from now on, counted from 1, and leaves it alone after that.
  void stop_at(std::uint64_t nth, std::atomic<bool>& flag) {
    stop_at_ = submitted_ + nth;
    flag_ = &flag;
  }
  void never_stop() { flag_ = nullptr; }
  std::uint64_t submitted() const { return submitted_; }

  Result<FileIndex> open(const std::string& path) override { return inner_->open(path); }
  std::uint64_t file_size(FileIndex file) const override { return inner_->file_size(file); }
  std::size_t alignment(FileIndex file) const override { return inner_->alignment(file); }
  void register_memory(std::span<std::byte> memory) override { inner_->register_memory(memory); }
  void forget_memory(std::span<std::byte> memory) override { inner_->forget_memory(memory); }
  void limit_in_flight(std::size_t bytes) override { inner_->limit_in_flight(bytes); }
  Status submit(std::span<const ReadRequest> requests) override {
    submitted_ += requests.size();
    if (submitted_ >= stop_at_) {
      if (std::atomic<bool>* const flag = flag_.exchange(nullptr)) flag->store(true);
    }
    return inner_->submit(requests);
  }
  std::size_t reap(std::span<ReadCompletion> out, bool wait) override {
    return inner_->reap(out, wait);
  }
  ReaderInfo info() const override { return inner_->info(); }
  ReaderCounters counters() const override { return inner_->counters(); }

 private:
  const std::unique_ptr<BlockReader> inner_;
  std::atomic<std::uint64_t> submitted_ = 0;
  std::atomic<std::uint64_t> stop_at_ = std::numeric_limits<std::uint64_t>::max();
  std::atomic<std::atomic<bool>*> flag_ = nullptr;
};

}  // namespace sluice::test
