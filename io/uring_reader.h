#pragma once
// Reads through one io_uring that all threads share.
//
// A short mutex guards the ring's two queues. Whoever waits for the kernel does so without it: at
// any time one thread, the *waiter*, sleeps in io_uring_enter and alone may take from the
// completion queue; the others sleep on a condition variable until it comes back. So threads submit
// while others wait, and no wake-up can be lost.

#include <liburing.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "io/block_reader.h"
#include "io/read_queue.h"
#include "io/reader_options.h"

namespace sluice {

class UringReader final : public BlockReader {
 public:
  explicit UringReader(const ReaderOptions& options);
  /// Waits for the reads in flight; those that wait inside are dropped.
  ~UringReader() override;

  /// Makes the ring and proves it by a real read. REQUIRES: called once, before anything else.
  Status start();

  Result<FileIndex> open(const std::string& path) override;
  std::uint64_t file_size(FileIndex file) const override;
  std::size_t alignment(FileIndex file) const override;
  void register_memory(std::span<std::byte> memory) override;
  void forget_memory(std::span<std::byte> memory) override;
  void limit_in_flight(std::size_t bytes) override;
  Status submit(std::span<const ReadRequest> requests) override;
  std::size_t reap(std::span<ReadCompletion> out, bool wait) override;
  ReaderInfo info() const override;
  ReaderCounters counters() const override;

 private:
  struct RegisteredBuffer {
    std::byte* begin = nullptr;  // null: the slot is free
    std::size_t bytes = 0;
  };

  // All of these REQUIRE mutex_.
  void pump();
  void prepare(std::uint32_t slot);
  void flush();
  void harvest();
  void give_up(const std::string& reason);
  std::size_t in_flight() const { return pieces_.size() - free_pieces_.size(); }
  std::size_t in_kernel() const { return in_flight() - queued_; }
  void await_kernel(std::unique_lock<std::mutex>& lock);
  int buffer_slot(const std::byte* begin, std::size_t bytes) const;
  std::string register_chunk(std::span<std::byte> chunk);

  Status probe();

  const ReaderOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable waiter_back_;
  // Guarded by mutex_, except that the waiter enters the ring without it.
  io_uring ring_ = {};
  bool ring_made_ = false;
  bool waiter_away_ = false;
  ReadQueue queue_;
  std::vector<ReadPiece> pieces_;           // [depth], the index is the completion's user_data
  std::vector<std::uint32_t> free_pieces_;  // indices into pieces_
  unsigned queued_ = 0;        // pieces in the submission queue that the kernel has not taken
  unsigned refusals_ = 0;      // of io_uring_enter, in a row, with nothing in the kernel
  Status broken_;              // why the ring no longer takes reads
  unsigned file_slots_ = 0;    // files below this index are registered
  unsigned buffer_slots_ = 0;  // size of the ring's table of buffers
  std::vector<RegisteredBuffer> buffers_;
  std::size_t registered_bytes_ = 0;
  std::string buffer_note_;  // why memory is not registered
};

}  // namespace sluice
