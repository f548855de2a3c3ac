#include "engine/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/size.h"
#include "experts/expert_store.h"
#include "layers/kv_cache.h"
#include "layers/scratch.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
/// Program text and libraries as resident pages, thread stacks, allocator slack, reader rings and
/// buffers: measured at 9 to 16 MiB on Debian 12 (tests of the command line check that a run stays
/// inside).
constexpr std::uint64_t kProcess = 20 * kMiB;
constexpr std::uint64_t kThread = kMiB / 2;  // stack, a worker's scratch
/// The smallest budget has room for the working memory of so many threads.
constexpr unsigned kLeastThreads = 4;
constexpr std::uint32_t kDefaultContext = 8192;
constexpr std::uint32_t kLeastContext = 512;
/// A pass of more rows reads each expert for more tokens, but its scratch takes memory from the
/// cache.
constexpr std::array<std::uint32_t, 9> kRows{4096, 2048, 1024, 512, 256, 128, 64, 32, 16};
/// Beyond these, rows no longer make kernels faster; they only save reading.
constexpr std::uint32_t kEfficientRows = 512;
/// How many times over a thread can multiply an expert by rows while a disk reads it: 37 GB of
/// weight times rows a second on one core of Zen 4, and 2.3 GB/s of its disk.
constexpr double kRowsPerRead = 16;
constexpr std::uint64_t kLeastScratch =
    8 * kMiB;  // scratch of the smallest plan stays under it where 16 rows allow

/// What things cost; the plan below is a choice among these.
class Costs {
 public:
  Costs(const ModelDescription& model, const ExpertCatalogue& catalogue, const Compute& compute,
        const BlockReader& reader, const MemoryRequest& request)
      : model_(model),
        compute_(compute),
        request_(request),
        kv_(kv_shape(model, request.kv_type)),
        least_cache(ExpertStore::minimum_capacity(catalogue, reader, model.router.top_k)),
        full_cache(ExpertStore::full_capacity(catalogue, reader)),
        bytes_of_token(std::max<std::uint64_t>(1, least_cache / 2 * catalogue.layers().size())),
        least_threads(std::min(request.threads, kLeastThreads)) {}

  std::uint64_t kv(std::uint64_t context) const {
    return KvShape::blocks(context) * kv_.block_bytes * request_.sequences +
           kv_.sequence_bytes() * request_.seats;
  }
  std::uint64_t process(unsigned threads) const {
    return kProcess + threads * kThread + request_.tokenizer_bytes + request_.reserved;
  }
  std::uint64_t scratch(std::uint32_t rows, std::uint64_t context, unsigned threads) const {
    return Scratch::bytes(model_, {.rows = rows,
                                   .eight_bit = request_.eight_bit,
                                   .attention_bytes = attention_bytes(model_, request_.kv_type,
                                                                      compute_, context, threads)});
  }
  /// The most rows whose scratch is modest.
  std::uint32_t least_rows() const {
    const auto modest = [&](std::uint32_t rows) {
      return rows <= kEfficientRows && scratch(rows, 0, least_threads) <= kLeastScratch;
    };
    const auto found = std::find_if(kRows.begin(), kRows.end(), modest);
    return found != kRows.end() ? *found : kRows.back();
  }
  std::uint64_t minimum(std::uint64_t context) const {
    const std::uint64_t bytes = process(least_threads) + request_.dense_bytes + kv(context) +
                                scratch(least_rows(), context, least_threads) + least_cache;
    // The kernel's tables for mapped pages are charged to a control group too: 8 bytes for each
    // page of 4096.
    return bytes + bytes / 512;
  }

 private:
  const ModelDescription& model_;
  const Compute& compute_;
  const MemoryRequest& request_;
  const KvShape kv_;

 public:
  const std::uint64_t least_cache;
  const std::uint64_t full_cache;
  const std::uint64_t bytes_of_token;  // that decoding one multiplies, of experts
  const unsigned least_threads;
};

/// Unasked, a context costs at most an eighth of the budget, and shrinks before the budget is
/// refused.
std::uint32_t affordable_context(const Costs& costs, std::uint64_t ram, std::uint32_t most,
                                 std::uint32_t least) {
  std::uint32_t context = most;
  while (context > least && (costs.kv(context) > ram / 8 || costs.minimum(context) > ram)) {
    context = std::max(context / 2, least);
  }
  return context;
}

/// What `threads` need beyond the fewest.
std::uint64_t extra_of(const Costs& costs, std::uint32_t context, unsigned threads) {
  const std::uint32_t rows = costs.least_rows();
  return costs.process(threads) + costs.scratch(rows, context, threads) -
         costs.process(costs.least_threads) - costs.scratch(rows, context, costs.least_threads);
}

/// Threads beyond the fewest cost at most a quarter of what is spare.
unsigned affordable_threads(const Costs& costs, std::uint32_t context, unsigned most,
                            std::uint64_t spare) {
  unsigned threads = most;
  while (threads > costs.least_threads && extra_of(costs, context, threads) > spare / 4) --threads;
  return threads;
}

/// So many rows that computing a pass of a long prompt takes as long as reading what it lacks.
double balanced_rows(const Costs& costs, unsigned threads, std::uint64_t spare) {
  const std::uint64_t cache = std::min(costs.full_cache, costs.least_cache + spare);
  return kRowsPerRead * threads * static_cast<double>(costs.full_cache - cache) /
         static_cast<double>(costs.bytes_of_token);
}

/// At most a quarter of what is spare goes into wider passes, unless every expert fits anyway.
std::uint32_t affordable_rows(const Costs& costs, std::uint32_t context, unsigned threads,
                              std::uint64_t spare) {
  const std::uint32_t least = costs.least_rows();
  const double balanced = balanced_rows(costs, threads, spare);
  for (const std::uint32_t rows : kRows) {
    if (rows <= least) break;
    if (rows > kEfficientRows && (rows / 2 >= balanced || rows / 2 >= context)) continue;
    const std::uint64_t extra =
        costs.scratch(rows, context, threads) - costs.scratch(least, context, threads);
    const bool all_fit = extra <= spare && costs.least_cache + spare - extra >= costs.full_cache;
    if (extra <= spare / 4 || all_fit) return rows;
  }
  return least;
}

}  // namespace

Result<MemoryPlan> MemoryPlan::make(const ModelDescription& model, const ExpertCatalogue& catalogue,
                                    const Compute& compute, const BlockReader& reader,
                                    const MemoryRequest& request) {
  const Costs costs(model, catalogue, compute, reader, request);
  const std::uint32_t most_context =
      request.context != 0 ? request.context : std::min(model.context_length, kDefaultContext);
  const std::uint32_t least_context =
      request.context != 0 ? request.context : std::min(most_context, kLeastContext);

  MemoryPlan plan;
  plan.dense = request.dense_bytes;
  plan.minimum = costs.minimum(least_context);
  const std::uint64_t ram = request.ram == 0 ? plan.minimum : request.ram;
  if (ram < plan.minimum) {
    const std::uint64_t kv = costs.kv(least_context);
    return Status(
        ErrorCode::kBudget,
        fmt::format("a budget of {} is too small: with a context of {} the smallest that works is "
                    "{} bytes ({}: dense "
                    "weights {}, KV cache {}, experts {}, the rest {}); a smaller context or a "
                    "q8_0 KV cache lowers it",
                    format_size(ram), least_context, plan.minimum, format_size(plan.minimum),
                    format_size(plan.dense), format_size(kv), format_size(costs.least_cache),
                    format_size(plan.minimum - plan.dense - kv - costs.least_cache)));
  }
  plan.context = affordable_context(costs, ram, most_context, least_context);
  plan.kv = costs.kv(plan.context);
  std::uint64_t spare = (ram - costs.minimum(plan.context)) / 513 * 512;
  plan.threads = affordable_threads(costs, plan.context, request.threads, spare);
  plan.process = costs.process(plan.threads);
  spare -= extra_of(costs, plan.context, plan.threads);
  plan.rows = affordable_rows(costs, plan.context, plan.threads, spare);
  plan.scratch = costs.scratch(plan.rows, plan.context, plan.threads);
  spare -= plan.scratch - costs.scratch(costs.least_rows(), plan.context, plan.threads);
  plan.cache = std::min(costs.full_cache, costs.least_cache + spare);
  return plan;
}

}  // namespace sluice
