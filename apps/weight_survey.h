#pragma once
// Every number of a checkpoint, looked at once: what each matrix and vector looks like.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/weight_statistics.h"
#include "base/status.h"
#include "engine/runtime.h"
#include "formats/checkpoint.h"

namespace sluice::apps {

/// A tensor, or what one expert has of a stacked one.
struct SurveyedWeight {
  const TensorInfo* tensor = nullptr;
  std::uint32_t expert = 0;
  bool stacked = false;
  WeightStatistics statistics;

  /// "blk.3.ffn_up_exps.weight, expert 17"
  std::string name() const;
};

/// Bytes of weights that were read, of all that there are.
using SurveyProgress = std::function<void(std::uint64_t done, std::uint64_t all)>;

/// Reads through the runtime's reader, past the page cache, while the threads look at what came
/// before; takes what the budget leaves, at most some 40 MiB where tensors lie in the file as they
/// are used, and a whole matrix where they are re-laid or in planes. Of what is there in planes,
/// too, it looks at the source's numbers. Borrows the checkpoint. kBudget names what would do;
/// kCancelled after Ctrl-C. REQUIRES: nothing else reads.
Result<std::vector<SurveyedWeight>> survey_weights(const Checkpoint& checkpoint, Runtime& runtime,
                                                   const SurveyProgress& progress);

}  // namespace sluice::apps
