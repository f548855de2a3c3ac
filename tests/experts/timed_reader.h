#pragma once
// A BlockReader over files that are vectors, on a disk whose times are numbers: it reads one
// request after the other, at a bandwidth, with a latency, and now and then much later. Time passes
// when somebody waits for a read, or says so.

#include <algorithm>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "tests/experts/files_in_memory.h"

namespace sluice::test {

struct TimedDisk {
  double bytes_per_second = 2.3e9;
  double latency = 100e-6;   // seconds
  unsigned spike_every = 0;  // of so many reads one takes longer, …
  double spike = 0;          // … by so many seconds; 0: none does
};

class TimedReader final : public FilesInMemory {
 public:
  TimedReader(std::vector<std::string> names, const std::vector<File>& files, TimedDisk disk)
      : FilesInMemory(std::move(names), files), disk_(disk) {}

  double now = 0;  // seconds
  std::uint64_t bytes_read = 0;
  std::size_t under_way() const { return pending_.size(); }

  std::size_t alignment(FileIndex) const override { return 1; }
  void register_memory(std::span<std::byte>) override {}
  ReaderInfo info() const override { return {"timed", "for tests", false, 64}; }

  Status submit(std::span<const ReadRequest> requests) override {
    for (const ReadRequest& request : requests) {
      double took = static_cast<double>(request.bytes) / disk_.bytes_per_second;
      reads_ += 1;
      if (disk_.spike_every != 0 && reads_ % disk_.spike_every == 0) took += disk_.spike;
      free_ = std::max(free_, now) + took;
      pending_.push_back({request, free_ + disk_.latency});
      bytes_read += request.bytes;
    }
    return {};
  }

  std::size_t reap(std::span<ReadCompletion> out, bool wait) override {
    if (wait && !pending_.empty()) now = std::max(now, pending_.front().done);
    std::size_t count = 0;
    for (; count < out.size() && !pending_.empty() && pending_.front().done <= now; ++count) {
      const ReadRequest& request = pending_.front().request;
      std::memcpy(request.destination, file(request.file).data() + request.offset, request.bytes);
      out[count] = {request.tag, {}};
      pending_.pop_front();
    }
    return count;
  }

 private:
  struct Pending {
    ReadRequest request;
    double done;
  };
  const TimedDisk disk_;
  std::deque<Pending> pending_;
  double free_ = 0;  // when the disk has done what it was told
  std::uint64_t reads_ = 0;
};

}  // namespace sluice::test
