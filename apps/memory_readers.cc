#include "apps/memory_readers.h"

#include <algorithm>
#include <chrono>

#include "base/cancellation.h"

namespace sluice::apps {
namespace {

std::uint64_t sum(const std::uint64_t* words, std::size_t count) {
  // Several sums, so that adding is never what it waits for.
  std::uint64_t sums[16] = {};
  for (std::size_t i = 0; i + 16 <= count; i += 16) {
    for (std::size_t j = 0; j < 16; ++j) sums[j] += words[i + j];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t part : sums) total += part;
  return total;
}

}  // namespace

MemoryReaders::MemoryReaders(std::span<const std::byte> memory, unsigned threads, bool once)
    : stop_(once) {
  const auto* const first = reinterpret_cast<const std::uint64_t*>(memory.data());
  const std::size_t words = memory.size() / 8 / threads;
  for (unsigned i = 0; i < threads; ++i) {
    threads_.emplace_back([this, part = first + i * words, words] {
      do {
        checksum_ += sum(part, words);
      } while (!stop_);
    });
  }
}

std::uint64_t MemoryReaders::join() {
  stop_ = true;
  threads_.clear();
  return checksum_;
}

Result<double> measure_memory(std::span<const std::byte> memory, unsigned threads,
                              const std::atomic<bool>& cancel) {
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    SLUICE_TRY(check_cancelled(&cancel));
    const auto start = std::chrono::steady_clock::now();
    if (MemoryReaders(memory, threads, /*once=*/true).join() == 0) {
      return Status(ErrorCode::kInternal, "the memory measurement read nothing");
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(memory.size()) / seconds.count() / 1e9);
  }
  return best;
}

}  // namespace sluice::apps
