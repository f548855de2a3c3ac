#include "apps/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "apps/memory_readers.h"
#include "base/aligned_buffer.h"
#include "base/cancellation.h"
#include "engine/model.h"

namespace sluice::apps {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr std::size_t kMiB = 1 << 20;

constexpr std::size_t kPiece = kMiB / 2, kDepth = 24;

/// GB/s of reads all over the file, kDepth at a time. `memory` holds as many pieces.
Result<double> read_at_random(BlockReader& reader, FileIndex file, std::byte* memory,
                              std::mt19937_64& random, const std::atomic<bool>& cancel) {
  constexpr double kSeconds = 0.4;
  const std::uint64_t pieces = reader.file_size(file) / kPiece;
  std::uint64_t done = 0;
  std::size_t under_way = 0;
  const auto submit = [&](std::size_t slot) {
    const ReadRequest request{.file = file,
                              .offset = random() % pieces * kPiece,
                              .bytes = kPiece,
                              .needed = kPiece,
                              .destination = memory + slot * kPiece,
                              .tag = slot};
    const Status status = reader.submit({&request, 1});
    if (status.ok()) ++under_way;
    return status;
  };
  const auto start = Clock::now();
  Status failed;
  for (std::size_t slot = 0; slot < kDepth && failed.ok(); ++slot) failed = submit(slot);
  std::vector<ReadCompletion> completions(kDepth);
  double elapsed = 0;
  while (under_way > 0) {
    const std::size_t count = reader.reap(completions, true);
    under_way -= count;
    elapsed = seconds_since(start);
    for (std::size_t i = 0; i < count; ++i) {
      if (!completions[i].status.ok()) failed = completions[i].status;
      done += kPiece;
      if (failed.ok()) failed = check_cancelled(&cancel);
      if (failed.ok() && elapsed < kSeconds) failed = submit(completions[i].tag);
    }
  }
  SLUICE_TRY(failed);
  return static_cast<double>(done) / elapsed / 1e9;
}

/// `memory` holds kDepth pieces.
Result<double> measure_disk(Runtime& runtime, const Checkpoint& checkpoint,
                            std::span<std::byte> memory, const std::atomic<bool>& cancel) {
  BlockReader& reader = runtime.reader();
  SLUICE_ASSIGN(const std::vector<FileIndex> files, open_files(checkpoint, reader));
  const auto larger = [&](FileIndex a, FileIndex b) {
    return reader.file_size(a) < reader.file_size(b);
  };
  const FileIndex file = *std::max_element(files.begin(), files.end(), larger);
  if (reader.file_size(file) < 2 * kPiece) return 0.0;  // too small to say anything
  reader.register_memory(memory);
  // A ceiling is the best that was seen. Shared and virtual disks differ by a factor of three from
  // one moment to the next, so it ends when more rounds find nothing better.
  std::mt19937_64 random(1);
  Result<double> best = 0.0;
  for (int round = 0, since_best = 0; round < 8 && since_best < 3 && best.ok(); ++round) {
    Result<double> rate = read_at_random(reader, file, memory.data(), random, cancel);
    since_best = rate.ok() && *rate > *best * 1.02 ? 0 : since_best + 1;
    if (!rate.ok() || *rate > *best) best = std::move(rate);
  }
  reader.forget_memory(memory);
  return best;
}

}  // namespace

Result<Ceilings> measure_ceilings(Runtime& runtime, const Checkpoint& checkpoint,
                                  const std::atomic<bool>& cancel) {
  constexpr std::size_t kLanding = kPiece * kDepth;
  const unsigned threads = runtime.threads();
  // More than the caches hold, where the budget has it; of the cache's kind, for the kernel reads
  // faster into large pages that it knows already.
  const std::size_t bytes = std::clamp<std::size_t>(runtime.ram() / 4, 16 * kMiB, 512 * kMiB);
  SLUICE_ASSIGN(AlignedBuffer buffer, AlignedBuffer::allocate(bytes));
  buffer.prefer_huge_pages();
  std::fill_n(buffer.as<std::uint64_t>(), bytes / 8, 1);
  const std::span<std::byte> memory(buffer.data(), bytes);
  const std::span<std::byte> landing = memory.first(kLanding), rest = memory.subspan(kLanding);
  Ceilings ceilings;
  SLUICE_ASSIGN(ceilings.ram_read_gbs, measure_memory(memory, threads, cancel));
  SLUICE_ASSIGN(ceilings.disk_read_gbs, measure_disk(runtime, checkpoint, landing, cancel));
  const MemoryReaders beside(rest, threads, /*once=*/false);
  SLUICE_ASSIGN(ceilings.disk_beside_ram_gbs, measure_disk(runtime, checkpoint, landing, cancel));
  return ceilings;
}

}  // namespace sluice::apps
