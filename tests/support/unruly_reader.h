#pragma once
// A BlockReader on which no order can be relied: threads of its own pick any of the requests, take
// their time, write each destination in two halves, and on request fail, or bring something else.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "io/block_reader.h"
#include "io/open_file.h"

namespace sluice::test {

/// Thread-safe as every reader is.
class UnrulyReader final : public BlockReader {
 public:
  /// Of every file an alignment that it asks for. A read takes up to `most_delay` twice, and one in
  /// sixteen ten times as long.
  UnrulyReader(std::size_t alignment, unsigned seed, std::chrono::microseconds most_delay,
               unsigned threads = 4)
      : alignment_(alignment), most_delay_(most_delay), random_(seed) {
    for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~UnrulyReader() override {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
      waiting_.clear();
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  /// Of so many reads one fails after it has written rubbish, or (`corrupt`) has a bit turned over
  /// and does not know. 0: none does.
  void fail_one_in(unsigned reads) { fail_one_in_ = reads; }
  void corrupt_one_in(unsigned reads) { corrupt_one_in_ = reads; }
  std::uint64_t reads() const { return reads_; }

  Result<FileIndex> open(const std::string& path) override {
    SLUICE_ASSIGN(OpenFile file, OpenFile::open(path, /*allow_direct=*/false));
    const std::lock_guard lock(mutex_);
    files_.push_back(std::move(file));
    return static_cast<FileIndex>(files_.size() - 1);
  }
  std::uint64_t file_size(FileIndex file) const override {
    const std::lock_guard lock(mutex_);
    return files_[file].size();
  }
  std::size_t alignment(FileIndex) const override { return alignment_; }
  void register_memory(std::span<std::byte>) override {}
  void limit_in_flight(std::size_t) override {}

  Status submit(std::span<const ReadRequest> requests) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.insert(waiting_.end(), requests.begin(), requests.end());
    }
    reads_ += requests.size();
    work_.notify_all();
    return {};
  }

  std::size_t reap(std::span<ReadCompletion> out, bool wait) override {
    std::unique_lock lock(mutex_);
    if (wait) {
      done_.wait(lock,
                 [this] { return !finished_.empty() || (waiting_.empty() && in_flight_ == 0); });
    }
    const std::size_t count = std::min(out.size(), finished_.size());
    std::move(finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(count),
              out.begin());
    finished_.erase(finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

  ReaderInfo info() const override { return {"unruly", "for tests", alignment_ > 1, 64}; }
  ReaderCounters counters() const override { return {}; }

 private:
  /// What befalls a read.
  struct Fate {
    std::chrono::microseconds delays[2];
    bool fails = false;
    bool corrupt = false;
  };

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return over_ || !waiting_.empty(); });
      if (over_) return;
      std::swap(waiting_[random_() % waiting_.size()], waiting_.back());
      const ReadRequest request = waiting_.back();
      waiting_.pop_back();
      const OpenFile& file = files_[request.file];
      const Fate fate = draw();
      in_flight_ += 1;
      lock.unlock();
      Status status = read(request, file, fate);
      lock.lock();
      in_flight_ -= 1;
      finished_.push_back({request.tag, std::move(status)});
      done_.notify_all();
    }
  }

  /// REQUIRES: the mutex is held.
  Fate draw() {
    const auto one_in = [this](unsigned reads) { return reads != 0 && random_() % reads == 0; };
    Fate fate;
    for (std::chrono::microseconds& delay : fate.delays) {
      delay = most_delay_ * (random_() % 100) / 100 * (one_in(16) ? 10 : 1);
    }
    fate.fails = one_in(fail_one_in_);
    fate.corrupt = !fate.fails && one_in(corrupt_one_in_);
    return fate;
  }

  Status read(const ReadRequest& request, const OpenFile& file, const Fate& fate) const {
    const std::size_t first = request.bytes / 2;
    const std::span<std::byte> out(request.destination, request.bytes);
    std::this_thread::sleep_for(fate.delays[0]);
    if (fate.fails) {
      std::ranges::fill(out, std::byte{0xa5});
      return Status(ErrorCode::kIo, file.path() + ": the disk is tired");
    }
    std::size_t there = fill(out.first(first), request.offset, file);
    std::this_thread::sleep_for(fate.delays[1]);
    if (there == first) there += fill(out.subspan(first), request.offset + first, file);
    if (there < request.needed) return Status(ErrorCode::kIo, file.path() + ": ends too early");
    if (fate.corrupt) out[request.needed / 2] ^= std::byte{16};
    return {};
  }

  /// How many bytes the file had.
  static std::size_t fill(std::span<std::byte> out, std::uint64_t offset, const OpenFile& file) {
    std::size_t there = 0;
    while (there < out.size()) {
      const ssize_t count = ::pread(file.descriptor(), out.data() + there, out.size() - there,
                                    static_cast<off_t>(offset + there));
      if (count <= 0) break;
      there += static_cast<std::size_t>(count);
    }
    return there;
  }

  const std::size_t alignment_;
  const std::chrono::microseconds most_delay_;
  std::atomic<unsigned> fail_one_in_ = 0;
  std::atomic<unsigned> corrupt_one_in_ = 0;
  std::atomic<std::uint64_t> reads_ = 0;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::condition_variable work_, done_;
  std::deque<OpenFile> files_;  // a deque: threads keep hold of one
  std::vector<ReadRequest> waiting_;
  std::vector<ReadCompletion> finished_;
  std::size_t in_flight_ = 0;
  std::mt19937 random_;
  bool over_ = false;

  std::vector<std::thread> threads_;
};

}  // namespace sluice::test
