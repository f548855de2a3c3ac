#include "engine/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/kv_cache.h"
#include "engine/scratch.h"
#include "experts/expert_store.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
/// Program text and libraries as resident pages, thread stacks, allocator slack, reader rings and
/// buffers: measured at 20 to 24 MiB on Debian 12 (tests/engine checks that a run stays inside).
constexpr std::uint64_t kProcess = 28 * kMiB;
constexpr std::uint32_t kDefaultContext = 8192;
constexpr std::uint32_t kLeastContext = 512;
/// A pass of more rows reads each expert for more tokens, but its scratch takes memory from the
/// cache.
constexpr std::array<std::uint32_t, 6> kRows{512, 256, 128, 64, 32, 16};
constexpr std::uint64_t kLeastScratch =
    8 * kMiB;  // scratch of the smallest plan stays under it where 16 rows allow

}  // namespace

Result<MemoryPlan> MemoryPlan::make(const ModelDescription& model, const ExpertCatalogue& catalogue,
                                    const BlockReader& reader, const MemoryRequest& request) {
  const KvShape kv{.layers = model.layers.size(),
                   .kv_heads = model.attention.kv_heads,
                   .head_dim = model.attention.head_dim,
                   .value_dim = model.attention.value_dim,
                   .type = request.kv_type};
  const std::uint64_t least_cache =
      ExpertStore::minimum_capacity(catalogue, reader, model.router.top_k);
  const std::uint64_t full_cache = ExpertStore::full_capacity(catalogue, reader);
  const auto scratch_of = [&](std::uint32_t rows) {
    return Scratch::bytes(model, rows, request.eight_bit);
  };
  // The kernel's tables for mapped pages are charged to a control group too: 8 bytes for each page
  // of 4096.
  const auto with_tables = [](std::uint64_t bytes) { return bytes + bytes / 512; };

  MemoryPlan plan;
  plan.process = kProcess + request.tokenizer_bytes;
  plan.dense = request.dense_bytes;

  std::uint32_t least_rows = kRows.back();
  for (const std::uint32_t rows : kRows) {
    if (scratch_of(rows) <= kLeastScratch) {
      least_rows = rows;
      break;
    }
  }
  const auto kv_of = [&](std::uint64_t context) {
    return KvShape::blocks(context) * kv.block_bytes() * request.sequences;
  };
  const auto minimum_of = [&](std::uint64_t context) {
    return with_tables(plan.process + plan.dense + kv_of(context) + scratch_of(least_rows) +
                       least_cache);
  };

  plan.context = request.context;
  std::uint32_t least_context = request.context;
  if (request.context == 0) {
    // Unasked, a context costs at most an eighth of the budget, and shrinks to 512 positions before
    // the budget is refused.
    plan.context = std::min(model.context_length, kDefaultContext);
    least_context = std::min(plan.context, kLeastContext);
    while (plan.context > least_context &&
           (kv_of(plan.context) > request.ram / 8 || minimum_of(plan.context) > request.ram)) {
      plan.context = std::max(plan.context / 2, least_context);
    }
  }
  plan.kv = kv_of(plan.context);
  plan.minimum = minimum_of(least_context);
  const std::uint64_t ram = request.ram == 0 ? plan.minimum : request.ram;
  if (ram < plan.minimum) {
    return Status(
        ErrorCode::kBudget,
        fmt::format(
            "--ram {} MiB is too small: with a context of {} the smallest budget that works is {} "
            "bytes "
            "({} MiB: dense weights {} MiB, KV cache {} MiB, experts {} MiB, the rest {} MiB); "
            "a smaller --ctx or --kv q8_0 lowers it",
            ram / kMiB, plan.context, plan.minimum, (plan.minimum + kMiB - 1) / kMiB,
            plan.dense / kMiB, plan.kv / kMiB, least_cache / kMiB,
            (plan.process + scratch_of(least_rows)) / kMiB));
  }

  const std::uint64_t spare = (ram - minimum_of(plan.context)) / 513 * 512;
  // At most a quarter of what is spare goes into wider passes, unless every expert fits anyway.
  plan.rows = least_rows;
  for (const std::uint32_t rows : kRows) {
    const std::uint64_t extra =
        scratch_of(rows) - std::min<std::uint64_t>(scratch_of(rows), scratch_of(least_rows));
    if (rows >= least_rows &&
        (extra <= spare / 4 || (extra <= spare && least_cache + spare - extra >= full_cache))) {
      plan.rows = rows;
      break;
    }
  }
  plan.scratch = scratch_of(plan.rows);
  plan.cache = std::min(full_cache, least_cache + spare - (plan.scratch - scratch_of(least_rows)));
  return plan;
}

}  // namespace sluice
