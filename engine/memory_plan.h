#pragma once
// How a budget is spent, decided before anything large is allocated.

#include <cstdint>

#include "base/compute.h"
#include "base/status.h"
#include "experts/expert_catalogue.h"
#include "io/block_reader.h"
#include "layers/model_description.h"

namespace sluice {

struct MemoryRequest {
  std::uint64_t ram = 0;        // ceiling for the whole process, bytes
  std::uint64_t reserved = 0;   // of it, what is not the model's to use
  std::uint32_t context = 0;    // positions of one sequence; 0: what the model supports, at most
                                // 8192, less where the budget is small
  std::uint32_t sequences = 1;  // whole contexts
  std::uint32_t seats = 1;      // sessions that share them
  KvType kv_type = KvType::kF16;
  bool eight_bit = true;
  unsigned threads = 1;               // at most
  std::uint64_t tokenizer_bytes = 0;  // what the vocabulary holds
  std::uint64_t dense_bytes = 0;
};

/// All in bytes unless said otherwise.
struct MemoryPlan {
  std::uint64_t process = 0;  // program, libraries, stacks, tokenizer, page tables
  std::uint64_t dense = 0;
  std::uint64_t kv = 0;
  std::uint64_t scratch = 0;
  std::uint64_t cache = 0;    // for experts
  std::uint64_t minimum = 0;  // the smallest ram that works for this context
  std::uint32_t context = 0;  // positions
  std::uint32_t rows = 0;     // in a pass
  unsigned threads = 0;       // that compute

  std::uint64_t total() const { return process + dense + kv + scratch + cache; }

  /// kBudget when `ram` is below the minimum; the message names the minimum and what would lower
  /// it. A `ram` of 0 asks for the smallest plan.
  static Result<MemoryPlan> make(const ModelDescription& model, const ExpertCatalogue& catalogue,
                                 const Compute& compute, const BlockReader& reader,
                                 const MemoryRequest& request);
};

}  // namespace sluice
