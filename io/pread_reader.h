#pragma once
// The reader that works everywhere: a few threads, each doing one pread at a time.

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "io/block_reader.h"
#include "io/read_queue.h"
#include "io/reader_options.h"

namespace sluice {

class PreadReader final : public BlockReader {
 public:
  explicit PreadReader(const ReaderOptions& options);
  /// Waits for the reads in flight; those that wait inside are dropped.
  ~PreadReader() override;

  /// REQUIRES: called once, before anything else. kIo when not even one thread can be started.
  Status start();

  Result<FileIndex> open(const std::string& path) override;
  std::uint64_t file_size(FileIndex file) const override;
  std::size_t alignment(FileIndex file) const override;
  void register_memory(std::span<std::byte> memory) override;
  void limit_in_flight(std::size_t bytes) override;
  Status submit(std::span<const ReadRequest> requests) override;
  std::size_t reap(std::span<ReadCompletion> out, bool wait) override;
  ReaderInfo info() const override;
  ReaderCounters counters() const override;

 private:
  void work();

  // Constant after start().
  const ReaderOptions options_;
  std::vector<std::thread> threads_;

  mutable std::mutex mutex_;
  std::condition_variable work_waits_;  // a piece waits, or the end has come
  std::condition_variable done_waits_;  // a request is done, or none is under way
  // Guarded by mutex_.
  ReadQueue queue_;
  bool stopping_ = false;
};

}  // namespace sluice
